"""Source document 004, W12: states too large to be kept, as a Python program meets them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from dipeo_server.domains.execution.checkpoint import SIZE_MAX
from dipeo_server.domains.execution.events import PauseCause
from dipeo_server.errors import InvalidInput, InvalidState
from dipeo_server.executors import (
    AsyncGraphExecutor,
    BarrierWaiting,
    CheckpointFailed,
    CheckpointFailurePolicy,
    Graph,
    GraphCancelled,
    GraphComplete,
    GraphError,
    GraphExecutor,
    GraphPaused,
    MemoryStore,
)
from tests.acceptance.kept_runs import APPROVE
from tests.acceptance.walking import again, follow, line, of, passes, puts

PARTS = "abcde"
"""Behind the last of them the state is too large; the next node has begun by then."""
PART = "x" * (SIZE_MAX // 5)


def growing() -> Graph:
    """A graph whose state is too large in the end, though each of its nodes puts less."""
    return line(*PARTS, "next", "last", **{name: puts(**{name: PART}) for name in PARTS})


async def test_with_pause_a_run_is_held_and_can_be_resumed() -> None:
    """004-W12"""
    graph = growing().barrier("gate").edge("last", "gate").node("end", passes).edge("gate", "end")
    executor = GraphExecutor(graph, 50, MemoryStore(), "manual", checkpoint_failure="pause")
    execution = await executor.execute_stream()
    await follow(execution, until=BarrierWaiting)
    with pytest.raises(InvalidState, match="No checkpoint could be taken"):
        await execution.handle.checkpoint()
    told = await follow(again(execution), until=GraphPaused)
    [failed], [paused] = of(CheckpointFailed, told), of(GraphPaused, told)
    assert (paused.cause, paused.reason) == (PauseCause.CHECKPOINT, failed.message)
    await execution.handle.resume()
    told = await follow(again(execution), APPROVE)
    assert isinstance(told[-1], GraphComplete)


async def test_with_fail_it_fails() -> None:
    """004-W12"""
    fail = CheckpointFailurePolicy.FAIL
    executor = GraphExecutor(growing(), 50, MemoryStore(), ["EVERY_STEP"], checkpoint_failure=fail)
    with pytest.raises(GraphError, match="bytes, and at most"):
        await executor.execute()


async def test_whoever_cannot_resume_it_has_it_ended() -> None:
    """Nobody holds a handle to a run that is executed."""
    executor = GraphExecutor(
        growing(), 50, MemoryStore(), ["EVERY_STEP"], checkpoint_failure="pause"
    )
    with pytest.raises(GraphCancelled, match="no checkpoint could be taken"):
        await executor.execute()


async def test_asynchronous_graphs_have_the_policy_as_well() -> None:
    """004-W12"""

    async def grow(call: Any) -> str:
        call.put(call.node, PART)
        return "more"

    names = [*PARTS, "next", "last"]
    data = {
        "nodes": [{"id": name} for name in names],
        "edges": [{"source": a, "target": b} for a, b in itertools.pairwise(names)],
    }
    executor = AsyncGraphExecutor(
        data,
        handlers=dict.fromkeys(names, grow),
        policy=["EVERY_STEP"],
        checkpoint_failure="pause",
    )
    error = (await executor.execute()).error
    assert error is not None
    assert error["code"] == "CHECKPOINT_FAILED"


def test_a_policy_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidInput, match="CheckpointFailurePolicy") as caught:
        GraphExecutor(checkpoint_failure="ignore")
    assert caught.value.field == ("checkpoint_failure",)
