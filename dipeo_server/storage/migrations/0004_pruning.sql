-- Executions that a transaction is about to delete: it fills this table and empties it again, so that
-- nothing can be deleted by the way.
CREATE TABLE pruning (execution INTEGER PRIMARY KEY) STRICT;

CREATE TRIGGER only_what_has_ended_is_pruned BEFORE INSERT ON pruning
WHEN NOT EXISTS (
    SELECT 1 FROM executions
    WHERE position = new.execution AND status IN ('COMPLETED', 'FAILED', 'ABORTED')
)
BEGIN
    SELECT RAISE(ABORT, 'only executions that have ended are pruned');
END;

DROP TRIGGER events_are_never_deleted;

CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
WHEN NOT EXISTS (SELECT 1 FROM pruning WHERE execution = old.execution)
BEGIN
    SELECT RAISE(ABORT, 'events are never deleted');
END;

CREATE TRIGGER executions_are_never_deleted BEFORE DELETE ON executions
WHEN NOT EXISTS (SELECT 1 FROM pruning WHERE execution = old.position)
BEGIN
    SELECT RAISE(ABORT, 'executions are never deleted');
END;
