"""Stored diagrams as documents: what is kept of one that a client sends, and reading it again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from dipeo_server.api import documents
from dipeo_server.api.context import ApiServices, OperationContext
from dipeo_server.api.documents import Document
from dipeo_server.api.json_dialect import dumps
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.formats.detect import detect_format
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.formats.writing import write_diagram
from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem
from dipeo_server.domains.execution.diagram_store import (
    DiagramDocument,
    DiagramDraft,
    StoredRevision,
)
from dipeo_server.errors import InvalidInput

T = TypeVar("T")

NAME_CHARACTERS_MAX: Final = 200
NODES_FORMAT: Final = "nodes"
"""The format of a diagram that was sent as nodes and edges: JSON of these."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A stored revision as this server reads it; `compiled` is None where it cannot run (any more).

    `problems` has errors and warnings.
    """

    revision: StoredRevision
    text: str
    loaded: Loaded
    compiled: ExecutableDiagram | None
    problems: tuple[DiagramProblem, ...]

    @property
    def executable(self) -> ExecutableDiagram:
        """What an execution of it runs. Raises DiagramInvalid."""
        if self.compiled is None:
            raise DiagramInvalid(self.problems)
        return self.compiled

    def content(self, format_: str) -> str:
        """The document: as it was sent, or in another format.

        Raises InvalidInput where it cannot be written so, DiagramInvalid where it cannot be read.
        """
        if format_ == self.revision.format:
            return self.text
        if self.loaded.diagram is None:
            raise DiagramInvalid(self.problems)
        return write_diagram(self.loaded.diagram, format_)


async def draft_of(document: Document, services: ApiServices) -> DiagramDraft:
    """What is to be kept of a document that can run. Raises InvalidInput, DiagramInvalid."""
    name = document.name or ""
    if not name.strip() or len(name) > NAME_CHARACTERS_MAX:
        message = f"`name` must have 1 to {NAME_CHARACTERS_MAX} characters."
        raise InvalidInput(message, field=(*document.field, "name"))

    def draft() -> DiagramDraft:
        compiled = documents.compile_loaded(documents.read(document, services), services)
        kept = _kept(document, compiled.executable.content_hash)
        return DiagramDraft(name, document.description, kept)

    return await off_the_loop(document.content, draft)


def _kept(document: Document, content_hash: str) -> DiagramDocument:
    if document.content is not None:
        format_ = document.format or detect_format(document.content, document.path)
        return DiagramDocument(document.content, str(format_), document.path, content_hash)
    parts = {"nodes": document.nodes, "edges": document.edges, "persons": document.persons}
    return DiagramDocument(dumps(parts).decode(), NODES_FORMAT, document.path, content_hash)


async def read_revision(context: OperationContext, revision: StoredRevision) -> Reading:
    """Read a revision's document. Raises StorageError."""
    services = context.services
    text = await context.library.text(revision)
    diagram = await context.diagrams.load(revision.diagram_id)
    document = Document(
        name=diagram.name if diagram is not None else None,
        description=diagram.description if diagram is not None else None,
        path=revision.path,
        **_sent(text, revision.format),
    )

    def read() -> Reading:
        loaded = documents.read(document, services)
        try:
            compiled = documents.compile_loaded(loaded, services)
        except DiagramInvalid as invalid:
            return Reading(revision, text, loaded, None, invalid.problems)
        return Reading(revision, text, loaded, compiled.executable, compiled.warnings)

    return await off_the_loop(text, read)


def _sent(text: str, format_: str) -> documents.Sent:
    """What the document's client had sent."""
    if format_ == NODES_FORMAT:
        found: documents.Sent = json.loads(text)
        return found
    return {"content": text, "format": format_}


async def off_the_loop(text: str | None, work: Callable[[], T]) -> T:
    """Do work on a text: in a thread where it is so long that others would have to wait."""
    if len(text or "") <= documents.QUICK_CHARACTERS_MAX:
        return work()
    return await asyncio.to_thread(work)
