-- Executions, one row each: what lists and filters are answered from. Written in the transaction of
-- the execution's events. `position` orders by creation, since ids are random.
CREATE TABLE executions (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    name TEXT,
    diagram_id TEXT,
    content_hash TEXT,
    parent_id TEXT,
    created_at TEXT,
    started_at TEXT,
    ended_at TEXT,
    tokens_input INTEGER NOT NULL DEFAULT 0,
    tokens_output INTEGER NOT NULL DEFAULT 0,
    tokens_cached INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    waiting_barriers INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX executions_status ON executions (status, position);
CREATE INDEX executions_waiting ON executions (position) WHERE waiting_barriers > 0;
CREATE INDEX executions_parent ON executions (parent_id, position) WHERE parent_id IS NOT NULL;
CREATE INDEX executions_diagram ON executions (diagram_id, position) WHERE diagram_id IS NOT NULL;

-- How many executions there are of each status: counting a million rows takes too long for a page.
CREATE TABLE execution_counts (
    status TEXT PRIMARY KEY,
    executions INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER execution_is_counted AFTER INSERT ON executions
BEGIN
    INSERT INTO execution_counts (status, executions) VALUES (new.status, 1)
    ON CONFLICT (status) DO UPDATE SET executions = executions + 1;
END;

CREATE TRIGGER execution_is_counted_anew AFTER UPDATE OF status ON executions
WHEN old.status <> new.status
BEGIN
    UPDATE execution_counts SET executions = executions - 1 WHERE status = old.status;
    INSERT INTO execution_counts (status, executions) VALUES (new.status, 1)
    ON CONFLICT (status) DO UPDATE SET executions = executions + 1;
END;

CREATE TRIGGER execution_is_counted_no_more AFTER DELETE ON executions
BEGIN
    UPDATE execution_counts SET executions = executions - 1 WHERE status = old.status;
END;

-- The event log: the only truth. Gapless per execution, append-only. Rows lie in the order they were
-- committed in, and not by execution (WITHOUT ROWID): where many executions append at once, that
-- halves what each commit writes.
CREATE TABLE events (
    execution INTEGER NOT NULL REFERENCES executions (position),
    seq INTEGER NOT NULL CHECK (seq > 0),
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (execution, seq)
) STRICT;

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never changed');
END;

CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never deleted');
END;

-- Answers of mutations by their idempotency key, committed with the events they caused.
CREATE TABLE idempotency (
    principal TEXT NOT NULL,
    key TEXT NOT NULL,
    mutation TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    answer TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (principal, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_expiry ON idempotency (expires_at);

-- What nodes print: telemetry, never folded.
CREATE TABLE log_lines (
    cursor INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL,
    node TEXT NOT NULL,
    occurrence INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    stream TEXT NOT NULL,
    level TEXT NOT NULL,
    text TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT;

CREATE INDEX log_lines_of_execution ON log_lines (execution_id, cursor);
