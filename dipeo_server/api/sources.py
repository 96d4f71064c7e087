"""What a client wants to run: a stored diagram, one revision, or a document."""

from __future__ import annotations

from dataclasses import dataclass

from dipeo_server.api import documents, ids
from dipeo_server.api.approving import require_argument
from dipeo_server.api.context import OperationContext
from dipeo_server.api.documents import Document
from dipeo_server.api.stored import off_the_loop, read_revision
from dipeo_server.api.types.inputs import DiagramInput, RunSource, document_of
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.diagram_store import (
    DiagramArchived,
    StoredRevision,
    no_diagram,
)
from dipeo_server.domains.execution.ids import DiagramID
from dipeo_server.errors import InvalidInput, NotFound

_FIELD = ("input", "source")
_INLINE = "Mutation.runDiagram(input.source.inline)"


@dataclass(frozen=True, slots=True)
class Source:
    """A diagram that can run, and where it is stored (None and 0 for one that is not)."""

    diagram: ExecutableDiagram
    diagram_id: DiagramID | None = None
    revision: int = 0


async def resolve(given: RunSource, context: OperationContext) -> Source:
    """Read and compile it. Raises InvalidInput, NotFound, DiagramArchived, DiagramInvalid."""
    if isinstance(given.inline, DiagramInput):
        require_argument(context, _INLINE, is_given=True)
        document = document_of(given.inline, context.services.specs, (*_FIELD, "inline"))
        return Source(await _compiled(document, context))
    if given.diagram_id:
        return await _stored(context, DiagramID(given.diagram_id), None)
    if given.revision_id:
        return await _revision(context, given.revision_id)
    message = "One of `diagramId`, `revisionId` and `inline` must be given."
    raise InvalidInput(message, field=_FIELD)


async def _compiled(document: Document, context: OperationContext) -> ExecutableDiagram:
    services = context.services

    def compiled() -> ExecutableDiagram:
        loaded = documents.read(document, services)
        return documents.compile_loaded(loaded, services).executable

    return await off_the_loop(document.content, compiled)


async def _revision(context: OperationContext, revision_id: str) -> Source:
    part = ids.decode(revision_id)
    if part is not None and part.stored_revision is not None:
        diagram_id, number = part.stored_revision
        revision = await context.revisions.load((diagram_id, number))
        if revision is not None:
            return await _stored(context, diagram_id, revision)
    elif part is not None and part.kind is ids.Kind.REVISION:
        view = await context.views.load(part.execution_id)
        if view is not None and (view.diagram_id is None or view.mutations):
            return Source(view.diagram)
    raise NotFound(f"There is no revision {revision_id!r}.")


async def _stored(
    context: OperationContext, diagram_id: DiagramID, revision: StoredRevision | None
) -> Source:
    """A revision of a stored diagram; None = the newest."""
    diagram = await context.diagrams.load(diagram_id)
    if diagram is None:
        raise no_diagram(diagram_id)
    if diagram.archived_at is not None:
        raise DiagramArchived(diagram_id)
    chosen = revision or diagram.head
    reading = await read_revision(context, chosen)
    return Source(reading.executable, diagram_id, chosen.number)
