-- name: insert_diagram
INSERT INTO diagrams (
    id, name, folded_name, description, head, created_at, updated_at
) VALUES (?, ?, ?, ?, 1, ?, ?)
RETURNING position

-- name: insert_document
INSERT INTO diagram_documents (digest, text) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING

-- name: insert_revision
INSERT INTO diagram_revisions (
    diagram, number, content_hash, format, path, digest, created_at
) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: update_diagram
UPDATE diagrams SET name = ?, folded_name = ?, description = ?, head = ?, updated_at = ?
WHERE position = ?

-- name: archive_diagram
UPDATE diagrams SET archived_at = ?, updated_at = ? WHERE id = ? AND archived_at IS NULL

-- name: diagram
SELECT
    d.id, r.number, r.content_hash, r.format, r.path, r.digest, r.created_at,
    d.name, d.description, d.created_at, d.updated_at, d.archived_at, d.position
FROM diagrams AS d JOIN diagram_revisions AS r ON r.diagram = d.position AND r.number = d.head
WHERE d.id = ?

-- name: diagram_by_name
SELECT
    d.id, r.number, r.content_hash, r.format, r.path, r.digest, r.created_at,
    d.name, d.description, d.created_at, d.updated_at, d.archived_at, d.position
FROM diagrams AS d JOIN diagram_revisions AS r ON r.diagram = d.position AND r.number = d.head
WHERE d.name = ? AND d.archived_at IS NULL ORDER BY d.position DESC LIMIT 1

-- name: newest_diagrams
-- A part of the name or null, with archived ones or not, between two positions, so many.
SELECT
    d.id, r.number, r.content_hash, r.format, r.path, r.digest, r.created_at,
    d.name, d.description, d.created_at, d.updated_at, d.archived_at, d.position
FROM diagrams AS d JOIN diagram_revisions AS r ON r.diagram = d.position AND r.number = d.head
WHERE (?1 IS NULL OR instr(d.folded_name, ?1) > 0) AND (?2 OR d.archived_at IS NULL)
    AND d.position > ifnull(?3, 0) AND d.position < ifnull(?4, 9223372036854775807)
ORDER BY d.position DESC LIMIT ?5

-- name: oldest_diagrams
-- The same from the other end.
SELECT
    d.id, r.number, r.content_hash, r.format, r.path, r.digest, r.created_at,
    d.name, d.description, d.created_at, d.updated_at, d.archived_at, d.position
FROM diagrams AS d JOIN diagram_revisions AS r ON r.diagram = d.position AND r.number = d.head
WHERE (?1 IS NULL OR instr(d.folded_name, ?1) > 0) AND (?2 OR d.archived_at IS NULL)
    AND d.position > ifnull(?3, 0) AND d.position < ifnull(?4, 9223372036854775807)
ORDER BY d.position LIMIT ?5

-- name: count_diagrams
SELECT count(*) FROM diagrams AS d
WHERE (?1 IS NULL OR instr(d.folded_name, ?1) > 0) AND (?2 OR d.archived_at IS NULL)

-- name: diagram_position
SELECT position FROM diagrams WHERE id = ?

-- name: revision
SELECT d.id, r.number, r.content_hash, r.format, r.path, r.digest, r.created_at
FROM diagrams AS d JOIN diagram_revisions AS r ON r.diagram = d.position
WHERE d.id = ? AND r.number = ?

-- name: newest_revisions
SELECT d.id, r.number, r.content_hash, r.format, r.path, r.digest, r.created_at
FROM diagrams AS d JOIN diagram_revisions AS r ON r.diagram = d.position
WHERE d.id = ? AND r.number < ? ORDER BY r.number DESC LIMIT ?

-- name: document
SELECT text FROM diagram_documents WHERE digest = ?
