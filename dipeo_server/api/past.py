"""Reading logs for what was: page by page, and beside the event loop where a log is long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from dipeo_server.api.context import PAGE_EVENTS, OperationContext
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.history import HistoryEntry, MergedHistory
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.state import ExecutionState, ExecutionView, view
from dipeo_server.errors import InvalidInput, NotFound

INLINE_EVENTS: Final = 5_000
"""Longer logs are folded in a thread, so that nobody else waits for it."""


def check_sequence(execution_id: ExecutionID, sequence: Seq, last: Seq) -> None:
    """Raises InvalidInput for a sequence that the log does not have."""
    if not 1 <= sequence <= last:
        events = "event 1" if last == 1 else f"events 1 to {last}"
        raise InvalidInput(f"{execution_id} has no event {sequence}; its log has {events}.")


async def walk(
    context: OperationContext,
    execution_id: ExecutionID,
    observe: Callable[[Recorded], None],
    *,
    upto: Seq,
    after: Seq = Seq(0),
) -> None:
    """Tell `observe` the events behind `after` up to `upto`, in order.

    Raises LimitExceeded where the operation has read more than it may.
    """
    context.spend_events(max(0, upto - after))
    is_long = upto - after > INLINE_EVENTS

    def observe_all(page: Sequence[Recorded]) -> None:
        for recorded in page:
            observe(recorded)

    while after < upto:
        limit = min(PAGE_EVENTS, upto - after)
        page = await context.runner.read_events(execution_id, after=after, limit=limit)
        if not page:
            return
        if is_long:
            await asyncio.to_thread(observe_all, page)
        else:
            observe_all(page)
        after = page[-1].seq


async def past_view(
    context: OperationContext, execution_id: ExecutionID, sequence: Seq
) -> tuple[ExecutionView, datetime | None]:
    """The run as it stood behind that event, and the time of it. Raises LimitExceeded."""
    state = await folded(context, execution_id, sequence)
    # The first events of a fork are those of its origin, and told of it all the same.
    return replace(view(state), id=execution_id), state.last_at


async def folded(
    context: OperationContext, execution_id: ExecutionID, sequence: Seq
) -> ExecutionState:
    """The state behind that event. Raises LimitExceeded."""
    context.spend_events(sequence)
    state = await context.runner.past(execution_id, sequence)
    if state is None or state.last_seq != sequence:
        raise NotFound(f"The log of {execution_id} has no event {sequence} any more.")
    return state


async def merged(
    context: OperationContext, execution_id: ExecutionID, upto: Seq
) -> tuple[HistoryEntry, ...]:
    """The merged history of the log up to that event. Raises LimitExceeded."""
    history = MergedHistory()
    await walk(context, execution_id, history.observe, upto=upto)
    return history.entries()
