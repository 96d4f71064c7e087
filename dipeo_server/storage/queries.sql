-- name: extend_execution
-- Only where the log ends at that sequence; nothing comes back otherwise.
UPDATE executions SET
    status = ?, diagram_id = ?, parent_id = ?, waiting_barriers = ?, last_seq = ?, name = ?,
    content_hash = ?, created_at = ?, started_at = ?, ended_at = ?, tokens_input = ?,
    tokens_output = ?, tokens_cached = ?, error = ?, checksum = ?,
    head_hash = extend_chain(head_hash)
WHERE id = ? AND last_seq = ?
RETURNING position

-- name: insert_execution
-- Nothing comes back if there is such an execution already.
INSERT INTO executions (
    status, diagram_id, parent_id, waiting_barriers, last_seq, name, content_hash, created_at,
    started_at, ended_at, tokens_input, tokens_output, tokens_cached, error, checksum, head_hash, id
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, extend_chain(x''), ?)
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

-- name: read_events
-- Of the event behind which they begin nothing but the hash is needed.
SELECT e.seq, e.at, e.kind, e.version, e.hash, CASE WHEN e.seq > ?2 THEN e.payload END AS payload
FROM events AS e JOIN executions AS x ON x.position = e.execution
WHERE x.id = ?1 AND e.seq >= ?2 ORDER BY e.seq LIMIT ?3 + (?2 > 0)

-- name: live_ends
-- Where the rows of live executions say that their logs end, and what the logs say.
SELECT x.id, x.last_seq, x.head_hash, e.hash, (
    SELECT max(seq) FROM events WHERE execution = x.position
) AS tail
FROM executions AS x LEFT JOIN events AS e ON e.execution = x.position AND e.seq = x.last_seq
WHERE x.status IN ('PENDING', 'STARTED', 'RUNNING', 'PAUSED', 'WAITING')

-- name: live_end
-- The same of one.
SELECT x.id, x.last_seq, x.head_hash, e.hash, (
    SELECT max(seq) FROM events WHERE execution = x.position
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
