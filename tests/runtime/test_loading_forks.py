"""Forks are loaded from the checkpoints of what they go on from."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from dipeo_server.domains.execution.checkpoint import CheckpointTrigger
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.forking import undone
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.signals import ForkRequested
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.runtime.loading import load
from dipeo_server.storage.memory import MemoryStore
from tests.builders import Story

NAMES = ["s", *(f"q{number}" for number in range(1, 12))]
FORK = ExecutionID("fork")


def kept() -> Story:
    """A chain of which every step is kept."""
    story = Story(" -> ".join(NAMES), wish={"checkpoints": (CheckpointTrigger.EVERY_STEP,)})
    for name in NAMES[:-1]:
        story.returns(name, name)
    return story


@pytest.mark.parametrize("behind", [0, 1, 2])
async def test_a_fork_is_loaded_from_the_newest_checkpoint_before_it(behind: int) -> None:
    """Also where it leaves its origin between a checkpoint and the event that tells of it."""
    story, store = kept(), MemoryStore()
    taken = story.machine.taken()
    row = summary_of(story.state)
    await store.append(ExecutionID("x"), story.log, after=Seq(0), summary=row, checkpoints=taken)
    at = Seq(taken[-2].checkpoint.at + behind)
    shared = story.log[:at]
    machine = ExecutionMachine.replay(shared)
    wish = ForkRequested(FORK, ExecutionID("x"), shared[-1].event, undone(shared))
    own = machine.receive(wish, now=story.now)
    await store.append(FORK, own, after=at, summary=summary_of(machine.state))
    with capture_logs() as complaints:
        found = (await load(store, FORK, page=4)).state
    assert complaints == []
    again = ExecutionMachine.replay([*shared, *own]).state
    found.touched = again.touched = set()
    assert found == again
