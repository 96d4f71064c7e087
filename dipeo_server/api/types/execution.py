"""Executions: one run, its barriers, and lists of runs."""

from __future__ import annotations

from datetime import datetime, timedelta

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.context import Info, OperationContext
from dipeo_server.api.ids import Kind, PartID
from dipeo_server.api.types.arguments import (
    After,
    AnyBarrierStatus,
    First,
)
from dipeo_server.api.types.described import computed, object_type
from dipeo_server.api.types.diagram import (
    Diagram,
    DiagramRevision,
    inline_revision,
)
from dipeo_server.api.types.enums import ExecutionAction
from dipeo_server.api.types.execution_facts import ExecutionFacts, whole_of
from dipeo_server.api.types.node_state import (
    duration,
)
from dipeo_server.api.types.outcome import (
    ExecutionError,
    TokenUsage,
    execution_error,
    stored_error,
    token_usage,
)
from dipeo_server.api.types.paging import (
    PAGE_DEFAULT,
    Node,
    PageInfo,
    cursor_of,
    execution_at,
    page_size,
)
from dipeo_server.api.types.recorded import barrier_action
from dipeo_server.api.types.selection import needs_views
from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import ExecutionPage, ExecutionQuery, ExecutionSummary
from dipeo_server.domains.execution.state import BarrierRecord, ExecutionView
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
)
from dipeo_server.errors import NotFound


@object_type
class ExecutionStateType(ExecutionFacts, Node):
    """One run.

    Subscribe with `after: lastSequence` to go on from this snapshot without gap or duplicate.
    """

    status: ExecutionStatus = strawberry.field(description="Where it stands.")
    is_active: bool = strawberry.field(description="Has it not ended?")
    started_at: datetime | None = strawberry.field(description="When it started.")
    ended_at: datetime | None = strawberry.field(description="When it ended.")
    duration: timedelta | None = strawberry.field(description="From start to end.")
    error: ExecutionError | None = strawberry.field(description="Why it failed.")
    token_usage: TokenUsage = strawberry.field(description="What it has cost so far.")
    last_sequence: Seq = strawberry.field(description="Its last event in this snapshot.")
    available_actions: list[ExecutionAction] = strawberry.field(
        description="What can be done to it now."
    )
    diagram: Diagram | None = strawberry.field(
        default=None, description="The stored diagram; null for an inline document."
    )
    parent_id: strawberry.Private[ExecutionID | None]

    @computed
    async def revision(self, info: Info) -> DiagramRevision | None:
        """The diagram as it runs."""
        whole = whole_of(await self.loaded_view(info), info.context)
        return inline_revision(whole.graph, self.execution_id, whole.created_at)

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
    async def parent(self, info: Info) -> ExecutionStateType | None:
        """The run that started this one for a sub-diagram."""
        if self.parent_id is None:
            return None
        return await find_execution(info.context, self.parent_id)

    @computed
    async def children(
        self, info: Info, first: First = PAGE_DEFAULT, after: After = None
    ) -> ExecutionConnection:
        """Runs that it started for its sub-diagrams, newest first."""
        query = ExecutionQuery(
            parent_id=self.execution_id,
            first=page_size(first, default=PAGE_DEFAULT, name="first"),
            after=execution_at(after, "after"),
        )
        return await execution_page(info, query)


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
    is_deep = needs_views(info.selected_fields)
    for row in page.items:
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
        page_info=PageInfo(
            has_next_page=page.has_next,
            has_previous_page=page.has_previous,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
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
        available_actions=available_actions(view.status),
        execution_id=view.id,
        parent_id=view.parent_id,
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
        available_actions=available_actions(row.status),
        execution_id=row.id,
        parent_id=row.parent_id,
        view=None,
    )


def available_actions(status: ExecutionStatus) -> list[ExecutionAction]:
    """What can be done to an execution in that status."""
    if status.is_terminal:
        return []
    if status is ExecutionStatus.PAUSED:
        return [ExecutionAction.RESUME, ExecutionAction.ABORT]
    return [ExecutionAction.ABORT]


def barrier(record: BarrierRecord, execution_id: ExecutionID) -> Barrier:
    """The GraphQL value of a barrier."""
    part = PartID(Kind.BARRIER, execution_id, record.id.node, record.id.occurrence)
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
