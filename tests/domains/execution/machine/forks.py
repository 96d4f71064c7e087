"""Forks of stories, and what the tests of them look at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from dipeo_server.domains.execution.events import (
    BarrierAction,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.machine.forking import undone
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.signals import ForkRequested
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
)
from tests.builders import Story

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED
HOUR = timedelta(hours=1)
FAILS = {"f": {"after_crash": "fail"}}


def forked(story: Story, at: int | str | None = None, **wish: Any) -> Story:
    """The fork of a story behind an event (the last of that name, or of all), an hour later."""
    last = place(story, at)
    log = story.log[:last]
    fork = Story.__new__(Story)
    fork.machine = ExecutionMachine.replay(log)
    fork.now = max(story.now, log[-1].at) + HOUR
    fork.log = list(log)
    before = list(story.log)
    request = ForkRequested(
        ExecutionID("fork"), ExecutionID("x"), log[-1].event, undone(log), actor="ann", **wish
    )
    fork.begun = fork.tell(request)
    assert story.log == before
    check(fork)
    return fork


def place(story: Story, at: int | str | None) -> int:
    if isinstance(at, int):
        return at
    found = [each.seq for each in story.log if at in (None, type(each.event).__name__)]
    return found[-1]


def check(story: Story) -> None:
    """Replaying gives what was live, and the log has no gap."""
    again = ExecutionMachine.replay(story.log).state
    again.touched, live = set(story.state.touched), story.state
    assert again == live
    assert [each.seq for each in story.log] == list(range(1, len(story.log) + 1))


def inputs(story: Story, key: str) -> list[Any]:
    refs = story.state.inputs[story.state.diagram.index_of[key]]
    return [ref.envelope.body for ref in refs]


def finish(story: Story, value: Any = "again") -> ExecutionStatus:
    """Whatever runs returns, and runs again if it is asked, until nothing does."""
    while story.running() or _asked_to_rerun(story):
        for run in _asked_to_rerun(story):
            story.decides(run.node, BarrierAction.APPROVE, run.occurrence, run.attempt)
        for key in story.running():
            story.returns(key, value)
    check(story)
    return story.status()


def _asked_to_rerun(story: Story) -> list[NodeRun]:
    found = (each for each in story.state.barriers.values() if each.purpose == "rerun")
    return [each.node_run for each in found if each.status is BarrierStatus.WAITING]


def own(story: Story) -> Sequence[Recorded]:
    forked_at = story.state.forked_at
    assert forked_at is not None
    return story.log[forked_at:]


def drive(story: Story, turns: int) -> ExecutionStatus:
    """Nodes count their visits; a person approves; the loop is left after so many turns."""
    while story.status().is_active:
        for record in list(story.state.barriers.values()):
            if record.status is BarrierStatus.WAITING:
                run = record.node_run
                story.decides(run.node, BarrierAction.APPROVE, run.occurrence, run.attempt)
        for key in story.running():
            occurrence = story.run_of(key).occurrence
            if key.startswith("g"):
                story.asks(key, variable="gate")
            elif key.startswith("c"):
                port = "condtrue" if occurrence < turns else "condfalse"
                story.returns(key, occurrence, port=port)
            else:
                story.returns(key, occurrence, puts={"total": 1, key: occurrence})
    check(story)
    return story.status()


def outcome(story: Story) -> Any:
    state = story.state
    nodes = [(each.status, each.occurrence) for each in state.nodes]
    return state.status, nodes, state.variables, {k: v.body for k, v in state.outputs.items()}
