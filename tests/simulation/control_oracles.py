"""What holds for every log of a run that people control, and at the end of every such run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from dipeo_server.domains.execution.events import (
    BarrierResolved,
    EarlyDecisionChanged,
    ExecutionForked,
    ExecutionStatusChanged,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.status import ExecutionStatus


def pauses(log: Sequence[Recorded]) -> Iterable[str]:
    """While a run is paused nothing starts, and in a step the one visit that it is for."""
    is_paused, step = False, None
    for recorded in log:
        match recorded.event:
            case ExecutionForked():
                is_paused, step = False, None
            case ExecutionStatusChanged(after=after, step=run):
                is_paused, step = after is ExecutionStatus.PAUSED, run
            case NodeStarted(node_run=run) if is_paused or step not in (None, run):
                yield f"{_short(run)} started while the run was held, at {recorded.seq}"
            case _:
                pass


def winners(log: Sequence[Recorded]) -> Iterable[str]:
    """A barrier is decided once, and in each fork of the run once more, if that was half told."""
    found: Counter[tuple[int, NodeRun]] = Counter()
    forks = 0
    for recorded in log:
        forks += isinstance(recorded.event, ExecutionForked)
        if isinstance(recorded.event, BarrierResolved):
            found[forks, recorded.event.node_run] += 1
    yield from (f"{_short(run)} was decided {n} times" for (_, run), n in found.items() if n > 1)


def early_decisions(log: Sequence[Recorded]) -> Iterable[str]:
    """A decision ahead of time is used as often as it says at most, and each is told of."""
    left: dict[str, int | None] = {}
    for recorded in log:
        event = recorded.event
        if isinstance(event, ExecutionForked):
            left.clear()
        if not isinstance(event, EarlyDecisionChanged):
            continue
        if event.decision is not None:
            left[event.decision_id] = event.decision.uses_left
        elif event.decision_id not in left:
            yield f"{event.decision_id} is {event.change} at {recorded.seq}, but there is none"
        else:
            uses = left.pop(event.decision_id)
            if event.change == "used" and uses != 1:
                left[event.decision_id] = None if uses is None else uses - 1
    if log[-1].is_terminal and left:
        yield f"nobody was told what became of {sorted(left)}"


def _short(run: NodeRun) -> str:
    return f"{run.node}#{run.occurrence}.{run.attempt}"
