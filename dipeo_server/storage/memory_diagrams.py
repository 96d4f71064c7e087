"""MemoryDiagrams: the reference implementation of stored diagrams; nothing outlives the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

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
from dipeo_server.domains.execution.ids import DiagramID
from dipeo_server.domains.execution.ports import Idempotency, KeyedAnswer
from dipeo_server.storage.diagram_rules import (
    answer_of,
    check_update,
    digest_of,
    is_same,
    is_same_named,
    no_document,
)
from dipeo_server.storage.refusals import not_in_the_list

KeepAnswer = Callable[[KeyedAnswer, datetime], None]
"""Keeps the answer of a key, unless the key is in use at that time: IdempotencyMismatch."""


class MemoryDiagrams:
    """Dictionaries beside those of a MemoryStore, which keeps the keys."""

    def __init__(self, check_open: Callable[[], None], keep_answer: KeepAnswer) -> None:
        self._check_open = check_open
        self._keep_answer = keep_answer
        self._diagrams: dict[DiagramID, StoredDiagram] = {}
        self._revisions: dict[DiagramID, list[StoredRevision]] = {}
        self._texts: dict[str, str] = {}

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
        await self._begin()
        head = _revision(diagram_id, 1, draft.document, at)
        made = StoredDiagram(diagram_id, draft.name, draft.description, at, at, None, head)
        return self._keep(made, key, at, draft.document.text)

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
        await self._begin()
        diagram = self._found(diagram_id)
        check_update(diagram, expected)
        changed = replace(diagram, name=draft.name, description=draft.description)
        if not is_same(diagram.head, draft.document):
            number = diagram.head.number + 1
            head = _revision(diagram_id, number, draft.document, at)
            changed = replace(changed, head=head, updated_at=at)
        elif not is_same_named(diagram, draft):
            changed = replace(changed, updated_at=at)
        return self._keep(changed, key, at, draft.document.text)

    async def archive(
        self, diagram_id: DiagramID, *, at: datetime, key: Idempotency | None = None
    ) -> StoredDiagram:
        """Put the diagram away; one that is archived stays so."""
        await self._begin()
        diagram = self._found(diagram_id)
        if diagram.archived_at is None:
            diagram = replace(diagram, archived_at=at, updated_at=at)
        return self._keep(diagram, key, at)

    async def _begin(self) -> None:
        self._check_open()
        await asyncio.sleep(0)

    def _found(self, diagram_id: DiagramID) -> StoredDiagram:
        diagram = self._diagrams.get(diagram_id)
        if diagram is None:
            raise no_diagram(diagram_id)
        return diagram

    def _keep(
        self, diagram: StoredDiagram, key: Idempotency | None, at: datetime, text: str | None = None
    ) -> StoredDiagram:
        """All of it or nothing: the key is what may still be refused."""
        if key is not None:
            self._keep_answer(answer_of(diagram, key), at)
        known = self._revisions.setdefault(diagram.id, [])
        if len(known) < diagram.head.number:
            known.append(diagram.head)
        if text is not None:
            self._texts[diagram.head.digest] = text
        self._diagrams[diagram.id] = diagram
        return diagram

    # --- reading --------------------------------------------------------------------------------

    async def find(self, diagram_id: DiagramID) -> StoredDiagram | None:
        """The diagram, archived ones too, or None."""
        self._check_open()
        return self._diagrams.get(diagram_id)

    async def find_by_name(self, name: str) -> StoredDiagram | None:
        """The newest diagram with exactly that name that is not archived, or None."""
        self._check_open()
        for diagram in reversed(self._diagrams.values()):
            if diagram.name == name and diagram.archived_at is None:
                return diagram
        return None

    async def list_diagrams(self, query: DiagramQuery) -> DiagramPage:
        """A page of the list, newest first."""
        self._check_open()
        age = {each: -place for place, each in enumerate(self._diagrams)}
        for cursor, field in ((query.after, "after"), (query.before, "before")):
            if cursor is not None and cursor not in age:
                raise not_in_the_list(cursor, field, of="a diagram")
        found = [each for each in reversed(self._diagrams.values()) if _matches(each, query)]
        start, end = 0, len(found)
        if query.after is not None:
            start = sum(age[each.id] <= age[query.after] for each in found)
        if query.before is not None:
            end = sum(age[each.id] < age[query.before] for each in found)
        if query.last is None:
            end = max(start, min(end, start + query.first))
        else:
            start = max(start, end - query.last)
            end = max(start, end)
        return DiagramPage(
            tuple(found[start:end]),
            has_next=end < len(found),
            has_previous=start > 0,
            total=len(found),
        )

    async def revision(self, diagram_id: DiagramID, number: int) -> StoredRevision | None:
        """One revision, or None."""
        self._check_open()
        known = self._revisions.get(diagram_id, [])
        return known[number - 1] if 1 <= number <= len(known) else None

    async def revisions(
        self, diagram_id: DiagramID, *, first: int, before: int | None = None
    ) -> RevisionPage:
        """A page of revisions, newest first; with `before` only those with smaller numbers."""
        self._check_open()
        known = self._revisions.get(diagram_id, [])
        older = [each for each in reversed(known) if before is None or each.number < before]
        return RevisionPage(
            tuple(older[:first]),
            has_next=len(older) > first,
            has_previous=len(older) < len(known),
            total=len(known),
        )

    async def text(self, revision: StoredRevision) -> str:
        """The document of a revision, as it was sent."""
        self._check_open()
        if revision.digest not in self._texts:
            raise no_document(revision)
        return self._texts[revision.digest]


def _revision(
    diagram_id: DiagramID, number: int, document: DiagramDocument, at: datetime
) -> StoredRevision:
    return StoredRevision(
        diagram_id,
        number,
        document.content_hash,
        document.format,
        document.path,
        digest_of(document.text),
        at,
    )


def _matches(diagram: StoredDiagram, query: DiagramQuery) -> bool:
    part = query.name_contains
    return (part is None or part.casefold() in diagram.name.casefold()) and (
        query.include_archived or diagram.archived_at is None
    )
