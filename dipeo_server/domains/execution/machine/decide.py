"""(state, signal, now) → events: which rule a signal is for.

Stale is silent, illegal is Rejected.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from dipeo_server.domains.execution.delta import ReducerRegistry
from dipeo_server.domains.execution.events import Event
from dipeo_server.domains.execution.machine import barriers, control, outcomes
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    BarrierDecided,
    NodeRaised,
    NodeReport,
    NodeReturned,
    NodeStopped,
    ResumeRequested,
    RunnerRestarted,
    Signal,
    StartRequested,
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
    match signal:
        case NodeReturned():
            return outcomes.returned(state, signal, now, reducers)
        case NodeRaised():
            return outcomes.raised(state, signal, now)
        case NodeReport():
            return outcomes.reported(state, signal, now)
        case NodeStopped():
            return outcomes.stopped(state, signal)
        case TimerFired():
            return barriers.timer_fired(state, signal, now)
        case BarrierDecided():
            return barriers.decided(state, signal, now)
        case ResumeRequested():
            return control.resumed(state, signal)
        case AbortRequested():
            return control.aborted(state, signal)
        case RunnerRestarted():
            return control.restarted(state, now)
        case _ as unreachable:
            assert_never(unreachable)
