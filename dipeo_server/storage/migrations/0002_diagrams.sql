-- Stored diagrams. `position` orders by creation, since ids are random; `folded_name` is the name
-- in one case, for searching; `head` is the number of the newest revision.
CREATE TABLE diagrams (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    folded_name TEXT NOT NULL,
    description TEXT,
    head INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    archived_at TEXT
) STRICT;

CREATE INDEX diagrams_name ON diagrams (name, position) WHERE archived_at IS NULL;

-- The text of documents by its hash: kept once, however many revisions have it.
CREATE TABLE diagram_documents (
    digest TEXT PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;

-- Every state that a diagram ever had, numbered from 1 without gaps.
CREATE TABLE diagram_revisions (
    diagram INTEGER NOT NULL REFERENCES diagrams (position),
    number INTEGER NOT NULL CHECK (number > 0),
    content_hash TEXT NOT NULL,
    format TEXT NOT NULL,
    path TEXT,
    digest TEXT NOT NULL REFERENCES diagram_documents (digest),
    created_at TEXT NOT NULL,
    PRIMARY KEY (diagram, number)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER diagram_documents_are_never_changed BEFORE UPDATE ON diagram_documents
BEGIN
    SELECT RAISE(ABORT, 'documents of diagrams are never changed');
END;

CREATE TRIGGER diagram_documents_are_never_deleted BEFORE DELETE ON diagram_documents
BEGIN
    SELECT RAISE(ABORT, 'documents of diagrams are never deleted');
END;

CREATE TRIGGER diagram_revisions_are_never_changed BEFORE UPDATE ON diagram_revisions
BEGIN
    SELECT RAISE(ABORT, 'revisions of diagrams are never changed');
END;

CREATE TRIGGER diagram_revisions_are_never_deleted BEFORE DELETE ON diagram_revisions
BEGIN
    SELECT RAISE(ABORT, 'revisions of diagrams are never deleted');
END;
