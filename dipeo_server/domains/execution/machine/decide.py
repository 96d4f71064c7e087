"""(state, signal, now) → events: which rule a signal is for.

Stale is silent, illegal is Rejected.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from dipeo_server.domains.execution.delta import ReducerRegistry
from dipeo_server.domains.execution.events import Event
from dipeo_server.domains.execution.machine import (
    barriers,
    by_hand,
    checkpoints,
    control,
    early,
    forking,
    limits,
    mutating,
    outcomes,
    stepping,
)
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    BarrierDecided,
    BranchTold,
    BreakpointsSet,
    BudgetTimePassed,
    CheckpointRequested,
    DecisionMade,
    DecisionRevoked,
    ForkRequested,
    GraphMutationRequested,
    NodePutOff,
    NodeRaised,
    NodeReport,
    NodeReturned,
    NodeStopped,
    OutputGiven,
    PauseRequested,
    PersonSignal,
    ResumeRequested,
    RetryRequested,
    RunnerRestarted,
    Signal,
    SkipRequested,
    StartRequested,
    StepRequested,
    TimerFired,
)
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.errors import InvalidState

REDUCERS = ReducerRegistry()


def decide(  # noqa: C901 - one case per signal, each a single call.
    state: ExecutionState | None,
    signal: Signal,
    *,
    now: datetime,
    reducers: ReducerRegistry = REDUCERS,
) -> tuple[Event, ...]:
    """What follows from the signal itself; `settle` adds what follows from the state then.

    Raises Rejected for a wish that cannot be granted; gives nothing for a stale report.
    """
    if isinstance(signal, StartRequested):
        if state is not None:
            raise InvalidState("The execution has started already.")
        return control.started(signal)
    if state is None:
        raise InvalidState("The execution has not started.")
    if isinstance(signal, ForkRequested):
        return forking.forked(state, signal, now)
    match signal:
        case NodeReturned():
            events = outcomes.returned(state, signal, now, reducers)
        case NodeRaised():
            events = outcomes.raised(state, signal, now)
        case NodeReport():
            events = outcomes.reported(state, signal, now)
        case NodeStopped():
            events = outcomes.stopped(state, signal)
        case NodePutOff():
            events = outcomes.put_off(state, signal)
        case BranchTold():
            events = outcomes.branch_told(state, signal)
        case TimerFired():
            events = barriers.timer_fired(state, signal, now)
        case BudgetTimePassed():
            events = limits.time_passed(state, now)
        case RunnerRestarted():
            events = control.restarted(state, now)
        case _:
            events = _of_people(state, signal, now)
    if not state.breakpoints:
        return events
    return (*events, *stepping.breaks_after(state, events))


def _of_people(  # noqa: C901 - one case per signal, each a single call.
    state: ExecutionState, signal: PersonSignal, now: datetime
) -> tuple[Event, ...]:
    match signal:
        case BarrierDecided():
            return barriers.decided(state, signal, now)
        case DecisionMade():
            return early.made(state, signal, now)
        case DecisionRevoked():
            return early.revoked(state, signal)
        case PauseRequested():
            return control.paused(state, signal, now)
        case ResumeRequested():
            return control.resumed(state, signal)
        case AbortRequested():
            return control.aborted(state, signal)
        case StepRequested():
            return stepping.step(state, signal)
        case BreakpointsSet():
            return stepping.breakpoints_set(state, signal)
        case RetryRequested():
            return by_hand.retry(state, signal, now)
        case SkipRequested():
            return by_hand.skip(state, signal)
        case OutputGiven():
            return by_hand.give_output(state, signal, now)
        case GraphMutationRequested():
            return mutating.mutate(state, signal)
        case CheckpointRequested():
            return checkpoints.requested(state)
        case _ as unreachable:
            assert_never(unreachable)
