"""Rule: which ready nodes start now, and what keeps them from it."""

from __future__ import annotations

from collections.abc import Iterable

from dipeo_server.domains.execution.events import (
    Event,
    ExecutionStatusChanged,
    NodeMaxIterationsReached,
    NodeOutputSet,
    NodeStarted,
    ObservedError,
)
from dipeo_server.domains.execution.machine.initial import recalled
from dipeo_server.domains.execution.machine.limits import exceeded
from dipeo_server.domains.execution.machine.stepping import breaks_before
from dipeo_server.domains.execution.machine.visits import next_run
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import ExecutionStatus

RUNNING_MAX = 64
"""NodeRuns of one execution that run at once; further ready nodes wait for a place."""


def start(state: ExecutionState) -> tuple[Event, ...]:
    """Start what is ready; at a breakpoint or a limit the run pauses instead."""
    if state.is_paused or state.ending is not None or not state.ready:
        return ()
    if state.stepping is None:
        found = breaks_before(state) if state.breakpoints else ()
        return found or _start(state, state.ready)
    index = state.diagram.index_of[state.stepping.node]
    return _start(state, (index,)) if index in state.ready else ()


def _start(state: ExecutionState, ready: Iterable[int]) -> tuple[Event, ...]:
    places = RUNNING_MAX - len(state.running)
    limit_hit = exceeded(state)
    steps = 0 if limit_hit else state.max_steps - state.steps
    found: list[Event] = []
    for index in ready:
        if places <= 0:
            break  # However many are ready, an event costs no more than the places there are.
        run, limit = next_run(state, index)
        known = recalled(state, index, run) if state.initial else None
        if limit is not None:
            found.append(NodeMaxIterationsReached(run, limit))
        elif isinstance(known, NodeOutputSet):
            found.append(known)
        elif steps > 0:
            places, steps = places - 1, steps - 1
            found.extend(() if known is None else (ObservedError(known, run),))
            found.append(NodeStarted(run))
    if found or steps > 0 or limit_hit is None:
        return tuple(found)
    paused = ExecutionStatus.PAUSED
    return (ExecutionStatusChanged(state.status, paused, reason=limit_hit.value, cause=limit_hit),)
