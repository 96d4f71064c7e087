"""Forks that go on with another graph than the run that they come from."""

from __future__ import annotations

from dipeo_server.domains.diagram.mutations import (
    DeleteNode,
    GraphMutation,
    UpsertEdge,
    UpsertNode,
    apply_mutations,
)
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.machine.forking import forkable_until, undone
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.signals import ForkRequested, GraphMutationRequested
from dipeo_server.domains.execution.status import ExecutionStatus
from tests.builders import SPECS, Story
from tests.domains.execution.machine.forks import finish

ADDED = (
    UpsertNode({"key": "more", "type": "work"}),
    UpsertEdge({"source": "a", "target": "more"}),
)


def forked_with(story: Story, at: int, *mutations: GraphMutation) -> Story:
    """The fork behind an event, which goes on with that graph."""
    log = story.log[:at]
    fork = Story.__new__(Story)
    fork.machine, fork.now, fork.log = ExecutionMachine.replay(log), story.now, list(log)
    new = apply_mutations(fork.state.diagram, mutations, SPECS).executable
    signals = (
        ForkRequested(ExecutionID("fork"), story.state.id, log[-1].event, undone(log)),
        GraphMutationRequested(new, fork.state.revision),
    )
    fork.log.extend(fork.machine.receive_all(signals, now=fork.now))
    return fork


def test_a_run_that_has_ended_goes_on_with_more_nodes() -> None:
    story = Story("s -> a -> e")
    for key in ("s", "a", "e"):
        story.returns(key)
    last = forkable_until(story.log)
    assert last == len(story.log) - 1
    fork = forked_with(story, last, *ADDED)
    assert fork.running() == ["more"]
    assert finish(fork) is ExecutionStatus.COMPLETED


def test_behind_every_event_a_fork_goes_on_with_more_nodes() -> None:
    story = Story("s -> a -> c; c.t -> e; c.f -> e2", wish={"is_paused": True})
    story.resumes()
    for key in ("s", "a"):
        story.returns(key, puts={"last": key})
    story.returns("c", port="condtrue")
    story.returns("e")
    for at in range(1, forkable_until(story.log) + 1):
        fork = forked_with(story, at, *ADDED, DeleteNode("e2"))
        while fork.running():
            for key in fork.running():
                fork.returns(key, port="condtrue" if key == "c" else "default")
        assert finish(fork) is ExecutionStatus.COMPLETED
        assert fork.node("more").occurrence == 1
