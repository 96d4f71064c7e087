"""Source document 004, resuming, as a Python program meets it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution import events as facts
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID, Seq
from dipeo_server.domains.execution.interventions import DiagramMutated
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.errors import (
    InvalidState,
    NotFound,
)
from dipeo_server.executors import (
    AlreadyRunning,
    BarrierWaiting,
    Graph,
    GraphChanged,
    GraphExecution,
    GraphExecutor,
    GraphPaused,
    GraphStart,
    IfChanged,
    NodeExecutionFailed,
    StateView,
)
from dipeo_server.runtime.history import read_all
from tests.acceptance.kept_runs import APPROVE, die, done, gated, on_disk, waiting
from tests.acceptance.walking import follow, line, nodes_of, passes, puts


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    async with on_disk(tmp_path) as opened:
        yield opened


# --- going on -----------------------------------------------------------------------------------


async def test_a_run_that_was_left_goes_on_where_it_was(store: StateStore) -> None:
    """004-51, 004-W1, 004-W2: as the same run, with all it knew, and nothing runs twice."""
    entered: list[str] = []

    async def enters(state: StateView) -> dict[str, int]:
        entered.append(state.node)
        return {"n": state["n"] + 1}

    graph = gated(draft=enters, publish=enters)
    run = await waiting(GraphExecutor(graph, 50, store))
    execution = await GraphExecutor(graph, 50, store).resume_from(run)
    assert execution.handle.run_id == run
    told = await done(execution, APPROVE)
    assert isinstance(told[0], GraphStart)
    assert told[-1].result.state["n"] == 3
    assert told[-1].result.state["gate"]["approved"] is True
    assert entered == ["draft", "publish"]
    assert nodes_of(told[-1].result) == ["draft", "gate", "publish"]


async def test_a_decision_ahead_of_time_is_known_to_the_next_process(store: StateStore) -> None:
    """004-W2, 004-W8"""
    graph = gated()
    graph.barrier("last").edge("publish", "last")
    execution = await GraphExecutor(graph, 50, store).execute_stream()
    await execution.handle.decide(BarrierID("last", 1), APPROVE)
    await follow(execution, until=BarrierWaiting)
    await die()
    execution = await GraphExecutor(graph, 50, store).resume_from(execution.handle.run_id)
    told = await done(execution, APPROVE)
    assert nodes_of(told[-1].result) == ["draft", "gate", "publish", "last"]


async def test_branches_go_on_with_their_run(store: StateStore) -> None:
    held = asyncio.Event()

    async def slow(state: StateView) -> dict[str, int]:
        if not held.is_set():
            held.set()
            await asyncio.Event().wait()
        return {"right": 2}

    def graph() -> Graph:
        branches = {"left": puts(left=1), "right": slow}
        return Graph().parallel("both", branches).node("c", passes).edge("both", "c")

    # A function may have had its effect: whether it runs again is for a person to say.
    execution = await GraphExecutor(graph(), 50, store).execute_stream()
    await held.wait()
    await die()
    execution = await GraphExecutor(graph(), 50, store).resume_from(execution.handle.run_id)
    async with asyncio.timeout(20):
        waits = await child_barrier(store, execution.handle.run_id)
    assert waits == "right"
    await execution.handle.cancel()


async def child_barrier(store: StateStore, run: str) -> str:
    """The node of a branch that a person is asked about."""
    from_start = Seq(0)
    while True:
        for child in await store.active():
            if child == run:
                continue
            for recorded in await store.read(child, after=from_start, limit=100):
                if isinstance(recorded.event, facts.BarrierWaiting):
                    return str(recorded.event.node_run.node)
        await asyncio.sleep(0.01)


async def test_a_run_that_is_running_is_not_run_twice(store: StateStore) -> None:
    """003-W5, 004-51"""
    executor = GraphExecutor(gated(), 50, store)
    execution = await executor.execute_stream()
    await follow(execution, until=BarrierWaiting)
    with pytest.raises(AlreadyRunning):
        await executor.resume_from(execution.handle.run_id)
    await die()
    both = await asyncio.gather(
        *(executor.resume_from(execution.handle.run_id) for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in both) == ["AlreadyRunning", "GraphExecution"]
    [gone_on] = [each for each in both if isinstance(each, GraphExecution)]
    await gone_on.handle.cancel()


async def test_a_run_that_is_not_there_cannot_be_resumed(store: StateStore) -> None:
    """004-51"""
    executor = GraphExecutor(gated(), 50, store, ())
    with pytest.raises(NotFound, match="no run 'nobody'"):
        await executor.resume_from("nobody")
    told = await done(await executor.execute_stream(), APPROVE)
    with pytest.raises(InvalidState, match="has completed"):
        await executor.resume_from(told[0].trace_id)
    with pytest.raises(NotFound, match="no checkpoint"):
        await executor.resume_from(told[0].trace_id, at=20)


async def test_a_run_that_failed_goes_on_from_its_newest_checkpoint(store: StateStore) -> None:
    """004-51: as another run, which has everything that was before."""
    entered: list[str] = []

    async def enters(state: StateView) -> dict[str, str]:
        entered.append(state.node)
        if entered.count("c") == 1:
            raise ValueError("not yet")
        return {state.node: "done"}

    executor = GraphExecutor(repeatable("abcd", enters), 50, store, ["EVERY_STEP"])
    with pytest.raises(NodeExecutionFailed) as caught:
        await executor.execute()
    failed = caught.value.trace_id
    execution = await executor.resume_from(failed)
    assert execution.handle.run_id != failed
    result = (await done(execution))[-1].result
    assert result.state == dict.fromkeys("abcd", "done")
    assert entered == ["a", "b", "c", "c", "d"]
    from_a = await executor.resume_from(failed, at=(await places(store, failed))[1])
    await done(from_a)
    assert entered[5:] == ["b", "c", "d"]


def repeatable(names: str, function: Any) -> Graph:
    """Nodes one behind the other, which run again where a process has left them."""
    graph = Graph()
    for name in names:
        graph.node(name, function, after_crash="rerun")
    for source, target in itertools.pairwise(names):
        graph.edge(source, target)
    return graph


async def places(store: StateStore, run: str) -> list[Seq]:
    return [each.at for each in await store.checkpoints.listed(ExecutionID(run))]


async def test_a_run_that_reached_its_limit_is_resumed_with_more(store: StateStore) -> None:
    """004-W22, 004-51"""
    names = [f"n{number}" for number in range(8)]
    executor = GraphExecutor(line(*names), 5, store)
    execution = await executor.execute_stream()
    await follow(execution, until=GraphPaused)
    await die()
    execution = await executor.resume_from(execution.handle.run_id)
    await follow(execution, until=GraphPaused)
    await execution.handle.resume(max_steps=8)
    assert nodes_of(await execution.handle.result()) == names


# --- another graph ------------------------------------------------------------------------------


def longer() -> Graph:
    """draft → gate → check → publish."""
    graph = Graph().node("draft", passes).barrier("gate").node("check", puts(checked=True))
    graph.node("publish", passes).edge("draft", "gate")
    return graph.edge("gate", "check").edge("check", "publish")


async def test_a_run_of_another_graph_is_refused(store: StateStore) -> None:
    """004-51: strict, and the refusal says what is another."""
    run = await waiting(GraphExecutor(gated(), 50, store))
    before = await read_all(store, ExecutionID(run))
    with pytest.raises(GraphChanged, match=r"it also has check\.") as caught:
        await GraphExecutor(longer(), 50, store).resume_from(run)
    assert caught.value.impact.rerun == ("check", "publish")
    assert "draft" in caught.value.impact.kept
    with pytest.raises(GraphChanged, match="settings, conditions, edges or reducers"):
        await GraphExecutor(gated().edge("gate", "draft", on="rejected"), 50, store).resume_from(
            run
        )
    assert await read_all(store, ExecutionID(run)) == before
    await done(await GraphExecutor(gated(), 50, store).resume_from(run), APPROVE)


async def test_with_force_it_goes_on_with_the_graph_that_it_has(store: StateStore) -> None:
    """004-51"""
    run = await waiting(GraphExecutor(gated(), 50, store))
    executor = GraphExecutor(longer(), 50, store)
    told = await done(await executor.resume_from(run, if_changed=IfChanged.FORCE), APPROVE)
    assert nodes_of(told[-1].result) == ["draft", "gate", "publish"]


@pytest.mark.parametrize("is_paused", [False, True])
async def test_with_migrate_it_goes_on_with_the_new_graph(
    store: StateStore, *, is_paused: bool
) -> None:
    """004-51: what has run stays so; a run that was held stays held."""
    execution = await GraphExecutor(gated(), 50, store).execute_stream({"n": 1})
    await follow(execution, until=BarrierWaiting)
    if is_paused:
        await execution.handle.pause()
    await die()
    run = execution.handle.run_id
    executor = GraphExecutor(longer(), 50, store)
    execution = await executor.resume_from(run, if_changed=IfChanged.MIGRATE)
    assert execution.handle.run_id == run
    if is_paused:
        await execution.handle.resume()
    told = await done(execution, APPROVE)
    assert nodes_of(told[-1].result) == ["draft", "gate", "check", "publish"]
    assert told[-1].result.state["checked"] is True
    changed = [each.event for each in await read_all(store, ExecutionID(run))]
    assert [each.revision_number for each in changed if isinstance(each, DiagramMutated)] == [1]


async def test_a_failed_run_goes_on_with_the_graph_that_was_mended(store: StateStore) -> None:
    """004-51"""

    async def fails(state: StateView) -> None:
        raise ValueError("no")

    with pytest.raises(NodeExecutionFailed) as caught:
        await GraphExecutor(repeatable("a", fails), 50, store, ["EVERY_STEP"]).execute()
    mended = GraphExecutor(repeatable("abc", passes), 50, store)
    failed = caught.value.trace_id
    with pytest.raises(GraphChanged, match="also has b, c"):
        await mended.resume_from(failed)
    told = await done(await mended.resume_from(failed, if_changed=IfChanged.MIGRATE))
    assert nodes_of(told[-1].result) == ["a", "a", "b", "c"]
