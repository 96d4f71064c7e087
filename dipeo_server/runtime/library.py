"""Library: stored diagrams with ids, times and the keys of clients' mutations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from dipeo_server.domains.execution.diagram_store import (
    DiagramAccepted,
    DiagramDraft,
    DiagramPage,
    DiagramQuery,
    DiagramStore,
    RevisionPage,
    StoredDiagram,
    StoredRevision,
    no_diagram,
)
from dipeo_server.domains.execution.ids import DiagramID
from dipeo_server.domains.execution.ports import Clock, Idempotency, StateStore
from dipeo_server.domains.execution.runner import IdempotencyKey
from dipeo_server.errors import Rejected
from dipeo_server.runtime.identity import new_diagram_id
from dipeo_server.runtime.keys import check_same_request, record_of


class Library:
    """The diagrams of a store; `answers` is where its idempotency keys are."""

    def __init__(self, store: DiagramStore, answers: StateStore, clock: Clock) -> None:
        self._store = store
        self._answers = answers
        self._clock = clock
        self._watchers: dict[DiagramID, set[asyncio.Event]] = {}

    # --- changing -------------------------------------------------------------------------------

    async def create(
        self, draft: DiagramDraft, key: IdempotencyKey | None = None
    ) -> DiagramAccepted:
        """Keep a new diagram."""
        diagram_id = new_diagram_id()

        async def create(record: Idempotency | None) -> StoredDiagram:
            return await self._store.create(diagram_id, draft, at=self._clock.now(), key=record)

        return await self._once(key, create)

    async def update(
        self,
        diagram_id: DiagramID,
        draft: DiagramDraft,
        *,
        expected: int,
        key: IdempotencyKey | None = None,
    ) -> DiagramAccepted:
        """Keep the next revision. Raises NotFound, DiagramArchived, StaleRevision."""

        async def update(record: Idempotency | None) -> StoredDiagram:
            return await self._store.update(
                diagram_id, draft, expected=expected, at=self._clock.now(), key=record
            )

        return await self._once(key, update)

    async def archive(
        self, diagram_id: DiagramID, key: IdempotencyKey | None = None
    ) -> DiagramAccepted:
        """Put the diagram away; its runs stay. Raises NotFound."""

        async def archive(record: Idempotency | None) -> StoredDiagram:
            return await self._store.archive(diagram_id, at=self._clock.now(), key=record)

        return await self._once(key, archive)

    async def _once(
        self,
        key: IdempotencyKey | None,
        change: Callable[[Idempotency | None], Awaitable[StoredDiagram]],
    ) -> DiagramAccepted:
        """Make the change, unless its key tells that it was made before."""
        if key is None:
            return self._accepted(await change(None))
        known = await self.answered(key)
        if known is not None:
            return known
        try:
            return self._accepted(await change(record_of(key, self._clock.now())))
        except Rejected:
            # Perhaps it was sent twice at once, and what refuses this one is the other's change.
            known = await self.answered(key)
            if known is None:
                raise
            return known

    async def answered(self, key: IdempotencyKey | None) -> DiagramAccepted | None:
        """What the key was answered before, or None. Raises IdempotencyMismatch."""
        if key is None:
            return None
        stored = await self._answers.find_answer(key.principal, key.key, now=self._clock.now())
        if stored is None:
            return None
        check_same_request(stored, key)
        diagram_id = DiagramID(stored.answer["diagram"])
        diagram = await self._store.find(diagram_id)
        revision = await self._store.revision(diagram_id, int(stored.answer["revision"]))
        if diagram is None or revision is None:
            raise no_diagram(diagram_id)
        return DiagramAccepted(diagram, revision, is_repeat=True)

    def _accepted(self, diagram: StoredDiagram) -> DiagramAccepted:
        for wake in self._watchers.get(diagram.id, ()):
            wake.set()
        return DiagramAccepted(diagram, diagram.head)

    # --- looking --------------------------------------------------------------------------------

    async def find(self, diagram_id: DiagramID) -> StoredDiagram | None:
        """The diagram, archived ones too, or None."""
        return await self._store.find(diagram_id)

    async def find_by_name(self, name: str) -> StoredDiagram | None:
        """The newest diagram with exactly that name that is not archived, or None."""
        return await self._store.find_by_name(name)

    async def list_diagrams(self, query: DiagramQuery) -> DiagramPage:
        """A page of the list, newest first. Raises InvalidInput for a cursor of nothing."""
        return await self._store.list_diagrams(query)

    async def revision(self, diagram_id: DiagramID, number: int) -> StoredRevision | None:
        """One revision, or None."""
        return await self._store.revision(diagram_id, number)

    async def revisions(
        self, diagram_id: DiagramID, *, first: int, before: int | None = None
    ) -> RevisionPage:
        """A page of revisions, newest first; with `before` only those with smaller numbers."""
        return await self._store.revisions(diagram_id, first=first, before=before)

    async def text(self, revision: StoredRevision) -> str:
        """The document of a revision, as it was sent."""
        return await self._store.text(revision)

    async def watch(self, diagram_id: DiagramID) -> AsyncGenerator[StoredDiagram, None]:
        """The diagram as it is, and again when it has changed; ends once it is archived.

        The store is what tells; being woken only means to look again. Raises NotFound at once.
        """
        wake = asyncio.Event()
        watchers = self._watchers.setdefault(diagram_id, set())
        watchers.add(wake)
        seen: StoredDiagram | None = None
        try:
            while seen is None or seen.archived_at is None:
                wake.clear()
                found = await self._store.find(diagram_id)
                if found is None:
                    raise no_diagram(diagram_id)
                if found != seen:
                    seen = found
                    yield found
                else:
                    await wake.wait()
        finally:
            watchers.discard(wake)
            if not watchers:
                self._watchers.pop(diagram_id, None)
