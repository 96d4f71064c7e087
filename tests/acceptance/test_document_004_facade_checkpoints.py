"""Source document 004, checkpoints and resuming, as a Python program meets them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution import events as facts
from dipeo_server.domains.execution.checkpoint import COMPLETE
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID, Seq
from dipeo_server.domains.execution.interventions import DiagramMutated
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.errors import (
    DamagedCheckpoint,
    ExecutionFinished,
    InvalidInput,
    InvalidState,
    NotFound,
    StorageError,
)
from dipeo_server.executors import (
    AlreadyRunning,
    AsyncGraphExecutor,
    BarrierWaiting,
    CheckpointFailed,
    CheckpointPreset,
    CheckpointSaved,
    CheckpointScore,
    CheckpointTrigger,
    Decision,
    Graph,
    GraphChanged,
    GraphComplete,
    GraphExecution,
    GraphExecutor,
    GraphPaused,
    GraphStart,
    IfChanged,
    MemoryStore,
    NodeExecutionFailed,
    NodeStart,
    StateView,
    open_store,
)
from dipeo_server.executors.graph_events import Narrator
from dipeo_server.runtime.history import read_all
from tests.acceptance.walking import follow, line, nodes_of, of, passes, puts

T = CheckpointTrigger
APPROVE = Decision.approve(by="ann")


def gated(**functions: Any) -> Graph:
    """draft → gate → publish."""
    graph = Graph().node("draft", functions.get("draft", passes)).barrier("gate")
    graph.node("publish", functions.get("publish", passes))
    return graph.edge("draft", "gate").edge("gate", "publish")


def triggers(told: list[Any]) -> list[CheckpointTrigger]:
    return [event.trigger for event in of(CheckpointSaved, told)]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    opened = await open_store(f"sqlite:{tmp_path / 'runs.db'}")
    yield opened
    await opened.close()


async def die() -> None:
    """Whatever runs in this process is not run any more."""
    runs = [task for task in asyncio.all_tasks() if task.get_name() == "executor"]
    for task in runs:
        task.cancel()
    await asyncio.gather(*runs, return_exceptions=True)


async def waiting(executor: GraphExecutor) -> str:
    """A run that waits at its barrier, and that nobody runs any more."""
    execution = await executor.execute_stream({"n": 1})
    await follow(execution, until=BarrierWaiting)
    await die()
    return execution.handle.run_id


async def done(execution: GraphExecution, *decisions: Decision) -> list[Any]:
    told = await follow(execution, *decisions)
    assert isinstance(told[-1], GraphComplete)
    return told


# --- when they are taken ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy, expected",
    [
        (None, [T.BARRIER_RESOLVED, T.EXECUTION_COMPLETED]),
        (CheckpointPreset.CONSERVATIVE, [T.BARRIER_RESOLVED, T.EXECUTION_COMPLETED]),
        ("minimal", [T.BARRIER_RESOLVED, T.EXECUTION_COMPLETED]),
        ("MANUAL", []),
        ((), []),
        ([T.HUMAN_DECISION], [T.HUMAN_DECISION]),
        (["every_step"], [T.EVERY_STEP] * 4),
    ],
)
async def test_a_policy_is_a_preset_or_triggers(
    store: StateStore, policy: Any, expected: list[CheckpointTrigger]
) -> None:
    """004-03, 004-46: with a store conservative is the default."""
    for executor in (GraphExecutor(gated(), 50, store, policy), GraphExecutor(gated())):
        executor.set_store(store)
        executor.set_policy(iter(policy) if isinstance(policy, list) else policy)
        told = await done(await executor.execute_stream(), APPROVE)
        assert triggers(told) == expected


async def test_in_memory_none_are_taken_unless_somebody_says_so() -> None:
    """004-46"""
    assert triggers(await done(await GraphExecutor(line("a", "b")).execute_stream())) == []
    executor = GraphExecutor(line("a", "b"), 50, MemoryStore(), "minimal")
    assert triggers(await done(await executor.execute_stream())) == [T.EXECUTION_COMPLETED]


@pytest.mark.parametrize("policy, named", [("often", "'often'"), (["explicit"], "'explicit'")])
def test_a_policy_that_there_is_not_is_refused(policy: Any, named: str) -> None:
    """004-46"""
    with pytest.raises(InvalidInput, match=named) as caught:
        GraphExecutor(line("a"), policy=policy)
    assert caught.value.hint is not None


async def test_a_request_is_honoured_before_the_next_node(store: StateStore) -> None:
    """004-05, 004-07, 004-19, 004-W9: with any policy, and only when somebody asks."""
    asked = asyncio.Event()
    went_on = asyncio.Event()

    async def slow(state: StateView) -> None:
        asked.set()
        await went_on.wait()

    executor = GraphExecutor(line("a", "b", a=slow), 50, store, "manual")
    stream, handle = await executor.execute_stream()
    await asked.wait()
    kept = await handle.checkpoint()
    assert (kept.trigger, kept.next_node, kept.graph_hash) == (
        T.ON_REQUEST,
        "a",
        executor.graph_hash,
    )
    assert await handle.checkpoint() == kept  # Nothing has happened since.
    went_on.set()
    told = await done(GraphExecution(stream, handle))
    [saved] = of(CheckpointSaved, told)
    assert (saved.checkpoint_id, saved.node, saved.step) == (kept.id, "a", 1)
    assert (
        told.index(saved)
        < [place for place, event in enumerate(told) if isinstance(event, NodeStart)][1]
    )
    with pytest.raises(ExecutionFinished):
        await handle.checkpoint()


async def test_the_score_of_adaptive_can_be_another_one(store: StateStore) -> None:
    """004-47: functions have effects unless they say otherwise; each weighs 10,000."""
    graph = line("a", "b", "c")
    for score, expected in (
        (CheckpointScore(), 3),
        (CheckpointScore(per_effect=60.0, per_millisecond=0.0), 1),
        (CheckpointScore(threshold=1e9), 0),
    ):
        executor = GraphExecutor(graph, 50, store, [T.ADAPTIVE])
        executor.set_checkpoint_score(score)
        told = await done(await executor.execute_stream())
        assert triggers(told) == [T.ADAPTIVE] * expected
        for saved, begun in zip(of(CheckpointSaved, told), "bc", strict=False):
            assert saved.node in (begun, COMPLETE, "c")  # 004-W10: past what it was taken for.


@pytest.mark.parametrize("most", [0, 1, 3, 20])
async def test_behind_so_many_differences_a_whole_state_is_kept(
    store: StateStore, most: int
) -> None:
    """004-02, 004-48: 20 unless it is said otherwise."""
    names = [f"step {number}" for number in range(46)]
    executor = GraphExecutor(line(*names), 100, store, ["EVERY_STEP"], delta_compact_threshold=most)
    if most == 20:
        executor = GraphExecutor(line(*names), 100, store, ["EVERY_STEP"])
    result = await executor.execute()
    kept = await store.checkpoints.listed(ExecutionID(result.trace_id))
    assert len(kept) == len(names) + 1
    bases = [place for place, each in enumerate(kept) if each.base == each.at]
    since = [after - before - 1 for before, after in itertools.pairwise(bases)]
    assert max(since) == most
    with pytest.raises(InvalidInput, match="delta_compact_threshold"):
        GraphExecutor(delta_compact_threshold=-1)


# --- what is kept -------------------------------------------------------------------------------


async def test_a_checkpoint_tells_of_itself(store: StateStore) -> None:
    """004-49: id, run, graph, next node, time; the last one is behind every node."""
    executor = GraphExecutor(line("a", "b"), 50, store, ["EVERY_STEP", "EXECUTION_COMPLETED"])
    told = await done(await executor.execute_stream())
    kept = await store.checkpoints.listed(ExecutionID(told[0].trace_id))
    saved = of(CheckpointSaved, told)
    assert [(each.id, each.at, each.next_node) for each in kept] == [
        (each.checkpoint_id, each.sequence, each.node) for each in saved if each.node
    ]
    assert [each.node for each in saved] == ["a", "b", COMPLETE]
    assert {each.execution_id for each in kept} == {told[0].trace_id}
    assert {each.graph_hash for each in kept} == {executor.graph_hash}
    assert kept[0].created_at >= told[0].at
    assert isinstance(told[-2], CheckpointSaved)
    assert isinstance(told[-1], GraphComplete)


async def test_checkpoints_are_listed_loaded_deleted_and_pruned(store: StateStore) -> None:
    """004-50: and the run is what it was without them."""
    result = await GraphExecutor(line(*"abcde"), 50, store, ["EVERY_STEP"]).execute()
    id_, kept = ExecutionID(result.trace_id), store.checkpoints
    places = [each.at for each in await kept.listed(id_)]
    assert len(places) == 6
    newest = await kept.load(id_)
    assert newest is not None
    assert newest.checkpoint == await kept.find(id_, places[-1])
    log = await read_all(store, id_)
    await kept.delete(id_, places[1])
    assert await kept.prune(id_, keep=2) == 3
    assert [each.at for each in await kept.listed(id_)] == places[-2:]
    with pytest.raises(NotFound):
        await kept.delete(id_, places[0])
    assert await kept.prune(id_) == 2
    assert await kept.load(id_) is None
    assert await read_all(store, id_) == log
    assert ExecutionMachine.replay(log).state.status.is_terminal
    assert issubclass(DamagedCheckpoint, StorageError)


async def test_one_that_fails_is_told() -> None:
    """004-W12"""
    told = await done(await GraphExecutor(line("a")).execute_stream())
    event = facts.CheckpointFailed(T.EVERY_STEP, "too large")
    [failed] = Narrator("x").tell(Recorded(Seq(9), told[0].at, event))
    assert failed == CheckpointFailed("x", told[0].at, T.EVERY_STEP, "too large")


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


# --- the other executor -------------------------------------------------------------------------


async def test_asynchronous_graphs_keep_their_states_as_well(store: StateStore) -> None:
    """004-46: by their policy, or because somebody asks."""

    async def work(call: Any) -> int:
        return 1

    data = {"nodes": [{"id": "a"}, {"id": "b"}], "edges": [{"source": "a", "target": "b"}]}
    for policy, expected in ((None, [T.EXECUTION_COMPLETED]), (["EVERY_STEP"], [T.EVERY_STEP] * 3)):
        executor = AsyncGraphExecutor(
            data, handlers={"a": work, "b": work}, store=store, policy=policy
        )
        await executor.execute()
        kept = await store.checkpoints.listed(executor.thread_id)
        assert [each.trigger for each in kept] == expected
