-- Every event has a hash over the one before it and its own columns; the execution's row has the last
-- one, and a checksum over its other columns. What is here already is chained now, as it is.
ALTER TABLE events ADD COLUMN hash BLOB NOT NULL DEFAULT x'';
ALTER TABLE executions ADD COLUMN head_hash BLOB NOT NULL DEFAULT x'';
ALTER TABLE executions ADD COLUMN checksum BLOB NOT NULL DEFAULT x'';
ALTER TABLE idempotency ADD COLUMN checksum BLOB NOT NULL DEFAULT x'';

DROP TRIGGER events_are_never_changed;

WITH RECURSIVE links (execution, id, seq, hash) AS (
    SELECT position, id, 0, x'' FROM executions
    UNION ALL
    SELECT e.execution, l.id, e.seq,
        chain_link(l.hash, l.id, e.seq, e.at, e.kind, e.version, e.payload)
    FROM links AS l JOIN events AS e ON e.execution = l.execution AND e.seq = l.seq + 1
)
UPDATE events SET hash = links.hash
FROM links WHERE links.execution = events.execution AND links.seq = events.seq;

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never changed');
END;

UPDATE executions SET
    head_hash = coalesce(
        (SELECT hash FROM events WHERE execution = executions.position AND seq = last_seq), x''
    ),
    checksum = checksum_of(
        status, diagram_id, parent_id, waiting_barriers, last_seq, name, content_hash, created_at,
        started_at, ended_at, tokens_input, tokens_output, tokens_cached, error, id
    );

UPDATE idempotency SET checksum = checksum_of(
    principal, key, mutation, request_hash, execution_id, answer, expires_at
);
