-- A fork has the events of another execution up to a sequence (`fork_of`, `forked_at`), which are not
-- copied, and its own behind them. Neither changes as long as it is there.
ALTER TABLE executions ADD COLUMN fork_of TEXT;
ALTER TABLE executions ADD COLUMN forked_at INTEGER;

CREATE INDEX executions_forks ON executions (fork_of) WHERE fork_of IS NOT NULL;

CREATE TRIGGER what_forks_go_on_from_is_kept BEFORE DELETE ON executions
WHEN EXISTS (
    SELECT 1 FROM executions AS f
    WHERE f.fork_of = old.id AND f.position NOT IN (SELECT execution FROM pruning)
)
BEGIN
    SELECT RAISE(ABORT, 'a fork goes on from this execution');
END;
