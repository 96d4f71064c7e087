"""Stored diagrams: what is kept of them, the port to where, and what the API needs of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from dipeo_server.domains.execution.ids import DiagramID
from dipeo_server.domains.execution.ports import Idempotency
from dipeo_server.domains.execution.runner import IdempotencyKey
from dipeo_server.errors import InvalidState, NotFound, Rejected


@dataclass(frozen=True, slots=True)
class DiagramDocument:
    """A document as it was sent. `format` is "light", "native", "readable" or "nodes".

    "nodes" is the JSON of a request's nodes, edges and persons. `path` says where the document
    lies below the base directory; `content_hash` is that of the compiled diagram.
    """

    text: str
    format: str
    path: str | None
    content_hash: str


@dataclass(frozen=True, slots=True)
class DiagramDraft:
    """What a diagram is to become."""

    name: str
    description: str | None
    document: DiagramDocument


@dataclass(frozen=True, slots=True)
class StoredRevision:
    """One state of a stored diagram, for good; `number` counts from 1.

    The text is kept once for all revisions that have it: `digest` finds it.
    """

    diagram_id: DiagramID
    number: int
    content_hash: str
    format: str
    path: str | None
    digest: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredDiagram:
    """A diagram as it is now; `head` is its newest revision."""

    id: DiagramID
    name: str
    description: str | None
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None
    head: StoredRevision


@dataclass(frozen=True, slots=True)
class DiagramQuery:
    """A filter and a page of the list of diagrams; newest first.

    `name_contains` is a part of the name in any case. `after` and `before` are cursors: an id.
    """

    name_contains: str | None = None
    include_archived: bool = False
    first: int = 20
    after: DiagramID | None = None
    last: int | None = None
    before: DiagramID | None = None


@dataclass(frozen=True, slots=True)
class DiagramPage:
    """One page of diagrams (newest first) with what lies around it."""

    items: tuple[StoredDiagram, ...]
    has_next: bool
    has_previous: bool
    total: int


@dataclass(frozen=True, slots=True)
class RevisionPage:
    """One page of revisions (newest first); `total` counts those of all pages."""

    items: tuple[StoredRevision, ...]
    has_next: bool
    has_previous: bool
    total: int


class StaleRevision(Rejected):
    """The diagram has moved on since its author read it; `head` is where it is now."""

    code = "STALE_REVISION"
    default_hint = "Read the newest revision, apply your change to it, and send it again."

    def __init__(self, diagram_id: DiagramID, expected: int, head: StoredRevision) -> None:
        message = f"Diagram {diagram_id!r} is at revision {head.number}, not {expected}."
        super().__init__(message)
        self.head = head


class DiagramArchived(InvalidState):
    """The diagram is archived: it can be read, and neither changed nor run."""

    default_hint = "Create a new diagram from its content."

    def __init__(self, diagram_id: DiagramID) -> None:
        super().__init__(f"Diagram {diagram_id!r} is archived.")


def no_diagram(diagram_id: str) -> NotFound:
    """The refusal of an id that no diagram has."""
    return NotFound(f"There is no diagram {diagram_id!r}.")


class DiagramReader(Protocol):
    """Looks at stored diagrams."""

    async def find(self, diagram_id: DiagramID) -> StoredDiagram | None:
        """The diagram, archived ones too, or None."""
        ...

    async def find_by_name(self, name: str) -> StoredDiagram | None:
        """The newest diagram with exactly that name that is not archived, or None."""
        ...

    async def list_diagrams(self, query: DiagramQuery) -> DiagramPage:
        """A page of the list, newest first. Raises InvalidInput for a cursor of nothing."""
        ...

    async def revision(self, diagram_id: DiagramID, number: int) -> StoredRevision | None:
        """One revision, or None."""
        ...

    async def revisions(
        self, diagram_id: DiagramID, *, first: int, before: int | None = None
    ) -> RevisionPage:
        """A page of revisions, newest first; with `before` only those with smaller numbers."""
        ...

    async def text(self, revision: StoredRevision) -> str:
        """The document of a revision, as it was sent."""
        ...


class DiagramStore(DiagramReader, Protocol):
    """Where diagrams are kept: whoever changes one is answered when that is durable.

    The `key` of a mutation is committed together with its change, under the answer
    `{"diagram": id, "revision": number}`. Every change raises IdempotencyMismatch for a key that
    is stored already, StorageFull and StorageError; then nothing was committed.
    """

    async def create(
        self,
        diagram_id: DiagramID,
        draft: DiagramDraft,
        *,
        at: datetime,
        key: Idempotency | None = None,
    ) -> StoredDiagram:
        """Keep a new diagram with its revision 1."""
        ...

    async def update(
        self,
        diagram_id: DiagramID,
        draft: DiagramDraft,
        *,
        expected: int,
        at: datetime,
        key: Idempotency | None = None,
    ) -> StoredDiagram:
        """Keep the next revision, or none where the document is that of the head.

        Raises NotFound, DiagramArchived, StaleRevision if the head is not `expected`.
        """
        ...

    async def archive(
        self, diagram_id: DiagramID, *, at: datetime, key: Idempotency | None = None
    ) -> StoredDiagram:
        """Put the diagram away; one that is archived stays so. Raises NotFound."""
        ...


@dataclass(frozen=True, slots=True)
class DiagramAccepted:
    """The diagram behind a mutation, and the revision that the mutation was answered with.

    `is_repeat`: this key was answered before, and nothing was done again.
    """

    diagram: StoredDiagram
    revision: StoredRevision
    is_repeat: bool = False


class DiagramLibrary(DiagramReader, Protocol):
    """What the API needs: reads, and changes under the keys of clients, answered after the commit.

    Every change raises IdempotencyMismatch, StorageFull, StorageError.
    """

    async def create(
        self, draft: DiagramDraft, key: IdempotencyKey | None = None
    ) -> DiagramAccepted:
        """Keep a new diagram."""
        ...

    async def update(
        self,
        diagram_id: DiagramID,
        draft: DiagramDraft,
        *,
        expected: int,
        key: IdempotencyKey | None = None,
    ) -> DiagramAccepted:
        """Keep the next revision. Raises NotFound, DiagramArchived, StaleRevision."""
        ...

    async def archive(
        self, diagram_id: DiagramID, key: IdempotencyKey | None = None
    ) -> DiagramAccepted:
        """Put the diagram away; its runs stay. Raises NotFound."""
        ...

    def watch(self, diagram_id: DiagramID) -> AsyncIterator[StoredDiagram]:
        """The diagram as it is, and again when it has changed; the newest state is never missed.

        Ends once it is archived. Raises NotFound at once.
        """
        ...
