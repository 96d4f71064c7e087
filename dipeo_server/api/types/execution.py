"""Executions and the diagrams they run, which lead to one another; barriers, and lists of runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import strawberry

from dipeo_server.api.context import Info, OperationContext
from dipeo_server.api.ids import Kind, PartID
from dipeo_server.api.types.arguments import After, AnyBarrierStatus, First, RevisionNumber
from dipeo_server.api.types.barrier_facts import BarrierFacts, barrier_facts
from dipeo_server.api.types.checkpoints import CheckpointFacts, checkpoint_facts, page_of
from dipeo_server.api.types.described import computed, object_type
from dipeo_server.api.types.diagram import Graph
from dipeo_server.api.types.execution_facts import whole_of
from dipeo_server.api.types.inputs import Filter, execution_query
from dipeo_server.api.types.looking_back import LookingBack, Place, as_of
from dipeo_server.api.types.paging import (
    PAGE_DEFAULT,
    Node,
    PageInfo,
    checkpoint_at,
    checkpoint_cursor,
    cursor_of,
    execution_at,
    page_info,
    page_size,
    revision_at,
    revision_cursor,
)
from dipeo_server.api.types.revision import RevisionContent, RunningOrigin, StoredOrigin
from dipeo_server.api.types.run_facts import facts_of_row, facts_of_view
from dipeo_server.api.types.selection import asked_of_runs
from dipeo_server.domains.execution import checkpoint
from dipeo_server.domains.execution.diagram_store import StoredDiagram, StoredRevision
from dipeo_server.domains.execution.ids import DiagramID, ExecutionID, Seq
from dipeo_server.domains.execution.ports import ExecutionPage, ExecutionQuery, ExecutionSummary
from dipeo_server.domains.execution.state import BarrierRecord, ExecutionView
from dipeo_server.errors import NotFound


@object_type
class ExecutionStateType(LookingBack, Node):
    """One run.

    Subscribe with `after: lastSequence` to go on from this snapshot without gap or duplicate.
    """

    forked_at: Seq | None = strawberry.field(
        description="Where it left the run that it goes on from; null if it is no fork."
    )
    parent_id: strawberry.Private[ExecutionID | None]
    diagram_id: strawberry.Private[DiagramID | None]

    @computed
    async def diagram(self, info: Info) -> Diagram | None:
        """The stored diagram; null for an inline document."""
        return await find_diagram(info.context, self.diagram_id)

    @computed
    async def revision(self, info: Info) -> DiagramRevision | None:
        """The diagram as it runs."""
        return await run_revision(await self.loaded_view(info), info.context)

    @computed
    async def barriers(self, info: Info, status: AnyBarrierStatus = None) -> list[Barrier]:
        """Where people were asked."""
        view = await self.loaded_view(info)
        return [
            barrier(record, view.id)
            for record in view.barriers
            if status is None or record.status is status
        ]

    @computed
    async def state_at(self, info: Info, sequence: Place) -> ExecutionStateType | None:
        """The run as it stood behind one event of its log, without anything that came after it."""
        return await as_of(self, sequence, info.context)

    @computed
    async def parent(self, info: Info) -> ExecutionStateType | None:
        """The run that started this one for a sub-diagram, or that it is a fork of."""
        if self.parent_id is None:
            return None
        return await find_execution(info.context, self.parent_id)

    @computed
    async def checkpoints(
        self, info: Info, first: First = PAGE_DEFAULT, after: After = None
    ) -> CheckpointConnection:
        """Its checkpoints, newest first."""
        size = page_size(first, default=PAGE_DEFAULT, name="first")
        kept = await info.context.runner.checkpoints.listed(self.execution_id)
        page = page_of(kept, size, checkpoint_at(after, "after"))
        nodes = [_checkpoint(each) for each in page.items]
        edges = [
            CheckpointConnectionEdge(node=node, cursor=checkpoint_cursor(node.sequence))
            for node in nodes
        ]
        return CheckpointConnection(
            edges=edges,
            nodes=nodes,
            page_info=page_info(page, [edge.cursor for edge in edges]),
            total_count=page.total,
        )

    @computed
    async def children(
        self, info: Info, first: First = PAGE_DEFAULT, after: After = None
    ) -> ExecutionConnection:
        """Runs that it started for its sub-diagrams, and its forks, newest first."""
        query = ExecutionQuery(
            parent_id=self.execution_id,
            first=page_size(first, default=PAGE_DEFAULT, name="first"),
            after=execution_at(after, "after"),
        )
        return await execution_page(info, query)


@object_type
class DiagramRevision(RevisionContent, Node):
    """One state of a diagram; immutable."""

    diagram_id: strawberry.Private[DiagramID | None]

    @computed
    async def diagram(self, info: Info) -> Diagram | None:
        """The stored diagram that it is a state of; null for an inline document."""
        return await find_diagram(info.context, self.diagram_id)


@object_type
class DiagramRevisionConnectionEdge:
    """A revision in a list."""

    node: DiagramRevision = strawberry.field(description="The revision.")
    cursor: str = strawberry.field(description="Its place in the list.")


@object_type
class DiagramRevisionConnection:
    """A page of revisions, newest first."""

    edges: list[DiagramRevisionConnectionEdge] = strawberry.field(
        description="The revisions with places."
    )
    nodes: list[DiagramRevision] = strawberry.field(description="The revisions.")
    page_info: PageInfo = strawberry.field(description="Where the page lies in the list.")
    total_count: int = strawberry.field(description="How many there are on all pages.")


@object_type
class Diagram(Node):
    """A stored diagram, with every state it had. Runs of an inline document have none."""

    name: str = strawberry.field(description="Its name; others may have it too.")
    description: str | None = strawberry.field(description="What it is for.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")
    archived_at: datetime | None = strawberry.field(
        description="When it was put away; it can be read since, and neither changed nor run."
    )
    head: DiagramRevision = strawberry.field(description="Its newest revision.")
    diagram_id: strawberry.Private[DiagramID]

    @computed
    async def revision(self, info: Info, number: RevisionNumber) -> DiagramRevision | None:
        """One state of it; null if it never had that number."""
        return await find_revision(info.context, self.diagram_id, number)

    @computed
    async def revisions(
        self, info: Info, first: First = PAGE_DEFAULT, after: After = None
    ) -> DiagramRevisionConnection:
        """Every state it had, newest first."""
        page = await info.context.library.revisions(
            self.diagram_id,
            first=page_size(first, default=PAGE_DEFAULT, name="first"),
            before=revision_at(after, "after"),
        )
        edges = [
            DiagramRevisionConnectionEdge(
                node=stored_revision(found, info.context), cursor=revision_cursor(found.number)
            )
            for found in page.items
        ]
        return DiagramRevisionConnection(
            edges=edges,
            nodes=[edge.node for edge in edges],
            page_info=page_info(page, [edge.cursor for edge in edges]),
            total_count=page.total,
        )

    @computed
    async def executions(
        self,
        info: Info,
        first: First = PAGE_DEFAULT,
        after: After = None,
        filter: Filter = None,
    ) -> ExecutionConnection:
        """Its runs, of whatever revision, newest first."""
        query = replace(
            execution_query(filter),
            first=page_size(first, default=PAGE_DEFAULT, name="first"),
            after=execution_at(after, "after"),
        )
        if query.diagram_id not in (None, self.diagram_id):
            query = replace(query, statuses=frozenset())
        return await execution_page(info, replace(query, diagram_id=self.diagram_id))


@object_type
class OfRun:
    """A part of a run; the base of what leads back to it."""

    execution_id: strawberry.Private[ExecutionID]

    @computed
    async def execution(self, info: Info) -> ExecutionStateType:
        """The run that it belongs to."""
        found = await find_execution(info.context, self.execution_id)
        if found is None:
            raise NotFound(f"There is no execution {self.execution_id!r}.")
        return found


@object_type
class Barrier(OfRun, BarrierFacts):
    """Where a person is asked to approve or to answer."""


@object_type
class Checkpoint(OfRun, CheckpointFacts):
    """The state of a run behind an event, kept so that its log need not be folded from the start.

    It is only a cache: without it nothing is lost but time.
    """


@object_type
class CheckpointConnectionEdge:
    """A checkpoint in a list."""

    node: Checkpoint = strawberry.field(description="The checkpoint.")
    cursor: str = strawberry.field(description="Its place in the list.")


@object_type
class CheckpointConnection:
    """A page of a run's checkpoints, newest first."""

    edges: list[CheckpointConnectionEdge] = strawberry.field(description="Them with places.")
    nodes: list[Checkpoint] = strawberry.field(description="The checkpoints.")
    page_info: PageInfo = strawberry.field(description="Where the page lies in the list.")
    total_count: int = strawberry.field(description="How many there are on all pages.")


@object_type
class ExecutionConnectionEdge:
    """A run in a list."""

    node: ExecutionStateType = strawberry.field(description="The run.")
    cursor: str = strawberry.field(description="Its place in the list.")


@object_type
class ExecutionConnection:
    """A page of runs, newest first."""

    edges: list[ExecutionConnectionEdge] = strawberry.field(description="The runs with places.")
    nodes: list[ExecutionStateType] = strawberry.field(description="The runs.")
    page_info: PageInfo = strawberry.field(description="Where the page lies in the list.")
    total_count: int = strawberry.field(description="How many there are on all pages.")


async def find_execution(
    context: OperationContext, execution_id: ExecutionID
) -> ExecutionStateType | None:
    """The run with that id, or None."""
    view = await context.views.load(execution_id)
    return None if view is None else execution_state(view)


async def execution_page(info: Info, query: ExecutionQuery) -> ExecutionConnection:
    """A page of the list; runs are loaded only where more than their rows is asked for.

    A loaded run is shown from its view alone, so that `lastSequence` belongs to the rest.
    """
    page = await info.context.runner.list_executions(query)
    nodes: list[ExecutionStateType] = []
    asked = asked_of_runs(info.selected_fields)
    for row in page.items:
        is_deep = asked.needs_view or (asked.needs_view_of_active and row.status.is_active)
        found = await find_execution(info.context, row.id) if is_deep else None
        nodes.append(found or listed_execution(row))
    return _connection(page, nodes)


def _connection(page: ExecutionPage, nodes: list[ExecutionStateType]) -> ExecutionConnection:
    edges = [
        ExecutionConnectionEdge(node=node, cursor=cursor_of(node.execution_id)) for node in nodes
    ]
    return ExecutionConnection(
        edges=edges,
        nodes=nodes,
        page_info=page_info(page, [edge.cursor for edge in edges]),
        total_count=page.total,
    )


def execution_state(view: ExecutionView) -> ExecutionStateType:
    """The GraphQL value of a loaded run."""
    return ExecutionStateType(**facts_of_view(view))


def listed_execution(row: ExecutionSummary) -> ExecutionStateType:
    """The GraphQL value of a run's row."""
    return ExecutionStateType(**facts_of_row(row))


def barrier(record: BarrierRecord, execution_id: ExecutionID) -> Barrier:
    """The GraphQL value of a barrier."""
    return Barrier(execution_id=execution_id, **barrier_facts(record, execution_id))


async def find_checkpoint(context: OperationContext, id_: str) -> Checkpoint | None:
    """The checkpoint with that id, or None."""
    place = checkpoint.place_of(id_)
    found = None if place is None else await context.runner.checkpoints.find(*place)
    return None if found is None else _checkpoint(found)


def _checkpoint(found: checkpoint.Checkpoint) -> Checkpoint:
    return Checkpoint(execution_id=found.execution_id, **checkpoint_facts(found))


# --- diagrams -----------------------------------------------------------------------------------


async def find_diagram(context: OperationContext, diagram_id: DiagramID | None) -> Diagram | None:
    """The stored diagram with that id, or None."""
    found = None if diagram_id is None else await context.diagrams.load(diagram_id)
    return None if found is None else stored_diagram(found, context)


async def find_revision(
    context: OperationContext, diagram_id: DiagramID, number: int
) -> DiagramRevision | None:
    """One state of a stored diagram, or None."""
    found = await context.revisions.load((diagram_id, number))
    return None if found is None else stored_revision(found, context)


def stored_diagram(found: StoredDiagram, context: OperationContext) -> Diagram:
    """The GraphQL value of a stored diagram."""
    return Diagram(
        id=strawberry.ID(found.id),
        name=found.name,
        description=found.description,
        created_at=found.created_at,
        updated_at=found.updated_at,
        archived_at=found.archived_at,
        head=stored_revision(found.head, context),
        diagram_id=found.id,
    )


def stored_revision(
    found: StoredRevision, context: OperationContext, running: Graph | None = None
) -> DiagramRevision:
    """The GraphQL value of a stored revision; `running` is its diagram where a run is shown."""
    part = PartID(Kind.REVISION, found.diagram_id, occurrence=found.number)
    return DiagramRevision(
        id=strawberry.ID(part.encode()),
        number=found.number,
        content_hash=found.content_hash,
        created_at=found.created_at,
        diagram_id=found.diagram_id,
        origin=StoredOrigin(context, found, running),
    )


async def run_revision(view: ExecutionView, context: OperationContext) -> DiagramRevision:
    """What a run runs: the stored revision, or one that an inline run has for itself."""
    whole = whole_of(view, context)
    if view.diagram_id is not None and not view.mutations:
        found = await context.revisions.load((view.diagram_id, view.revision))
        if found is not None:
            return stored_revision(found, context, whole.graph)
    return DiagramRevision(
        id=strawberry.ID(PartID(Kind.REVISION, view.id).encode()),
        number=view.revision,
        content_hash=view.diagram.content_hash,
        created_at=whole.created_at,
        diagram_id=None,
        origin=RunningOrigin(context, whole.graph),
    )
