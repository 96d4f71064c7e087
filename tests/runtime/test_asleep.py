"""An execution that waits for a person or a timer leaves the memory, and comes back when needed."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

import pytest

from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BarrierWaiting,
    NodeReported,
)
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID
from dipeo_server.domains.execution.output import WaitUntil, create_node_output
from dipeo_server.domains.execution.signals import AbortRequested, BarrierDecided
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import DamagedLog
from dipeo_server.storage.memory import MemoryStore
from tests.runtime.watched import WatchedStore
from tests.runtime.world import Gate, asks, no_actor_is_left, soon, world

SOON = 0.02
APPROVED = BarrierDecided(BarrierID("g", 1), BarrierAction.APPROVE)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore(MemoryStore())


async def waits(ctx: ExecutionContext) -> WaitUntil:
    return WaitUntil(0.3, create_node_output({"default": "late"}))


def states_in_memory(execution_id: ExecutionID) -> int:
    gc.collect()
    every = [each for each in gc.get_objects() if isinstance(each, ExecutionState)]
    return sum(1 for state in every if state.id == execution_id)


async def test_a_run_that_waits_for_a_person_is_not_kept_in_memory(store: WatchedStore) -> None:
    async with world(store, {"g": asks}, idle_seconds=SOON) as running:
        id_ = await running.start("s -> g.ok -> b -> d")
        await running.until(id_, BarrierWaiting)
        await soon(lambda: states_in_memory(id_) == 0)
        seen = await running.runner.view(id_)
        assert seen is not None
        assert seen.status is ExecutionStatus.WAITING
        await soon(lambda: states_in_memory(id_) == 0)
        await running.runner.signal(id_, APPROVED)
        ended = await running.ended(id_)
        assert ended.status is ExecutionStatus.COMPLETED
        assert running.visits.entered == ["s", "g", "b", "d"]


async def test_a_timer_wakes_a_run_that_sleeps(store: WatchedStore) -> None:
    async with world(store, {"a": waits}, idle_seconds=SOON) as running:
        id_ = await running.start("s -> a -> b")
        await running.until(id_, NodeReported, "a")
        await soon(lambda: states_in_memory(id_) == 0)
        ended = await running.ended(id_)
        assert ended.status is ExecutionStatus.COMPLETED
        assert ended.outputs["a"].body == "late"


async def test_a_run_that_sleeps_can_be_aborted(store: WatchedStore) -> None:
    async with world(store, {"g": asks, "a": waits}, idle_seconds=SOON) as running:
        id_ = await running.start("s -> g.ok -> b; s -> a")
        await running.until(id_, BarrierWaiting)
        await running.until(id_, NodeReported, "a")
        await soon(lambda: states_in_memory(id_) == 0)
        await running.runner.signal(id_, AbortRequested())
        assert (await running.ended(id_)).status is ExecutionStatus.ABORTED


async def test_a_run_with_a_handler_in_flight_stays_awake(store: WatchedStore) -> None:
    gate = Gate()
    async with world(store, {"a": gate}, idle_seconds=SOON) as running:
        id_ = await running.start("s -> a -> b")
        await gate.reached.wait()
        reads = store.reads
        await asyncio.sleep(5 * SOON)
        gate.opened.set()
        assert (await running.ended(id_)).status is ExecutionStatus.COMPLETED
        assert store.reads == reads


async def test_sleeping_runs_stop_with_the_runner_and_go_on_with_the_next(
    store: WatchedStore,
) -> None:
    async with world(store, {"g": asks}, idle_seconds=SOON) as running:
        id_ = await running.start("s -> g.ok -> b")
        await running.until(id_, BarrierWaiting)
        await soon(lambda: states_in_memory(id_) == 0)
    async with world(store, {"g": asks}, idle_seconds=SOON) as again:
        await again.runner.signal(id_, APPROVED)
        assert (await again.ended(id_)).status is ExecutionStatus.COMPLETED


async def test_many_sleepers_decided_at_once_all_end(store: WatchedStore) -> None:
    async with world(store, {"g": asks}, idle_seconds=SOON) as running:
        ids = [await running.start("s -> g.ok -> b") for _ in range(50)]
        for id_ in ids:
            await running.until(id_, BarrierWaiting)
        await asyncio.sleep(3 * SOON)
        await asyncio.gather(*(running.runner.signal(id_, APPROVED) for id_ in ids))
        for id_ in ids:
            assert (await running.ended(id_)).status is ExecutionStatus.COMPLETED


async def test_a_run_that_has_ended_waits_for_its_last_handler_and_goes(
    store: WatchedStore,
) -> None:
    free = asyncio.Event()

    async def stubborn(ctx: ExecutionContext) -> str:
        while not free.is_set():
            with suppress(asyncio.CancelledError):
                await free.wait()
        return "late"

    async with world(store, {"a": stubborn}, idle_seconds=SOON) as running:
        id_ = await running.start("s -> a -> b")
        await soon(lambda: running.visits.inside == ["a"])
        await running.runner.signal(id_, AbortRequested(grace_seconds=0))
        assert (await running.ended(id_)).status is ExecutionStatus.ABORTED
        await asyncio.sleep(3 * SOON)
        free.set()
        await no_actor_is_left()


async def test_a_sleeper_whose_log_is_damaged_says_so(store: WatchedStore) -> None:
    async with world(store, {"g": asks}, idle_seconds=SOON) as running:
        id_ = await running.start("s -> g.ok -> b")
        await running.until(id_, BarrierWaiting)
        await soon(lambda: states_in_memory(id_) == 0)
        store.read_fault = DamagedLog("Damaged.", execution_id=id_, seq=3)
        with pytest.raises(DamagedLog):
            await running.runner.signal(id_, APPROVED)
        await no_actor_is_left()
