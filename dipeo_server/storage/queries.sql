-- name: tail
-- Where an execution's log ends; no row = it has not begun.
SELECT position, last_seq FROM executions WHERE id = ?

-- name: insert_execution
INSERT INTO executions (
    id, status, last_seq, name, diagram_id, content_hash, parent_id, created_at, started_at,
    ended_at, tokens_input, tokens_output, tokens_cached, error, waiting_barriers
) VALUES (
    :id, :status, :last_seq, :name, :diagram_id, :content_hash, :parent_id, :created_at,
    :started_at, :ended_at, :tokens_input, :tokens_output, :tokens_cached, :error,
    :waiting_barriers
)

-- name: update_execution
UPDATE executions SET
    status = :status, last_seq = :last_seq, started_at = :started_at, ended_at = :ended_at,
    tokens_input = :tokens_input, tokens_output = :tokens_output, tokens_cached = :tokens_cached,
    error = :error, waiting_barriers = :waiting_barriers
WHERE position = :position

-- name: insert_event
INSERT INTO events (execution, seq, at, kind, version, payload) VALUES (?, ?, ?, ?, ?, ?)

-- name: drop_expired_keys
-- A key may be used again once its answer has expired.
DELETE FROM idempotency WHERE expires_at <= ?

-- name: insert_key
INSERT INTO idempotency (
    principal, key, mutation, request_hash, execution_id, answer, expires_at
) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: insert_log_line
INSERT INTO log_lines (execution_id, node, occurrence, attempt, stream, level, text, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: read_events
SELECT e.seq, e.at, e.kind, e.version, e.payload
FROM events AS e JOIN executions AS x ON x.position = e.execution
WHERE x.id = ? AND e.seq > ? ORDER BY e.seq LIMIT ?

-- name: summary
SELECT * FROM executions WHERE id = ?

-- name: active
SELECT id FROM executions
WHERE status NOT IN ('COMPLETED', 'FAILED', 'ABORTED') ORDER BY position

-- name: find_key
SELECT mutation, request_hash, execution_id, answer FROM idempotency
WHERE principal = ? AND key = ? AND expires_at > ?

-- name: read_logs
SELECT cursor, node, occurrence, attempt, stream, level, text, at FROM log_lines
WHERE execution_id = ? AND cursor > ? ORDER BY cursor LIMIT ?

-- name: read_node_logs
SELECT cursor, node, occurrence, attempt, stream, level, text, at FROM log_lines
WHERE execution_id = ? AND cursor > ? AND node = ? ORDER BY cursor LIMIT ?
