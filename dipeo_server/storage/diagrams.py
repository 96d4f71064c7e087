"""SQLiteDiagrams: stored diagrams and their revisions, through the store's one writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from dipeo_server.domains.execution.diagram_store import (
    DiagramDocument,
    DiagramDraft,
    DiagramPage,
    DiagramQuery,
    RevisionPage,
    StoredDiagram,
    StoredRevision,
    no_diagram,
)
from dipeo_server.domains.execution.ids import DiagramID, ExecutionID
from dipeo_server.domains.execution.ports import Idempotency
from dipeo_server.storage.auditing import keyed_row
from dipeo_server.storage.codec import stamp, unstamp
from dipeo_server.storage.diagram_rules import (
    answer_of,
    check_update,
    digest_of,
    is_same,
    is_same_named,
    no_document,
)
from dipeo_server.storage.listing import Bounds, Fetch, around
from dipeo_server.storage.queries import load_queries
from dipeo_server.storage.refusals import not_in_the_list
from dipeo_server.storage.writer import Writer

NUMBER_MAX: Final = 2**63 - 1
NO_EXECUTION: Final = ExecutionID("")
"""What the key of a diagram's mutation is about, in place of an execution."""


class SQLiteDiagrams:
    """Diagrams in the tables of the store that has the writer and the readers."""

    def __init__(self, writer: Writer, fetch: Fetch) -> None:
        self._writer = writer
        self._fetch = fetch
        self._sql = load_queries() | load_queries("diagrams.sql")

    # --- writing --------------------------------------------------------------------------------

    async def create(
        self,
        diagram_id: DiagramID,
        draft: DiagramDraft,
        *,
        at: datetime,
        key: Idempotency | None = None,
    ) -> StoredDiagram:
        """Keep a new diagram with its revision 1."""
        stamped = stamp(at)
        row = (diagram_id, *_names(draft), stamped, stamped)

        def work(connection: sqlite3.Connection) -> StoredDiagram:
            position = connection.execute(self._sql["insert_diagram"], row).fetchone()[0]
            self._insert_revision(connection, position, 1, draft.document, stamped)
            return self._changed(connection, diagram_id, key, stamped)

        return await self._commit(work)

    async def update(
        self,
        diagram_id: DiagramID,
        draft: DiagramDraft,
        *,
        expected: int,
        at: datetime,
        key: Idempotency | None = None,
    ) -> StoredDiagram:
        """Keep the next revision, or none where the document is that of the head."""
        stamped = stamp(at)

        def work(connection: sqlite3.Connection) -> StoredDiagram:
            diagram, position = self._found(connection, diagram_id)
            check_update(diagram, expected)
            number = diagram.head.number
            is_kept = is_same(diagram.head, draft.document)
            if not is_kept:
                number += 1
                self._insert_revision(connection, position, number, draft.document, stamped)
            if not (is_kept and is_same_named(diagram, draft)):
                row = (*_names(draft), number, stamped, position)
                connection.execute(self._sql["update_diagram"], row)
            return self._changed(connection, diagram_id, key, stamped)

        return await self._commit(work)

    async def archive(
        self, diagram_id: DiagramID, *, at: datetime, key: Idempotency | None = None
    ) -> StoredDiagram:
        """Put the diagram away; one that is archived stays so."""
        stamped = stamp(at)

        def work(connection: sqlite3.Connection) -> StoredDiagram:
            connection.execute(self._sql["archive_diagram"], (stamped, stamped, diagram_id))
            return self._changed(connection, diagram_id, key, stamped)

        return await self._commit(work)

    async def _commit(self, work: Callable[[sqlite3.Connection], StoredDiagram]) -> StoredDiagram:
        made: list[StoredDiagram] = []
        await self._writer.commit(lambda connection: made.append(work(connection)))
        return made[0]

    def _insert_revision(
        self,
        connection: sqlite3.Connection,
        position: int,
        number: int,
        document: DiagramDocument,
        at: str,
    ) -> None:
        digest = digest_of(document.text)
        connection.execute(self._sql["insert_document"], (digest, document.text))
        row = (document.content_hash, document.format, document.path, digest, at)
        connection.execute(self._sql["insert_revision"], (position, number, *row))

    def _found(
        self, connection: sqlite3.Connection, diagram_id: DiagramID
    ) -> tuple[StoredDiagram, int]:
        """The diagram as it is inside this transaction, and its position. Raises NotFound."""
        row = connection.execute(self._sql["diagram"], (diagram_id,)).fetchone()
        if row is None:
            raise no_diagram(diagram_id)
        return _diagram(row), row[-1]

    def _changed(
        self,
        connection: sqlite3.Connection,
        diagram_id: DiagramID,
        key: Idempotency | None,
        at: str,
    ) -> StoredDiagram:
        """The diagram behind the change, which the key is answered with."""
        diagram, _ = self._found(connection, diagram_id)
        if key is not None:
            keyed = keyed_row(NO_EXECUTION, answer_of(diagram, key), diagram_id)
            keyed.insert(connection, self._sql, at)
        return diagram

    # --- reading --------------------------------------------------------------------------------

    async def find(self, diagram_id: DiagramID) -> StoredDiagram | None:
        """The diagram, archived ones too, or None."""
        rows = await self._fetch(self._sql["diagram"], (diagram_id,))
        return _diagram(rows[0]) if rows else None

    async def find_by_name(self, name: str) -> StoredDiagram | None:
        """The newest diagram with exactly that name that is not archived, or None."""
        rows = await self._fetch(self._sql["diagram_by_name"], (name,))
        return _diagram(rows[0]) if rows else None

    async def list_diagrams(self, query: DiagramQuery) -> DiagramPage:
        """A page of the list, newest first."""
        part = None if query.name_contains is None else query.name_contains.casefold()
        chosen = (part, query.include_archived)
        bounds = Bounds(
            above=await self._position(query.before, "before"),
            below=await self._position(query.after, "after"),
        )
        is_backward = query.last is not None
        size = query.first if query.last is None else query.last
        found = await self._page(chosen, bounds, size + 1, is_backward=is_backward)
        rows, has_more = found[:size], len(found) > size
        if is_backward:
            rows.reverse()
        newer, older = around(rows, bounds)
        counted = await self._fetch(self._sql["count_diagrams"], chosen)
        return DiagramPage(
            tuple(map(_diagram, rows)),
            has_next=(has_more and not is_backward) or await self._is_any(chosen, below=older),
            has_previous=(has_more and is_backward) or await self._is_any(chosen, above=newer),
            total=counted[0][0],
        )

    async def revision(self, diagram_id: DiagramID, number: int) -> StoredRevision | None:
        """One revision, or None."""
        rows = await self._fetch(self._sql["revision"], (diagram_id, number))
        return _revision(rows[0]) if rows else None

    async def revisions(
        self, diagram_id: DiagramID, *, first: int, before: int | None = None
    ) -> RevisionPage:
        """A page of revisions, newest first; with `before` only those with smaller numbers."""
        values = (diagram_id, NUMBER_MAX if before is None else before, first + 1)
        rows = await self._fetch(self._sql["newest_revisions"], values)
        diagram = await self.find(diagram_id)
        total = 0 if diagram is None else diagram.head.number
        return RevisionPage(
            tuple(map(_revision, rows[:first])),
            has_next=len(rows) > first,
            has_previous=before is not None and before <= total,
            total=total,
        )

    async def text(self, revision: StoredRevision) -> str:
        """The document of a revision, as it was sent."""
        rows = await self._fetch(self._sql["document"], (revision.digest,))
        if not rows:
            raise no_document(revision)
        text: str = rows[0]["text"]
        return text

    async def _page(
        self, chosen: Sequence[Any], bounds: Bounds, limit: int, *, is_backward: bool
    ) -> list[sqlite3.Row]:
        name = "oldest_diagrams" if is_backward else "newest_diagrams"
        return await self._fetch(self._sql[name], (*chosen, bounds.above, bounds.below, limit))

    async def _is_any(
        self, chosen: Sequence[Any], *, above: int | None = None, below: int | None = None
    ) -> bool:
        """Does anything chosen lie beyond the page? None: the page lies at that end."""
        if above is None and below is None:
            return False
        return bool(await self._page(chosen, Bounds(above, below), 1, is_backward=False))

    async def _position(self, cursor: DiagramID | None, field: str) -> int | None:
        if cursor is None:
            return None
        rows = await self._fetch(self._sql["diagram_position"], (cursor,))
        if not rows:
            raise not_in_the_list(cursor, field, of="a diagram")
        return int(rows[0]["position"])


def _names(draft: DiagramDraft) -> tuple[str, str, str | None]:
    return draft.name, draft.name.casefold(), draft.description


def _revision(row: Sequence[Any]) -> StoredRevision:
    id_, number, content_hash, format_, path, digest, created_at = row
    return StoredRevision(
        DiagramID(id_), number, content_hash, format_, path, digest, unstamp(created_at)
    )


def _diagram(row: Sequence[Any]) -> StoredDiagram:
    name, description, created_at, updated_at, archived_at, _ = row[7:]
    return StoredDiagram(
        id=DiagramID(row[0]),
        name=name,
        description=description,
        created_at=unstamp(created_at),
        updated_at=unstamp(updated_at),
        archived_at=None if archived_at is None else unstamp(archived_at),
        head=_revision(row[:7]),
    )
