"""Runs of a GraphExecutor: what nodes may know, and what ends a run from outside."""

from __future__ import annotations

import asyncio

import pytest

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.executors import (
    Graph,
    GraphCancelled,
    GraphExecutor,
    InvalidGraph,
    MemoryStore,
    StateView,
)


async def held(state: StateView) -> None:
    """Never comes back."""
    await asyncio.get_running_loop().create_future()


async def test_a_node_knows_where_it_is() -> None:
    seen: list[object] = []

    async def looks(state: StateView) -> None:
        state.log("looking")
        seen.extend([state.node, state.occurrence, repr(state), len(state), list(state)])
        assert state.idempotency_key == f"{state.trace_id}/a/1"

    await GraphExecutor(Graph().node("a", looks)).execute({"n": 1})
    assert seen == ["a", 1, "StateView({'n': 1})", 1, ["n"]]


@pytest.mark.parametrize("rounds", [1, 2, 5, 10, 20, 100])
async def test_cancelling_execute_cancels_the_run(rounds: int) -> None:
    """At whatever moment that happens, its start included."""
    store = MemoryStore()
    task = asyncio.create_task(GraphExecutor(Graph().node("a", held), store=store).execute())
    async with asyncio.timeout(20):
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    runs = (await store.list_executions(ExecutionQuery())).items
    assert [run.status for run in runs] == [ExecutionStatus.ABORTED]


async def test_somebody_else_may_end_a_run_that_is_executed() -> None:
    store = MemoryStore()
    graph = Graph().node("a", held)
    execution = await GraphExecutor(graph, store=store).execute_stream()
    async with asyncio.timeout(20):
        await execution.handle.pause("lunch", now=True)
        await execution.handle.cancel("dinner")
        with pytest.raises(GraphCancelled, match="dinner"):
            await execution.handle.result()
    summary = await store.summary(ExecutionID(execution.handle.run_id))
    assert summary is not None
    assert summary.status is ExecutionStatus.ABORTED


def test_a_group_needs_branches() -> None:
    with pytest.raises(InvalidGraph, match="no branches"):
        Graph().parallel("both", {})
