"""Reading logs for what was: page by page, and beside the event loop where a log is long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from dipeo_server.api.context import PAGE_EVENTS, OperationContext
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.graph import (
    Branch,
    Branches,
    ExecutionGraph,
    GraphState,
    Walk,
    join,
)
from dipeo_server.domains.execution.history import HistoryEntry, MergedHistory
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.domains.execution.state import ExecutionState, ExecutionView, view
from dipeo_server.errors import InvalidInput, LimitExceeded, NotFound

INLINE_EVENTS: Final = 5_000
"""Longer logs are folded in a thread, so that nobody else waits for it."""

_PAGE_RUNS: Final = 100

_NARROW: Final = "Ask for a part of it, with `after` and `upTo`."


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


# --- the execution graph -------------------------------------------------------------------------


async def execution_graph(
    context: OperationContext, run: ExecutionView, *, after: Seq, upto: Seq
) -> ExecutionGraph:
    """The graph of a run, its origins and all their forks, of the events (after, upto] of each.

    Raises LimitExceeded where there are too many runs or states.
    """
    lasts: dict[ExecutionID, Seq] = {}
    branches = Branches(await _branches(context, run, lasts))
    left_at = branches.left_at()
    states: dict[ExecutionID, Sequence[GraphState]] = {}
    left = context.services.limits.graph_states
    for branch in branches:
        own = branch.execution_id
        walked = _Bounded(Walk(branch, left_at.get(own, frozenset())), left)
        begins, ends = max(branch.forked_at, after), min(lasts[own], upto)
        if begins < ends:
            await walk(context, own, walked.observe, after=Seq(begins), upto=Seq(ends))
        states[own] = walked.walk.states()
        left -= len(walked.walk)
    return join(run.id, branches, states)


class _Bounded:
    """A walk that ends with LimitExceeded where it comes to more states than are left."""

    def __init__(self, walk: Walk, left: int) -> None:
        self.walk = walk
        self._left = left

    def observe(self, recorded: Recorded) -> None:
        self.walk.observe(recorded)
        if len(self.walk) > self._left:
            raise LimitExceeded("The execution graph has too many states.", hint=_NARROW)


async def _branches(
    context: OperationContext, run: ExecutionView, lasts: dict[ExecutionID, Seq]
) -> list[Branch]:
    """The run's first origin and all forks below it; `lasts` gets the last event of each."""
    root = run
    while root.fork_of is not None:
        origin = await context.views.load(root.fork_of)
        if origin is None:
            break
        root = origin
    limit = context.services.limits.graph_runs
    found = [Branch(root.id, forked_at=_begin(root))]
    lasts[root.id] = root.last_seq
    for branch in found:  # It grows meanwhile.
        await _add_forks(context, branch.execution_id, found, lasts)
        if len(found) > limit:
            message = f"The execution graph has more than {limit} runs."
            raise LimitExceeded(message, hint="`children` lists the forks of a run, page by page.")
    lasts[run.id] = run.last_seq
    return found


def _begin(root: ExecutionView) -> Seq:
    """Where a run begins whose origin is not kept any more: behind what it has of it."""
    return Seq(0) if root.fork_of is None else root.forked_at or Seq(0)


async def _add_forks(
    context: OperationContext,
    origin: ExecutionID,
    found: list[Branch],
    lasts: dict[ExecutionID, Seq],
) -> None:
    query = ExecutionQuery(parent_id=origin, first=_PAGE_RUNS)
    while len(found) <= context.services.limits.graph_runs:
        page = await context.runner.list_executions(query)
        for row in page.items:
            if row.fork_of == origin and row.forked_at is not None:
                found.append(Branch(row.id, origin, row.forked_at))
                lasts[row.id] = row.last_seq
        if not page.has_next:
            return
        query = replace(query, after=page.items[-1].id)
