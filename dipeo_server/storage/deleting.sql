-- name: family_of
-- An execution that is nobody's child, or whose parent has gone, and the runs of all sub-diagrams below.
WITH RECURSIVE family (position, id, status, parent_id) AS (
    SELECT position, id, status, CASE WHEN parent_id IS NOT fork_of THEN parent_id END
    FROM executions WHERE id = ?
    UNION
    SELECT x.position, x.id, x.status, x.parent_id
    FROM executions AS x JOIN family AS f ON x.parent_id = f.id AND x.fork_of IS NOT f.id
)
SELECT position, id, status, (SELECT id FROM executions WHERE id = family.parent_id) AS parent
FROM family ORDER BY position

-- name: forks_of
SELECT id FROM executions WHERE fork_of = ? ORDER BY position
