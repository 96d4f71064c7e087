"""The runs of sub-diagrams keep their states as the run that started them does."""

from __future__ import annotations

import pytest

from dipeo_server.domains.execution.checkpoint import (
    CheckpointFailurePolicy,
    CheckpointPolicy,
    CheckpointScore,
    CheckpointSettings,
    CheckpointTrigger,
)
from dipeo_server.domains.execution.children import ChildRun
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import ExecutionStarted
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.storage.memory import MemoryStore
from tests.runtime.world import Deed, World, world

T = CheckpointTrigger
CHILDREN = {"outer": "s -> middle -> e", "inner": "s -> work -> e"}


def runs(name: str) -> Deed:
    async def deed(ctx: ExecutionContext) -> str:
        await ctx.services.sub_diagrams.run(ChildRun(name, None, None, {}))
        return "done"

    return deed


async def child_of(running: World, parent: ExecutionID) -> ExecutionID:
    page = await running.runner.list_executions(ExecutionQuery(parent_id=parent))
    (row,) = page.items
    return row.id


@pytest.mark.parametrize(
    "policy, expected",
    [
        ((), []),
        ((T.ON_REQUEST,), []),
        ((T.EXECUTION_COMPLETED,), [T.EXECUTION_COMPLETED]),
        ((T.EVERY_STEP,), [T.EVERY_STEP] * 3),
    ],
)
async def test_sub_diagrams_are_kept_by_the_policy_of_their_parent(
    policy: CheckpointPolicy, expected: list[CheckpointTrigger]
) -> None:
    """004-46, 004-W12: and so are those of theirs."""
    settings = CheckpointSettings(
        CheckpointScore(threshold=7.0), deltas_max=3, on_failure=CheckpointFailurePolicy.PAUSE
    )
    deeds = {"a": runs("outer"), "middle": runs("inner")}
    async with world(MemoryStore(), deeds, children=CHILDREN) as running:
        id_ = await running.start("s -> a -> e", checkpoints=policy, checkpointing=settings)
        await running.ended(id_)
        for _ in range(2):
            id_ = await child_of(running, id_)
            kept = await running.runner.checkpoints.listed(id_)
            assert [each.trigger for each in kept] == expected
            started = (await running.events(id_))[0]
            assert isinstance(started, ExecutionStarted)
            assert (started.checkpoints, started.checkpointing) == (policy, settings)
