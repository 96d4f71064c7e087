-- name: roots
-- What ended long enough ago, but for children whose parents are there.
SELECT position FROM executions AS x
WHERE status = ? AND ended_at < ? AND (
    parent_id IS NULL OR NOT EXISTS (SELECT 1 FROM executions WHERE id = x.parent_id)
)

-- name: family
-- An execution and all below it.
WITH RECURSIVE family (position, id, status, last_seq) AS (
    SELECT position, id, status, last_seq FROM executions WHERE position = ?
    UNION
    SELECT x.position, x.id, x.status, x.last_seq
    FROM executions AS x JOIN family AS f ON x.parent_id = f.id
)
SELECT position, status, last_seq FROM family

-- name: mark
INSERT INTO pruning (execution) VALUES (?)

-- name: delete_lines
DELETE FROM log_lines WHERE execution_id IN (
    SELECT id FROM executions WHERE position IN (SELECT execution FROM pruning)
)

-- name: delete_keys
DELETE FROM idempotency WHERE expires_at <= ? OR execution_id IN (
    SELECT id FROM executions WHERE position IN (SELECT execution FROM pruning)
)

-- name: delete_events
DELETE FROM events WHERE execution IN (SELECT execution FROM pruning)

-- name: delete_executions
DELETE FROM executions WHERE position IN (SELECT execution FROM pruning)

-- name: unmark
DELETE FROM pruning
