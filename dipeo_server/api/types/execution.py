"""Executions and the diagrams they run, which lead to one another; barriers, and lists of runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.context import Info, OperationContext
from dipeo_server.api.ids import Kind, PartID
from dipeo_server.api.types.arguments import After, AnyBarrierStatus, First, RevisionNumber
from dipeo_server.api.types.described import computed, object_type
from dipeo_server.api.types.diagram import Graph
from dipeo_server.api.types.execution_facts import whole_of
from dipeo_server.api.types.inputs import Filter, execution_query
from dipeo_server.api.types.looking_back import LookingBack, Place, as_of
from dipeo_server.api.types.node_state import duration
from dipeo_server.api.types.outcome import execution_error, stored_error, token_usage
from dipeo_server.api.types.paging import (
    PAGE_DEFAULT,
    Node,
    PageInfo,
    cursor_of,
    execution_at,
    page_info,
    page_size,
    revision_at,
    revision_cursor,
)
from dipeo_server.api.types.revision import RevisionContent, RunningOrigin, StoredOrigin
from dipeo_server.api.types.selection import asked_of_runs
from dipeo_server.api.types.steered import barrier_action
from dipeo_server.domains.execution.diagram_store import StoredDiagram, StoredRevision
from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.ids import DiagramID, ExecutionID, Seq
from dipeo_server.domains.execution.ports import ExecutionPage, ExecutionQuery, ExecutionSummary
from dipeo_server.domains.execution.state import BarrierRecord, ExecutionView
from dipeo_server.domains.execution.status import BarrierStatus
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
class Barrier(Node):
    """Where a person is asked to approve or to answer."""

    node_key: str = strawberry.field(description="Key of the node.")
    occurrence: int = strawberry.field(description="Which visit of the node, from 1.")
    status: BarrierStatus = strawberry.field(description="How it stands, or ended.")
    prompt: JSON | None = strawberry.field(description="What is asked.")
    answer_schema: JSON | None = strawberry.field(description="JSON schema of an answer.")
    waiting_since: datetime = strawberry.field(description="Since when somebody is asked.")
    expires_at: datetime | None = strawberry.field(description="When the default is taken.")
    default_action: BarrierAction | None = strawberry.field(description="What is done then.")
    decided_at: datetime | None = strawberry.field(description="When it was decided.")
    decided_by: str | None = strawberry.field(description="Who; null for a default action.")
    reason: str | None = strawberry.field(description="Why, or a comment.")
    execution_id: strawberry.Private[ExecutionID]

    @computed
    async def execution(self, info: Info) -> ExecutionStateType:
        """The run that waits for it."""
        found = await find_execution(info.context, self.execution_id)
        if found is None:
            raise NotFound(f"There is no execution {self.execution_id!r}.")
        return found


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
    return ExecutionStateType(
        id=strawberry.ID(view.id),
        status=view.status,
        is_active=view.status.is_active,
        started_at=view.created_at,
        ended_at=view.ended_at,
        duration=duration(view.created_at, view.ended_at),
        error=execution_error(view.error) if view.error else None,
        token_usage=token_usage(view.token_usage),
        last_sequence=view.last_seq,
        execution_id=view.id,
        forked_at=view.forked_at,
        parent_id=view.parent_id,
        diagram_id=view.diagram_id,
        view=view,
    )


def listed_execution(row: ExecutionSummary) -> ExecutionStateType:
    """The GraphQL value of a run's row."""
    return ExecutionStateType(
        id=strawberry.ID(row.id),
        status=row.status,
        is_active=row.status.is_active,
        started_at=row.started_at,
        ended_at=row.ended_at,
        duration=duration(row.started_at, row.ended_at),
        error=stored_error(row.error) if row.error else None,
        token_usage=token_usage(row.token_usage),
        last_sequence=row.last_seq,
        execution_id=row.id,
        forked_at=row.forked_at,
        parent_id=row.parent_id,
        diagram_id=DiagramID(row.diagram_id) if row.diagram_id else None,
        view=None,
    )


def barrier(record: BarrierRecord, execution_id: ExecutionID) -> Barrier:
    """The GraphQL value of a barrier."""
    at = record.id
    part = PartID(Kind.BARRIER, execution_id, at.node, at.occurrence, at.attempt)
    return Barrier(
        id=strawberry.ID(part.encode()),
        node_key=record.id.node,
        occurrence=record.id.occurrence,
        status=record.status,
        prompt=None if record.prompt is None else JSON(record.prompt),
        answer_schema=None if record.answer_schema is None else JSON(dict(record.answer_schema)),
        waiting_since=record.waiting_since,
        expires_at=record.expires_at,
        default_action=barrier_action(record.default_action),
        decided_at=record.decided_at,
        decided_by=record.decided_by,
        reason=record.reason,
        execution_id=execution_id,
    )


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
    if view.diagram_id is not None:
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
