-- name: extend_execution
-- Only where the log ends at that sequence; nothing comes back otherwise.
UPDATE executions SET
    status = ?, diagram_id = ?, parent_id = ?, waiting_barriers = ?, last_seq = ?, name = ?,
    content_hash = ?, created_at = ?, started_at = ?, ended_at = ?, tokens_input = ?,
    tokens_output = ?, tokens_cached = ?, error = ?, checksum = ?,
    head_hash = extend_chain(head_hash)
WHERE id = ? AND fork_of IS ? AND forked_at IS ? AND last_seq = ?
RETURNING position

-- name: insert_execution
-- Nothing comes back if there is such an execution already. The hash is that of the event before its
-- own: nothing, or that of the last event which a fork has of its origin.
INSERT INTO executions (
    status, diagram_id, parent_id, waiting_barriers, last_seq, name, content_hash, created_at,
    started_at, ended_at, tokens_input, tokens_output, tokens_cached, error, checksum, id,
    fork_of, forked_at, head_hash
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, extend_chain(?))
ON CONFLICT (id) DO NOTHING
RETURNING position

-- name: tail
-- Where an execution's log ends; no row = it has not begun.
SELECT last_seq FROM executions WHERE id = ?

-- name: insert_event
INSERT INTO events (execution, seq, at, kind, version, payload, hash) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: insert_key
-- A key may be used again once its answer has expired; nothing comes back before that.
INSERT INTO idempotency (
    principal, key, mutation, request_hash, execution_id, answer, expires_at, checksum
) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (principal, key) DO UPDATE SET
    mutation = excluded.mutation, request_hash = excluded.request_hash,
    execution_id = excluded.execution_id, answer = excluded.answer,
    expires_at = excluded.expires_at, checksum = excluded.checksum
WHERE idempotency.expires_at <= ?
RETURNING key

-- name: sweep_keys
-- Bounded, so that no commit has to wait for a day's worth of keys.
DELETE FROM idempotency WHERE (principal, key) IN (
    SELECT principal, key FROM idempotency WHERE expires_at <= ? ORDER BY expires_at LIMIT 1000
)

-- name: insert_log_line
INSERT INTO log_lines (execution_id, node, occurrence, attempt, stream, level, text, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: lineage
-- An execution, and what it is a fork of, and so on: whose events these have, and behind which each
-- begins. Only damage could lead on without end.
WITH RECURSIVE lineage (depth, id, fork_of, begins) AS (
    SELECT 0, id, fork_of, coalesce(forked_at, 0) FROM executions WHERE id = ?
    UNION ALL
    SELECT l.depth + 1, x.id, x.fork_of, coalesce(x.forked_at, 0)
    FROM lineage AS l JOIN executions AS x ON x.id = l.fork_of
    WHERE l.depth < 1000
)
SELECT depth, id, begins FROM lineage

-- name: read_events
-- The events ?2 to ?3 that an execution has of its own. Of those up to ?5, behind which the reader
-- begins, nothing but the hash is needed.
SELECT x.id, e.seq, e.at, e.kind, e.version, e.hash,
    CASE WHEN e.seq > ?5 THEN e.payload END AS payload
FROM events AS e JOIN executions AS x ON x.position = e.execution
WHERE x.id = ?1 AND e.seq BETWEEN ?2 AND ?3 ORDER BY e.seq LIMIT ?4

-- name: hash_at
-- The hash of one event that an execution has of its own.
SELECT e.hash FROM events AS e JOIN executions AS x ON x.position = e.execution
WHERE x.id = ? AND e.seq = ?

-- name: live_ends
-- Where the rows of live executions say that their logs end, and what the logs say.
SELECT x.id, x.last_seq, x.head_hash, e.hash, (
    SELECT coalesce(max(seq), x.forked_at) FROM events WHERE execution = x.position
) AS tail
FROM executions AS x LEFT JOIN events AS e ON e.execution = x.position AND e.seq = x.last_seq
WHERE x.status IN ('PENDING', 'STARTED', 'RUNNING', 'PAUSED', 'WAITING')

-- name: live_end
-- The same of one.
SELECT x.id, x.last_seq, x.head_hash, e.hash, (
    SELECT coalesce(max(seq), x.forked_at) FROM events WHERE execution = x.position
) AS tail
FROM executions AS x LEFT JOIN events AS e ON e.execution = x.position AND e.seq = x.last_seq
WHERE x.id = ?

-- name: summary
SELECT * FROM executions WHERE id = ?

-- name: active
SELECT id FROM executions
WHERE status IN ('PENDING', 'STARTED', 'RUNNING', 'PAUSED', 'WAITING') ORDER BY position

-- name: find_key
SELECT mutation, request_hash, execution_id, answer FROM idempotency
WHERE principal = ? AND key = ? AND expires_at > ?

-- name: read_logs
SELECT cursor, node, occurrence, attempt, stream, level, text, at FROM log_lines
WHERE execution_id = ? AND cursor > ? ORDER BY cursor LIMIT ?

-- name: read_node_logs
SELECT cursor, node, occurrence, attempt, stream, level, text, at FROM log_lines
WHERE execution_id = ? AND cursor > ? AND node = ? ORDER BY cursor LIMIT ?

-- name: position
SELECT position FROM executions WHERE id = ?

-- name: counts
SELECT status, executions FROM execution_counts

-- name: audit_end
-- How many entries the audit has, and the hash of the last one; no row = it has none.
SELECT position, hash FROM audit WHERE position = (SELECT max(position) FROM audit)

-- name: insert_entry
INSERT INTO audit (
    position, at, principal, token_id, operation, target, request_id, key, outcome, hash
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
