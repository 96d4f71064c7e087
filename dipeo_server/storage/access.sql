-- name: tokens
SELECT * FROM tokens ORDER BY position

-- name: keep_token
-- One that is there already can only be revoked, or has been used.
INSERT INTO tokens (
    id, name, role, is_approver, digest, created_at, created_by, expires_at, revoked_at,
    last_used_at, checksum
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    revoked_at = excluded.revoked_at, last_used_at = excluded.last_used_at,
    checksum = excluded.checksum

-- name: newest_entries
SELECT position, at, principal, token_id, operation, target, request_id, key, outcome
FROM audit WHERE position < ? ORDER BY position DESC LIMIT ?
