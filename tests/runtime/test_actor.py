"""An actor does things in one order: receive, append, publish, reconcile, answer."""

from __future__ import annotations

import asyncio

import pytest

from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BarrierWaiting,
)
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import (
    AlreadyDecided,
    StorageFull,
)
from dipeo_server.storage.memory import MemoryStore
from tests.runtime.watched import WatchedStore, full
from tests.runtime.world import Gate, asks, no_actor_is_left, soon, tell, world


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore(MemoryStore())


# --- the commit comes first ---------------------------------------------------------------------


async def test_an_answer_comes_only_after_the_commit(store: WatchedStore) -> None:
    async with world(store) as running:
        store.hold()
        start = asyncio.create_task(running.start("s -> a"))
        await soon(lambda: store.waiting == 1)
        assert not start.done()
        store.let_go()
        id_ = await start
        assert store.commits >= 1
        assert (await running.ended(id_)).status is ExecutionStatus.COMPLETED


async def test_no_handler_is_entered_before_its_start_is_on_disk(store: WatchedStore) -> None:
    async with world(store) as running:
        store.hold()
        start = asyncio.create_task(running.start("s -> a"))
        await soon(lambda: store.waiting == 1)
        assert "a" not in running.visits.entered
        store.let_go()
        await running.ended(await start)
        assert running.visits.entered == ["s", "a"]


async def test_no_handler_is_entered_where_its_start_cannot_be_stored(store: WatchedStore) -> None:
    async with world(store) as running:
        store.fault = full
        with pytest.raises(StorageFull):
            await running.start("s -> a")
        assert "a" not in running.visits.entered
        await no_actor_is_left()


async def test_a_view_is_never_ahead_of_the_disk(store: WatchedStore) -> None:
    gate = Gate()
    async with world(store, {"a": gate}) as running:
        id_ = await running.start("s -> a -> b")
        await gate.reached.wait()
        before = await running.runner.view(id_)
        assert before is not None
        store.hold()
        gate.opened.set()
        await soon(lambda: store.waiting == 1)
        look = asyncio.create_task(running.runner.view(id_))
        await asyncio.sleep(0.01)
        assert len(await running.log(id_)) == before.last_seq
        assert not look.done()
        store.let_go()
        seen = await look
        assert seen is not None
        assert seen.last_seq <= len(await running.log(id_))


async def test_who_decides_second_is_told_of_the_winner_only_once_that_is_durable(
    store: WatchedStore,
) -> None:
    async with world(store, {"g": asks}) as running:
        id_ = await running.start("s -> g.ok -> b")
        await running.until(id_, BarrierWaiting)
        store.hold()
        first, second = (
            tell(running, id_, action) for action in (BarrierAction.APPROVE, BarrierAction.REJECT)
        )
        await soon(lambda: store.waiting == 1)
        await asyncio.sleep(0.01)
        assert not second.done()
        store.let_go()
        await first
        with pytest.raises(AlreadyDecided):
            await second


async def test_a_decision_that_is_not_stored_has_not_won(store: WatchedStore) -> None:
    async with world(store, {"g": asks}) as running:
        id_ = await running.start("s -> g.ok -> b")
        await running.until(id_, BarrierWaiting)
        store.fault = full
        first, second = (
            tell(running, id_, action) for action in (BarrierAction.REJECT, BarrierAction.APPROVE)
        )
        await asyncio.wait([first, second])
        assert isinstance(first.exception(), StorageFull)
        assert isinstance(second.exception(), StorageFull)
        store.fault = None
        await tell(running, id_, BarrierAction.APPROVE)
        ended = await running.ended(id_)
        assert ended.status is ExecutionStatus.COMPLETED


async def test_a_handler_sees_only_what_is_on_disk(store: WatchedStore) -> None:
    """When `b` is entered, the machine knows the end of `a` already, and the disk does not."""
    gates = {"t": Gate(), "a": Gate()}
    seen: list[object] = []

    async def put(ctx: ExecutionContext) -> str:
        ctx.put("colour", "red")
        return await gates["a"](ctx)

    async def look(ctx: ExecutionContext) -> str:
        await soon(lambda: store.waiting == 1)
        seen.extend([ctx.variables.get("colour"), ctx.get_node_output("a"), ctx.executed("d")])
        store.let_go()
        return "looked"

    async with world(store, {"a": put, "t": gates["t"], "b": look}) as running:
        id_ = await running.start("s -> a -> d; s -> t -> b")
        await soon(lambda: len(running.visits.inside) == 2)
        store.hold()
        gates["t"].opened.set()
        await soon(lambda: store.waiting == 1)
        gates["a"].opened.set()
        await soon(lambda: running.visits.inside == [])
        store.let_these_go()
        ended = await running.ended(id_)
        assert seen == [None, None, 0]
        assert ended.variables == {"colour": "red"}
