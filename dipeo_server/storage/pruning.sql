-- name: roots
-- What ended long enough ago, but for children whose parents are there. Forks are nobody's children.
SELECT position FROM executions AS x
WHERE status = ? AND ended_at < ? AND (
    parent_id IS fork_of OR parent_id IS NULL
    OR NOT EXISTS (SELECT 1 FROM executions WHERE id = x.parent_id)
)

-- name: family
-- An execution and all below it, with how many events each has of its own.
WITH RECURSIVE family (position, id, status, events) AS (
    SELECT position, id, status, last_seq - coalesce(forked_at, 0) FROM executions
    WHERE position = ?
    UNION
    SELECT x.position, x.id, x.status, x.last_seq - coalesce(x.forked_at, 0)
    FROM executions AS x JOIN family AS f ON x.parent_id = f.id AND x.fork_of IS NOT f.id
)
SELECT position, status, events FROM family

-- name: forks
-- Every fork, behind what it goes on from.
SELECT o.position, f.position FROM executions AS f JOIN executions AS o ON o.id = f.fork_of
WHERE f.fork_of IS NOT NULL

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

-- name: delete_checkpoints
DELETE FROM checkpoints WHERE execution IN (SELECT execution FROM pruning)

-- name: delete_events
DELETE FROM events WHERE execution IN (SELECT execution FROM pruning)

-- name: delete_executions
DELETE FROM executions WHERE position IN (SELECT execution FROM pruning)

-- name: unmark
DELETE FROM pruning
