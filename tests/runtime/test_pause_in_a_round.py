"""What is started and paused in one round is not entered behind the pause's acknowledgement."""

from __future__ import annotations

import asyncio

import pytest

from dipeo_server.domains.execution.events import Durability, ExecutionCompleted, NodeInterrupted
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.signals import (
    PauseRequested,
    ResumeRequested,
    Signal,
    StepRequested,
)
from dipeo_server.storage.memory import MemoryStore
from tests.runtime.world import World, world

STRICT = Durability.STRICT
"""Nothing runs ahead of the disk: what is entered is entered behind the commit."""


async def told(running: World, execution_id: ExecutionID, *signals: Signal) -> None:
    """All of them are in the inbox before the run looks into it."""
    await asyncio.gather(
        *(asyncio.create_task(running.runner.signal(execution_id, each)) for each in signals)
    )


@pytest.mark.parametrize("go", [ResumeRequested(), StepRequested()])
async def test_what_goes_on_and_is_paused_at_once_enters_nothing(go: Signal) -> None:
    async with world(MemoryStore()) as running:
        id_ = await running.start("s -> a -> e", is_paused=True, durability=STRICT)
        await told(running, id_, go, PauseRequested())
        assert running.visits.entered == []
        await running.until(id_, NodeInterrupted, "s")
        assert running.visits.entered == []
        await told(running, id_, ResumeRequested())
        await running.until(id_, ExecutionCompleted)
        assert running.visits.entered == ["s", "a", "e"]
