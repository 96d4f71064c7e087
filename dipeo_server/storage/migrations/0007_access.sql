-- Tokens: of the text only the SHA-256 digest is kept. None is ever deleted: the audit names them.
-- `checksum` covers all columns but `last_used_at`, which is written now and then.
CREATE TABLE tokens (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'author', 'admin')),
    is_approver INTEGER NOT NULL CHECK (is_approver IN (0, 1)),
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT,
    last_used_at TEXT,
    checksum BLOB NOT NULL
) STRICT;

CREATE TRIGGER tokens_are_never_deleted BEFORE DELETE ON tokens
BEGIN
    SELECT RAISE(ABORT, 'tokens are never deleted');
END;

CREATE TRIGGER tokens_change_only_by_use_and_end BEFORE UPDATE ON tokens
WHEN new.id IS NOT old.id OR new.name IS NOT old.name OR new.role IS NOT old.role
    OR new.is_approver IS NOT old.is_approver OR new.digest IS NOT old.digest
    OR new.created_at IS NOT old.created_at OR new.created_by IS NOT old.created_by
    OR new.expires_at IS NOT old.expires_at
    OR (old.revoked_at IS NOT NULL AND new.revoked_at IS NOT old.revoked_at)
BEGIN
    SELECT RAISE(ABORT, 'tokens are never changed');
END;

-- Who did, or tried to do, what; written in the transaction of what was done. Each entry has a hash
-- over the one before it and its own columns; AUTOINCREMENT remembers how many there should be.
CREATE TABLE audit (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    principal TEXT NOT NULL,
    token_id TEXT,
    operation TEXT NOT NULL,
    target TEXT,
    request_id TEXT NOT NULL,
    key TEXT,
    outcome TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is never changed');
END;

CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is never deleted');
END;
