"""Barriers as they begin to wait: those that wait now, then every new one, none twice."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from dataclasses import replace

from dipeo_server.api.context import OperationContext, read_log
from dipeo_server.api.types.execution import Barrier, barrier
from dipeo_server.api.types.paging import PAGE_MAX
from dipeo_server.domains.execution.events import BarrierWaiting, Recorded
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID, Seq
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.domains.execution.state import BarrierRecord, ExecutionView
from dipeo_server.domains.execution.status import BarrierStatus
from dipeo_server.errors import StorageError


async def barriers_of_one(
    context: OperationContext, view: ExecutionView
) -> AsyncGenerator[Barrier, None]:
    """The barriers of one execution; completes behind its last event."""
    for found in waiting_in(view):
        yield found
    if view.status.is_terminal:
        return
    source = context.runner.events(view.id, after=view.last_seq)
    try:
        async for recorded in source:
            if isinstance(recorded.event, BarrierWaiting):
                async for found in _told(context, view.id, [recorded]):
                    yield found
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def barriers_of_all(context: OperationContext) -> AsyncGenerator[Barrier, None]:
    """The barriers of all executions; never completes."""
    with context.runner.watching((BarrierWaiting,)) as commits:
        shown: dict[ExecutionID, frozenset[BarrierID]] = {}
        async with aclosing(_with_waiting(context)) as views:
            async for view in views:
                shown[view.id] = frozenset(record.id for record in _waiting(view))
                for found in waiting_in(view):
                    yield found
        # Whatever was committed meanwhile is marked by now, once for each execution: so only its
        # first mark can overlap with what was shown.
        async for commit in commits:
            known = shown.pop(commit.execution_id, frozenset())
            after = Seq(commit.first - 1)
            log = await read_log(context.runner, commit.execution_id, commit.last, after)
            async for found in _told(context, commit.execution_id, log, known):
                yield found


def waiting_in(view: ExecutionView) -> list[Barrier]:
    """The barriers of an execution that wait."""
    return [barrier(record, view.id) for record in _waiting(view)]


def _waiting(view: ExecutionView) -> Iterator[BarrierRecord]:
    return (record for record in view.barriers if record.status is BarrierStatus.WAITING)


async def _with_waiting(context: OperationContext) -> AsyncGenerator[ExecutionView, None]:
    """Every execution that has waiting barriers, newest first."""
    query = ExecutionQuery(has_waiting_barriers=True, is_active=True, first=PAGE_MAX)
    after: ExecutionID | None = None
    while True:
        page = await context.runner.list_executions(replace(query, after=after))
        for row in page.items:
            # A log that cannot be read has no barrier that could be decided.
            with suppress(StorageError):
                view = await context.fresh_view(row.id)
                if view is not None:
                    yield view
            context.views.forget(row.id)
        if not page.has_next:
            return
        after = page.items[-1].id


async def _told(
    context: OperationContext,
    execution_id: ExecutionID,
    log: list[Recorded],
    known: frozenset[BarrierID] = frozenset(),
) -> AsyncIterator[Barrier]:
    """The barriers that begin to wait with these events, as they stand by now."""
    begun = [each.event.node_run.barrier for each in log if isinstance(each.event, BarrierWaiting)]
    asked = [each for each in begun if each not in known]
    view = await context.fresh_view(execution_id) if asked else None
    if view is None:
        return
    records = {record.id: record for record in view.barriers}
    for barrier_id in asked:
        yield barrier(records[barrier_id], execution_id)
    context.views.forget(execution_id)
