"""ADAPTIVE: pure nodes run ahead of the disk, and nobody outside can tell."""

from __future__ import annotations

import asyncio

import pytest

from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BarrierWaiting,
    Durability,
    NodeStarted,
)
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.runner import Accepted
from dipeo_server.domains.execution.signals import AbortRequested, BarrierDecided
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import StorageFull
from dipeo_server.runtime.actor import AHEAD_EVENTS_MAX
from dipeo_server.storage.memory import MemoryStore
from tests.runtime.watched import WatchedStore, full
from tests.runtime.world import Gate, World, asks, no_actor_is_left, seqs, soon, world


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore(MemoryStore())


def approve(running: World, id_: ExecutionID) -> asyncio.Task[Accepted]:
    decided = BarrierDecided(BarrierID("g", 1), BarrierAction.APPROVE)
    return asyncio.create_task(running.runner.signal(id_, decided))


def chain(count: int) -> str:
    return "s -> " + " -> ".join(f"q{number}" for number in range(count))


# --- what may run ahead -------------------------------------------------------------------------


async def test_pure_nodes_do_not_wait_for_the_disk(store: WatchedStore) -> None:
    async with world(store) as running:
        store.hold()
        start = asyncio.create_task(running.start(chain(20)))
        await soon(lambda: len(running.visits.entered) == 21)
        assert not start.done()
        assert store.commits == 0
        store.let_go()
        assert (await running.ended(await start)).status is ExecutionStatus.COMPLETED
        assert store.commits <= 3  # Whatever came while one was written went with the next.


async def test_in_a_strict_run_nothing_starts_before_its_past_is_durable(
    store: WatchedStore,
) -> None:
    async with world(store) as running:
        store.hold()
        start = asyncio.create_task(running.start(chain(3), durability=Durability.STRICT))
        for visit in range(4):
            while store.tried < visit + 1:  # noqa: ASYNC110 - nobody tells of appends that wait.
                await asyncio.sleep(0)
            await asyncio.sleep(0.005)
            assert running.visits.entered == ["s", "q0", "q1"][:visit]
            store.let_these_go()
        store.let_go()
        assert (await running.ended(await start)).status is ExecutionStatus.COMPLETED


async def test_an_effect_waits_for_all_that_it_rests_on(store: WatchedStore) -> None:
    durable: list[int] = []

    async def effect(ctx: ExecutionContext) -> str:
        durable.append(len(await running.log(ExecutionID(ctx.execution_id))))
        return "done"

    async with world(store, {"x": effect}) as running:
        store.hold()
        start = asyncio.create_task(running.start("s -> q1 -> q2 -> x -> q3"))
        await soon(lambda: "q2" in running.visits.entered)
        await asyncio.sleep(0.005)
        assert "x" not in running.visits.entered
        store.let_go()
        id_ = await start
        await running.ended(id_)
        events = await running.events(id_)
        place = events.index(NodeStarted(NodeRun("x", 1)))
        assert durable[0] > place


async def test_other_branches_wait_no_longer_than_one_commit_for_an_effect(
    store: WatchedStore,
) -> None:
    gate = Gate()
    async with world(store, {"x": gate}) as running:
        id_ = await running.start("s -> x -> e; s -> " + chain(10).removeprefix("s -> "))
        await soon(lambda: "q9" in running.visits.entered)
        assert running.visits.inside == ["x"]
        gate.opened.set()
        assert (await running.ended(id_)).status is ExecutionStatus.COMPLETED


async def test_it_runs_ahead_only_so_far(store: WatchedStore) -> None:
    count = AHEAD_EVENTS_MAX
    async with world(store) as running:
        store.hold()
        start = asyncio.create_task(running.start(chain(count), max_steps=2 * count))
        await soon(lambda: len(running.visits.entered) > count // 4)
        before = -1
        while before < len(running.visits.entered):
            before = len(running.visits.entered)
            await asyncio.sleep(0.02)
        assert before < count
        store.let_go()
        assert (await running.ended(await start)).status is ExecutionStatus.COMPLETED


# --- what nobody may see ------------------------------------------------------------------------


async def test_no_event_and_no_view_is_ahead_of_the_disk(store: WatchedStore) -> None:
    gate = Gate()
    async with world(store, {"q0": gate}) as running:
        id_ = await running.start(chain(10))
        await gate.reached.wait()
        seen: list[Seq] = []

        async def follow() -> None:
            async for recorded in running.runner.events(id_):
                seen.append(recorded.seq)
                assert len(await running.log(id_)) >= recorded.seq

        follower = asyncio.create_task(follow())
        behind = (await running.until(id_, NodeStarted, "q0")).seq
        await soon(lambda: len(seen) >= behind)
        store.hold()
        gate.opened.set()
        await soon(lambda: "q9" in running.visits.entered)
        look = asyncio.create_task(running.runner.view(id_))
        await asyncio.sleep(0.005)
        assert seqs(await running.log(id_)) == seen
        assert not look.done()
        store.let_go()
        shown = await look
        assert shown is not None
        assert shown.last_seq <= len(await running.log(id_))
        await follower
        assert seen == seqs(await running.log(id_))


async def test_a_view_taken_while_it_runs_ahead_is_the_fold_of_what_is_durable(
    store: WatchedStore,
) -> None:
    async with world(store) as running:
        id_ = await running.start(chain(200))
        for _ in range(20):
            shown = await running.runner.view(id_)
            assert shown is not None
            completed = sum(1 for node in shown.nodes if node.ended_at is not None)
            log = (await running.log(id_))[: shown.last_seq]
            kinds = [type(recorded.event).__name__ for recorded in log]
            assert kinds.count("NodeCompleted") == completed
            await asyncio.sleep(0)
        await running.ended(id_)


# --- when the disk is full ----------------------------------------------------------------------


async def test_what_ran_ahead_of_a_start_that_is_refused_leaves_nothing_behind(
    store: WatchedStore,
) -> None:
    async with world(store, {"q5": Gate()}) as running:
        store.hold()
        start = asyncio.create_task(running.start(chain(10)))
        await soon(lambda: running.visits.inside == ["q5"])
        store.fault = full
        store.let_go()
        with pytest.raises(StorageFull):
            await start
        await no_actor_is_left()
        assert running.visits.inside == []
        assert await store.active() == []


async def test_results_that_ran_ahead_of_a_full_disk_are_kept(store: WatchedStore) -> None:
    gate = Gate()
    async with world(store, {"a": gate}) as running:
        text = "s -> a -> " + chain(300).removeprefix("s -> ") + " -> x -> e"
        id_ = await running.start(text)
        await gate.reached.wait()
        store.fault = full
        store.hold()
        gate.opened.set()
        await soon(lambda: "q299" in running.visits.entered)
        store.let_go()
        with pytest.raises(StorageFull):
            await running.runner.signal(id_, AbortRequested())
        assert "x" not in running.visits.entered
        store.fault = None
        assert (await running.ended(id_)).status is ExecutionStatus.COMPLETED
        assert len(running.visits.entered) == len(set(running.visits.entered)) == 304
        log = await running.log(id_)
        assert seqs(log) == list(range(1, len(log) + 1))


async def test_what_followed_from_a_decision_that_is_refused_follows_from_the_next_one(
    store: WatchedStore,
) -> None:
    """`q` ended ahead of the disk, and its result was about a visit that never came to be."""
    async with world(store, {"g": asks}) as running:
        id_ = await running.start("s -> g.ok -> q -> a")
        await running.until(id_, BarrierWaiting)
        store.hold()
        first = approve(running, id_)
        await soon(lambda: "q" in running.visits.entered)
        await soon(lambda: running.visits.inside == [])
        store.fault = full
        store.let_go()
        with pytest.raises(StorageFull):
            await first
        store.fault = None
        await approve(running, id_)
        ended = await running.ended(id_)
        assert ended.status is ExecutionStatus.COMPLETED
        assert running.visits.entered.count("a") == 1


async def test_a_pure_node_that_still_runs_for_a_refused_decision_is_stopped(
    store: WatchedStore,
) -> None:
    gate = Gate()
    async with world(store, {"g": asks, "q": gate}) as running:
        id_ = await running.start("s -> g.ok -> q -> a")
        await running.until(id_, BarrierWaiting)
        store.hold()
        first = approve(running, id_)
        await soon(lambda: running.visits.inside == ["q"])
        store.fault = full
        store.let_go()
        with pytest.raises(StorageFull):
            await first
        await soon(lambda: running.visits.inside == [])
        store.fault = None
        await approve(running, id_)
        await soon(lambda: running.visits.inside == ["q"])
        gate.opened.set()
        assert (await running.ended(id_)).status is ExecutionStatus.COMPLETED
