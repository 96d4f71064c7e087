-- name: insert_checkpoint
INSERT INTO checkpoints (
    execution, at, base, reason, created_at, graph_hash, content_hash, next_node, size_bytes, payload,
    checksum
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: newest_checkpoint
-- The newest that an execution has of its own between two sequences.
SELECT x.id AS execution_id, c.* FROM checkpoints AS c JOIN executions AS x ON x.position = c.execution
WHERE x.id = ?1 AND c.is_kept AND c.at BETWEEN ?2 AND ?3 ORDER BY c.at DESC LIMIT 1

-- name: checkpoint_parts
-- What a checkpoint is made up from: the whole one at its base, and the differences up to its own.
SELECT x.id AS execution_id, c.* FROM checkpoints AS c JOIN executions AS x ON x.position = c.execution
WHERE x.id = ?1 AND c.base = ?2 AND c.at <= ?3 ORDER BY c.at

-- name: checkpoints
SELECT x.id AS execution_id, c.* FROM checkpoints AS c JOIN executions AS x ON x.position = c.execution
WHERE x.id = ? AND c.is_kept ORDER BY c.at

-- name: forget_checkpoint
UPDATE checkpoints SET is_kept = 0
WHERE execution = (SELECT position FROM executions WHERE id = ?) AND at = ? AND is_kept
RETURNING at

-- name: forget_checkpoints
-- All but the newest so many.
UPDATE checkpoints SET is_kept = 0
WHERE execution = (SELECT position FROM executions WHERE id = ?1) AND is_kept AND at NOT IN (
    SELECT at FROM checkpoints
    WHERE execution = (SELECT position FROM executions WHERE id = ?1) AND is_kept
    ORDER BY at DESC LIMIT ?2
)
RETURNING at

-- name: forget_old_checkpoints
-- All but the newest so many of an execution by its position.
UPDATE checkpoints SET is_kept = 0
WHERE execution = ?1 AND is_kept AND at < (
    SELECT at FROM checkpoints WHERE execution = ?1 AND is_kept ORDER BY at DESC LIMIT 1 OFFSET ?2 - 1
)
RETURNING at

-- name: delete_checkpoints
-- Forgotten ones that no other is made up from, nor the next one of a live execution will be.
DELETE FROM checkpoints
WHERE execution = (SELECT position FROM executions WHERE id = ?1) AND NOT is_kept
AND NOT EXISTS (
    SELECT 1 FROM checkpoints AS c
    WHERE c.execution = checkpoints.execution AND c.base = checkpoints.base
    AND c.at > checkpoints.at AND c.is_kept
)
AND (
    EXISTS (
        SELECT 1 FROM executions
        WHERE id = ?1 AND status IN ('COMPLETED', 'FAILED', 'ABORTED')
    )
    OR base < (SELECT max(base) FROM checkpoints AS c WHERE c.execution = checkpoints.execution)
)
