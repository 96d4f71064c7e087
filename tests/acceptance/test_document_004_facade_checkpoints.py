"""Source document 004, checkpoints, as a Python program meets them."""

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
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.errors import (
    DamagedCheckpoint,
    ExecutionFinished,
    InvalidInput,
    NotFound,
    StorageError,
)
from dipeo_server.executors import (
    AsyncGraphExecutor,
    CheckpointFailed,
    CheckpointPreset,
    CheckpointSaved,
    CheckpointScore,
    CheckpointTrigger,
    GraphComplete,
    GraphExecution,
    GraphExecutor,
    MemoryStore,
    NodeStart,
    StateView,
)
from dipeo_server.executors.graph_events import Narrator
from dipeo_server.runtime.history import read_all
from tests.acceptance.kept_runs import APPROVE, done, gated, on_disk
from tests.acceptance.walking import line, of

T = CheckpointTrigger


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    async with on_disk(tmp_path) as opened:
        yield opened


def triggers(told: list[Any]) -> list[CheckpointTrigger]:
    return [event.trigger for event in of(CheckpointSaved, told)]


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
