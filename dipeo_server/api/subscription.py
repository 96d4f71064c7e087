"""Subscriptions: the log of a run, replayed and then live; a diagram as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from typing import Annotated, Final, TypeAlias, cast

import strawberry

from dipeo_server.api.context import Info, OperationContext
from dipeo_server.api.live_barriers import barriers_of_all, barriers_of_one
from dipeo_server.api.live_states import check_interval, states_of_many, states_of_one
from dipeo_server.api.types.arguments import AfterLine, OneNodeKey
from dipeo_server.api.types.control_inputs import check_node
from dipeo_server.api.types.described import object_type, subscription
from dipeo_server.api.types.execution import (
    Barrier,
    Diagram,
    ExecutionStateType,
    execution_state,
    stored_diagram,
)
from dipeo_server.api.types.inputs import Filter, execution_query
from dipeo_server.api.types.logs import LogLine, log_line, place_of
from dipeo_server.api.types.pages import Teller
from dipeo_server.api.types.recorded import node_key_of
from dipeo_server.api.types.stream import ExecutionStreamItem, ResyncRequired
from dipeo_server.domains.execution.diagram_store import no_diagram
from dipeo_server.domains.execution.ids import DiagramID, ExecutionID, Seq
from dipeo_server.domains.execution.ports import LogRecord
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.errors import NotFound

# A replay never really waits, so without this it would hold up everybody else.
EVENTS_PER_TURN: Final = 64
SNAPSHOTS_EVERY: Final = timedelta(milliseconds=100)

Followed: TypeAlias = Annotated[strawberry.ID, strawberry.argument(description="The run.")]
AfterSeen: TypeAlias = Annotated[
    Seq | None,
    strawberry.argument(
        description="The last event already seen; null = begin with the first event."
    ),
]
NodeKeys: TypeAlias = Annotated[
    list[str] | None,
    strawberry.argument(
        description=(
            "Only events of these nodes, and the last one of the run; holes in `sequence` are "
            "normal then."
        )
    ),
]
BarriersOf: TypeAlias = Annotated[
    strawberry.ID | None,
    strawberry.argument(description="Only barriers of this run; null = of all runs."),
]
MinInterval: TypeAlias = Annotated[
    timedelta | None,
    strawberry.argument(description="Time between two snapshots at least, PT0.01S to PT1H."),
]
WatchedDiagram: TypeAlias = Annotated[
    strawberry.ID, strawberry.argument(description="The diagram to follow.")
]


@object_type
class Subscription:
    """Everything that can be followed."""

    @subscription
    async def execution_events(
        self,
        info: Info,
        execution_id: Followed,
        after: AfterSeen = strawberry.UNSET,
        node_keys: NodeKeys = None,
    ) -> AsyncIterator[ExecutionStreamItem]:
        """The events of a run behind `after`, then live; completes behind its last event."""
        context = info.context
        view = await _found(context, execution_id)
        behind = Seq(after) if isinstance(after, int) else Seq(0)
        behind = max(behind, context.connection.resume_after)
        if behind > view.last_seq:
            return _resync(view, behind)
        if behind == view.last_seq and view.status.is_terminal:
            return _nothing()
        wanted = None if node_keys is None else frozenset(node_keys)
        return _events(context, view.id, behind, wanted)

    @subscription
    async def execution_updated(
        self,
        info: Info,
        execution_id: Followed,
        min_interval: MinInterval = SNAPSHOTS_EVERY,
    ) -> AsyncIterator[ExecutionStateType]:
        """A run as it is, and again when it has changed; completes behind its last state.

        The newest state wins: those between may be left out. Every event is in `executionEvents`.
        """
        interval = SNAPSHOTS_EVERY if min_interval is None else min_interval
        check_interval(interval)
        view = await _found(info.context, execution_id)
        return states_of_one(info.context, view, interval)

    @subscription
    async def executions_changed(
        self, info: Info, filter: Filter = None
    ) -> AsyncIterator[ExecutionStateType]:
        """Every run that starts, changes its status, or begins or ceases to wait for a person.

        From now on; never completes. A run that was told and is not as the filter wants it any more
        is told once again, so that a list can drop it. The newest state wins.
        """
        return states_of_many(info.context, execution_query(filter))

    @subscription
    async def execution_logs(
        self,
        info: Info,
        execution_id: Followed,
        node_key: OneNodeKey = None,
        after: AfterLine = None,
    ) -> AsyncIterator[LogLine]:
        """Lines as the processes print them; completes when the run has ended and all is told.

        Tokens of language models come as they arrive, in the stream `tokens`.
        """
        context, place = info.context, place_of(after)
        view = await _found(context, execution_id)
        if node_key is not None:
            check_node(node_key, view.diagram, ("nodeKey",))
        return _lines(context.runner.follow_logs(view.id, after=place, node=node_key))

    @subscription
    async def barrier_waiting(
        self, info: Info, execution_id: BarriersOf = None
    ) -> AsyncIterator[Barrier]:
        """Every barrier that begins to wait, after those that wait now; none is told twice.

        One that was decided in the meantime is told as it stands. For one run it completes with
        that run.
        """
        context = info.context
        if execution_id is None:
            return barriers_of_all(context)
        view = await _found(context, execution_id)
        return barriers_of_one(context, view)

    @subscription
    async def diagram_changed(
        self, info: Info, diagram_id: WatchedDiagram
    ) -> AsyncIterator[Diagram]:
        """A stored diagram as it is, and again when it has changed; completes once it is archived.

        The newest state wins: those between may be left out.
        """
        found = await info.context.diagrams.load(DiagramID(diagram_id))
        if found is None:
            raise no_diagram(diagram_id)
        return _diagrams(info.context, found.id)


async def _found(context: OperationContext, execution_id: str) -> ExecutionView:
    """The run as it is now; what comes later loads it anew. Raises NotFound."""
    view = await context.fresh_view(ExecutionID(execution_id))
    if view is None:
        raise NotFound(f"There is no execution {execution_id!r}.")
    context.views.forget(view.id)
    return view


async def _diagrams(context: OperationContext, diagram_id: DiagramID) -> AsyncIterator[Diagram]:
    source = context.library.watch(diagram_id)
    try:
        async for found in source:
            context.diagrams.forget(diagram_id)
            yield stored_diagram(found, context)
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def _events(
    context: OperationContext, execution_id: ExecutionID, after: Seq, nodes: frozenset[str] | None
) -> AsyncIterator[ExecutionStreamItem]:
    teller = Teller(context.runner, execution_id, after)
    source = context.runner.events(execution_id, after=after)
    count = 0
    try:
        with context.connection.places.following(execution_id, after) as place:
            async for recorded in source:
                count += 1
                if count % EVENTS_PER_TURN == 0:
                    await asyncio.sleep(0)
                if nodes is None or recorded.is_terminal or node_key_of(recorded) in nodes:
                    told = await teller.tell(recorded)
                    context.connection.position = recorded.seq
                    yield cast("ExecutionStreamItem", told)
                else:
                    teller.pass_over(recorded)
                place.sequence = recorded.seq
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def _lines(source: AsyncIterator[LogRecord]) -> AsyncIterator[LogLine]:
    count = 0
    try:
        async for record in source:
            count += 1
            if count % EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)
            yield log_line(record)
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def _resync(view: ExecutionView, after: Seq) -> AsyncIterator[ExecutionStreamItem]:
    reason = f"`after` is {after}, and the last event of this run is {view.last_seq}."
    yield ResyncRequired(reason=reason, snapshot=execution_state(view))


async def _nothing() -> AsyncIterator[ExecutionStreamItem]:
    items: tuple[ExecutionStreamItem, ...] = ()
    for item in items:
        yield item
