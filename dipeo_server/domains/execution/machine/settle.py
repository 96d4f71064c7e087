"""State-triggered rules: start, skip, pause, finish, fail. Called until they yield nothing."""

from __future__ import annotations

from collections.abc import Callable

from dipeo_server.domains.execution.events import (
    TERMINAL,
    Ending,
    ErrorStrategy,
    Event,
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionStatusChanged,
    Failure,
    NodeSkipped,
    ObservedError,
)
from dipeo_server.domains.execution.machine.checkpoints import hold
from dipeo_server.domains.execution.machine.control import cancelled_waits
from dipeo_server.domains.execution.machine.early import applied, closing
from dipeo_server.domains.execution.machine.starting import start
from dipeo_server.domains.execution.machine.stepping import breaks_after, step_over
from dipeo_server.domains.execution.state import ExecutionState, Turn
from dipeo_server.domains.execution.status import ExecutionStatus


def settle(state: ExecutionState) -> tuple[Event, ...]:
    """The next events that follow from the state alone; none once it has come to rest."""
    if state.status.is_terminal:
        return ()
    for rule in _RULES:
        events = rule(state)
        if events and isinstance(events[-1], TERMINAL):
            return (*events[:-1], *closing(state, events[-1]))
        if events:
            return (*events, *breaks_after(state, events)) if state.breakpoints else events
    return ()


def _notices(state: ExecutionState) -> tuple[Event, ...]:
    if not state.notices:
        return ()
    return tuple(ObservedError(failure) for failure in state.notices)


def _fail_fast(state: ExecutionState) -> tuple[Event, ...]:
    """The first unhandled failure ends the run: what runs beside it is stopped and awaited."""
    is_due = state.failures and state.error_strategy is ErrorStrategy.FAIL_FAST
    if not is_due or state.ending is not None or state.is_paused or state.stepping:
        return ()  # A pause holds a failure, too, step by step: it may still be mended by hand.
    if not state.running:
        return (*cancelled_waits(state, "fail_fast"), _failed(state))
    ending = Ending("fail_fast")
    reason = state.failures[0].message
    return (ExecutionStatusChanged(state.status, state.status, reason=reason, ending=ending),)


def _end_when_stopped(state: ExecutionState) -> tuple[Event, ...]:
    if state.ending is None or state.running:
        return ()
    waits = cancelled_waits(state, state.ending.cause)
    is_bad = state.failures and state.error_strategy is not ErrorStrategy.COLLECT_PARTIAL
    if state.ending.cause == "fail_fast" or (state.ending.cause == "end" and is_bad):
        return (*waits, _failed(state))
    if state.ending.cause == "end":
        return (*waits, ExecutionCompleted(state.token_usage, _observed(state)))
    ended = ExecutionAborted(state.ending_reason, state.ending_actor, state.token_usage)
    return (*waits, ended)


def _skip(state: ExecutionState) -> tuple[Event, ...]:
    if not state.skips or state.ending is not None:
        return ()
    nodes = state.diagram.nodes
    return tuple(NodeSkipped(nodes[index].key, reason) for index, reason in state.skips.items())


def _finish(state: ExecutionState) -> tuple[Event, ...]:
    """The outermost block is settled."""
    if not state.is_settled or state.ending is not None:
        return ()
    if state.failures and state.is_paused:
        return ()
    if state.failures and state.error_strategy is not ErrorStrategy.COLLECT_PARTIAL:
        return (_failed(state),)
    return (ExecutionCompleted(state.token_usage, _observed(state)),)


def _observed(state: ExecutionState) -> int:
    return state.observed_errors + len(state.failures)


def _tell_status(state: ExecutionState) -> tuple[Event, ...]:
    if state.is_paused or state.ending is not None:
        return ()
    is_busy = state.running or state.ready
    status = ExecutionStatus.RUNNING if is_busy else ExecutionStatus.WAITING
    if status is state.status or not (is_busy or state.waiting):
        return ()
    return (ExecutionStatusChanged(state.status, status),)


def _stalled(state: ExecutionState) -> tuple[Event, ...]:
    """Nothing can ever happen again: never reached, and told as what it is if it is."""
    is_alive = state.running or state.waiting or state.ready or state.is_paused
    if is_alive or state.ending is not None:
        return ()
    stuck = [
        node.key
        for node in state.diagram.nodes
        if node.block is not None and state.turns[node.index].phase is not Turn.SETTLED
    ]
    message = f"Nothing can run any more, but these have not ended: {', '.join(stuck[:10])}."
    failure = Failure("STALLED", message, stuck[0] if stuck else None)
    return (ExecutionFailed(failure, (failure, *state.failures), state.token_usage),)


def _failed(state: ExecutionState) -> ExecutionFailed:
    return ExecutionFailed(state.failures[0], tuple(state.failures), state.token_usage)


_RULES: tuple[Callable[[ExecutionState], tuple[Event, ...]], ...] = (
    _notices,
    hold,
    step_over,
    _fail_fast,
    _end_when_stopped,
    applied,
    _skip,
    _finish,
    _tell_status,
    start,
    _stalled,
)
