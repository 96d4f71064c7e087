"""Whether a run of a stored diagram goes on where that has moved on meanwhile."""

from __future__ import annotations

from dipeo_server.api.context import OperationContext
from dipeo_server.api.stored import read_revision
from dipeo_server.api.types.enums import RevisionPolicy
from dipeo_server.domains.execution.diagram_store import StoredRevision
from dipeo_server.domains.execution.signals import GraphMutationRequested
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.errors import InvalidState


async def migration(
    context: OperationContext, view: ExecutionView, policy: RevisionPolicy
) -> GraphMutationRequested | None:
    """The change of the run's graph with which it may go on; None where it goes on as it is.

    Compared are hashes: that of the newest revision with that of the one the run began with, or of
    the graph it has. Raises InvalidState where STRICT forbids it, DiagramInvalid for a revision
    that cannot run.
    """
    head = await _newer(context, view)
    if head is None or policy is RevisionPolicy.FORCE:
        return None
    if policy is RevisionPolicy.STRICT:
        message = (
            f"The diagram is at revision {head.number} by now, and the run began with "
            f"{view.revision - view.mutations}."
        )
        hint = (
            "Pass the revision policy FORCE to go on with the graph that the run has, or MIGRATE "
            "to go on with the newest revision."
        )
        raise InvalidState(message, hint=hint)
    diagram = (await read_revision(context, head)).executable
    return GraphMutationRequested(diagram, view.revision, actor=context.principal)


async def _newer(context: OperationContext, view: ExecutionView) -> StoredRevision | None:
    """The newest revision, where it is another diagram than the run's."""
    if view.diagram_id is None:
        return None
    diagram = await context.diagrams.load(view.diagram_id)
    if diagram is None or diagram.head.content_hash == view.diagram.content_hash:
        return None
    number = view.revision - view.mutations
    began = await context.revisions.load((view.diagram_id, number))
    is_same = began is not None and began.content_hash == diagram.head.content_hash
    return None if is_same else diagram.head
