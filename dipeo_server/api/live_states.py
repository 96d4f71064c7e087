"""States of runs as they change, the newest wins: those of one run, and those of a list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import Final

from dipeo_server.api.context import OperationContext
from dipeo_server.api.types.execution import ExecutionStateType, execution_state
from dipeo_server.domains.execution.events import (
    BarrierResolved,
    BarrierWaiting,
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionStarted,
    ExecutionStatusChanged,
)
from dipeo_server.domains.execution.forks import ExecutionForked
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.errors import InvalidInput

INTERVAL_MIN: Final = timedelta(milliseconds=10)
INTERVAL_MAX: Final = timedelta(hours=1)

# What changes how a run looks in a list: whether it goes on, and whether it waits for a person.
_LISTED: Final = (
    BarrierResolved,
    BarrierWaiting,
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionForked,
    ExecutionStarted,
    ExecutionStatusChanged,
)


def check_interval(interval: timedelta) -> None:
    """Raises InvalidInput where states cannot be told that often, or that seldom."""
    if not INTERVAL_MIN <= interval <= INTERVAL_MAX:
        message = f"`minInterval` must be from PT0.01S to PT1H, not {interval.total_seconds():g} s."
        raise InvalidInput(message, field=("minInterval",))


async def states_of_one(
    context: OperationContext, view: ExecutionView, interval: timedelta
) -> AsyncGenerator[ExecutionStateType, None]:
    """The state as it is, and again when it has changed; completes behind the last one."""
    clock = asyncio.get_running_loop().time
    while True:
        told_at = clock()
        yield execution_state(view)
        if view.status.is_terminal:
            return
        await _moved_on(context, view)
        await asyncio.sleep(told_at + interval.total_seconds() - clock())
        fresh = await context.fresh_view(view.id)
        context.views.forget(view.id)
        view = fresh or view


async def states_of_many(
    context: OperationContext, query: ExecutionQuery
) -> AsyncGenerator[ExecutionStateType, None]:
    """Runs that come to be as the query wants them, change, or cease to be so."""
    shown: set[ExecutionID] = set()
    with context.runner.watching(_LISTED) as commits:
        async for commit in commits:
            view = await context.fresh_view(commit.execution_id)
            context.views.forget(commit.execution_id)
            if view is None:
                continue
            is_wanted = matches(view, query)
            if is_wanted or view.id in shown:
                yield execution_state(view)
            if is_wanted and view.status.is_active:
                shown.add(view.id)
            else:
                shown.discard(view.id)


def matches(view: ExecutionView, query: ExecutionQuery) -> bool:
    """Would the run be in the list?"""
    return (
        (query.statuses is None or view.status in query.statuses)
        and (query.is_active is None or view.status.is_active is query.is_active)
        and (query.parent_id is None or view.parent_id == query.parent_id)
        and (query.diagram_id is None or view.diagram_id == query.diagram_id)
        and _is_in_time(view, query)
    )


def _is_in_time(view: ExecutionView, query: ExecutionQuery) -> bool:
    after, before, at = query.started_after, query.started_before, view.created_at
    if after is None and before is None:
        return True
    return at is not None and (after is None or at > after) and (before is None or at < before)


async def _moved_on(context: OperationContext, view: ExecutionView) -> None:
    """Wait for an event behind the view. Raises Unavailable where none will come."""
    source = context.runner.events(view.id, after=view.last_seq)
    if isinstance(source, AsyncGenerator):
        async with aclosing(source) as events:
            await anext(events, None)
