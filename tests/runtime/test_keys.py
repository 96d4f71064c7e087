"""A mutation with a key is done once, whoever hangs up and comes again."""

from __future__ import annotations

import asyncio

import pytest

from dipeo_server.domains.execution.events import BarrierAction, BarrierResolved, BarrierWaiting
from dipeo_server.domains.execution.ids import BarrierID
from dipeo_server.domains.execution.runner import IdempotencyKey, StartExecution
from dipeo_server.domains.execution.signals import BarrierDecided
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import IdempotencyMismatch, Unavailable
from dipeo_server.storage.memory import MemoryStore
from tests.builders import diagram
from tests.runtime.watched import WatchedStore
from tests.runtime.world import asks, no_actor_is_left, soon, world

KEY = IdempotencyKey("me", "k", "approveBarrier", "hash")
APPROVED = BarrierDecided(BarrierID("g", 1), BarrierAction.APPROVE)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore(MemoryStore())


async def test_who_hangs_up_and_asks_again_gets_the_first_answer(store: WatchedStore) -> None:
    async with world(store, {"g": asks}) as running:
        id_ = await running.start("s -> g.ok -> b")
        await running.until(id_, BarrierWaiting)
        store.hold()
        first = asyncio.create_task(running.runner.signal(id_, APPROVED, KEY))
        await soon(lambda: store.waiting == 1)
        first.cancel()
        await asyncio.wait([first])
        again = asyncio.create_task(running.runner.signal(id_, APPROVED, KEY))
        await asyncio.sleep(0.01)
        store.let_go()
        accepted = await again
        assert accepted.is_repeat
        assert (await running.ended(id_)).status is ExecutionStatus.COMPLETED
        decided = [e for e in await running.events(id_) if isinstance(e, BarrierResolved)]
        assert len(decided) == 1


async def test_a_start_whose_sender_hung_up_starts_one_run(store: WatchedStore) -> None:
    request = StartExecution(diagram("s -> a"))
    async with world(store) as running:
        store.hold()
        first = asyncio.create_task(running.runner.start(request, KEY))
        await soon(lambda: store.waiting == 1)
        first.cancel()
        again = asyncio.create_task(running.runner.start(request, KEY))
        await asyncio.sleep(0.01)
        store.let_go()
        accepted = await again
        assert accepted.is_repeat
        await running.ended(accepted.execution_id)
        assert running.visits.entered == ["s", "a"]
        await no_actor_is_left()


async def test_a_key_of_another_request_is_refused_even_while_the_first_is_under_way(
    store: WatchedStore,
) -> None:
    request = StartExecution(diagram("s -> a"))
    other = IdempotencyKey(KEY.principal, KEY.key, KEY.mutation, "other")
    async with world(store) as running:
        store.hold()
        first = asyncio.create_task(running.runner.start(request, KEY))
        await soon(lambda: store.waiting == 1)
        second = asyncio.create_task(running.runner.start(request, other))
        await asyncio.sleep(0.01)
        store.let_go()
        await first
        with pytest.raises(IdempotencyMismatch):
            await second


async def test_nobody_is_left_waiting_under_a_key_when_the_runner_stops(
    store: WatchedStore,
) -> None:
    async with world(store, {"g": asks}) as running:
        id_ = await running.start("s -> g.ok -> b")
        await running.until(id_, BarrierWaiting)
        await running.runner.close()
        with pytest.raises(Unavailable):
            await running.runner.signal(id_, APPROVED, KEY)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("key ")]
