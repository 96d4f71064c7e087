-- Checkpoints: states of executions behind an event (`at`), kept so that a log need not be folded from
-- its beginning. Whole where `base` is `at`, else the difference to the one before; only a cache.
-- One that is not kept (`is_kept` = 0) is there for later ones that are made up from it.
CREATE TABLE checkpoints (
    execution INTEGER NOT NULL REFERENCES executions (position),
    at INTEGER NOT NULL CHECK (at > 0),
    base INTEGER NOT NULL CHECK (base BETWEEN 1 AND at),
    reason TEXT NOT NULL,
    created_at TEXT NOT NULL,
    graph_hash TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    next_node TEXT,
    size_bytes INTEGER NOT NULL,
    payload BLOB NOT NULL,
    checksum BLOB NOT NULL,
    is_kept INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (execution, at)
) STRICT;
