"""What an actor does where something cannot be stored: it loses nothing, and does nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BarrierResolved,
    BarrierWaiting,
    ExecutionAborted,
    NodeCompleted,
    Recorded,
)
from dipeo_server.domains.execution.signals import AbortRequested
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.errors import (
    ConcurrentAppend,
    IdempotencyMismatch,
    StorageError,
    StorageFull,
    Unavailable,
)
from dipeo_server.storage.memory import MemoryStore
from tests.runtime.watched import WatchedStore, full, overtaken
from tests.runtime.world import Gate, asks, no_actor_is_left, seqs, soon, tell, world


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore(MemoryStore())


# --- the disk is full ---------------------------------------------------------------------------


async def test_when_space_returns_nothing_is_lost_and_nothing_done_twice(
    store: WatchedStore,
) -> None:
    gates = {name: Gate() for name in "abd"}
    async with world(store, gates) as running:
        id_ = await running.start("s -> a -> f; s -> b -> f; s -> d -> f")
        for gate in gates.values():
            await gate.reached.wait()
        store.fault = full
        tried = store.tried
        gates["a"].opened.set()
        await soon(lambda: store.tried > tried)
        gates["b"].opened.set()
        gates["d"].opened.set()
        with pytest.raises(StorageFull):
            await running.runner.signal(id_, AbortRequested())
        stalled = await running.runner.view(id_)
        assert stalled is not None
        assert stalled.last_seq == len(await running.log(id_))
        store.fault = None
        ended = await running.ended(id_)
        assert ended.status is ExecutionStatus.COMPLETED
        assert running.visits.entered == ["s", "a", "b", "d", "f"]
        events = await running.events(id_)
        completed = [e.node_run.node for e in events if isinstance(e, NodeCompleted)]
        assert sorted(completed) == ["a", "b", "d", "f", "s"]
        assert seqs(await running.log(id_)) == list(range(1, len(events) + 1))


async def test_clients_are_refused_at_once_while_the_disk_is_full(store: WatchedStore) -> None:
    gate = Gate()
    async with world(store, {"a": gate, "g": asks}) as running:
        id_ = await running.start("s -> a; s -> g.ok -> b")
        await running.until(id_, BarrierWaiting)
        store.fault = full
        gate.opened.set()
        await soon(lambda: store.tried > store.commits)
        tried = store.tried
        for _ in range(20):
            with pytest.raises(StorageFull):
                await running.runner.signal(id_, AbortRequested())
            assert await running.runner.view(id_) is not None
        assert store.tried - tried <= 2  # Nobody waited for a try of their own.
        store.fault = None


async def test_it_goes_on_trying_for_as_long_as_it_takes(store: WatchedStore) -> None:
    left = 3

    def full_for_a_while(events: Sequence[Recorded]) -> Exception | None:
        nonlocal left
        left -= 1
        return StorageFull("full") if left >= 0 else None

    gate = Gate()
    async with world(store, {"a": gate}) as running:
        id_ = await running.start("s -> a -> b")
        await gate.reached.wait()
        store.fault = full_for_a_while
        gate.opened.set()
        reads = store.reads
        ended = await running.ended(id_)
        assert ended.status is ExecutionStatus.COMPLETED
        assert store.reads - reads < 10  # The log is folded anew once, not at every try.


async def test_a_start_that_could_not_be_stored_leaves_nothing_behind(
    store: WatchedStore,
) -> None:
    async with world(store) as running:
        store.fault = full
        with pytest.raises(StorageFull):
            await running.start("s -> a")
        store.fault = None
        await no_actor_is_left()
        assert await store.active() == []
        assert (await running.run("s -> a")).status is ExecutionStatus.COMPLETED


async def test_reads_that_fail_as_well_are_tried_again(store: WatchedStore) -> None:
    gate = Gate()
    async with world(store, {"a": gate}) as running:
        id_ = await running.start("s -> a -> b")
        await gate.reached.wait()
        store.fault, store.read_fault = full, StorageError("no disk")
        reads = store.reads
        gate.opened.set()
        await soon(lambda: store.reads > reads)
        store.fault, store.read_fault = None, None
        assert (await running.ended(id_)).status is ExecutionStatus.COMPLETED


# --- another writer -----------------------------------------------------------------------------


async def test_an_actor_stops_where_another_writer_took_over(store: WatchedStore) -> None:
    a, b = Gate(), Gate()
    async with world(store, {"a": a, "b": b}) as running:
        id_ = await running.start("s -> a; s -> b -> d")
        await a.reached.wait()
        await b.reached.wait()
        store.fault = overtaken
        follow = asyncio.create_task(running.until(id_, ExecutionAborted))
        abort = asyncio.create_task(running.runner.signal(id_, AbortRequested()))
        with pytest.raises(ConcurrentAppend):
            await abort
        with pytest.raises(Unavailable):
            await follow
        await no_actor_is_left()
        assert running.visits.inside == []  # Its handlers were cancelled.
        store.fault = None
        with pytest.raises(Unavailable):
            await running.runner.signal(id_, AbortRequested())
        with pytest.raises(Unavailable):
            await running.until(id_, ExecutionAborted)
        view = await running.runner.view(id_)
        assert view is not None
        assert view.status is ExecutionStatus.RUNNING


async def test_what_stopped_one_run_stops_no_other(store: WatchedStore) -> None:
    gate = Gate()
    async with world(store, {"a": gate}) as running:
        one, two = [await running.start("s -> a -> b") for _ in range(2)]
        await soon(lambda: gate.reached_by == 2)
        store.fault = lambda events: ConcurrentAppend("no") if events[0].seq == 6 else None
        with pytest.raises(ConcurrentAppend):
            await running.runner.signal(one, AbortRequested())
        store.fault = None
        gate.opened.set()
        assert (await running.ended(two)).status is ExecutionStatus.COMPLETED
        await no_actor_is_left()


# --- results that cannot be recorded ------------------------------------------------------------


def poisoned(events: Sequence[Recorded]) -> Exception | None:
    """A fault that knows one result, as a store that cannot hold it would."""
    ends = [each.event for each in events if isinstance(each.event, NodeCompleted)]
    is_it = any(event.output.body == "poison" for event in ends)
    return RuntimeError("cannot be written") if is_it else None


async def test_a_result_that_cannot_be_stored_fails_its_node_alone(store: WatchedStore) -> None:
    gate = Gate()

    async def poison(ctx: ExecutionContext) -> str:
        await gate(ctx)
        return "poison"

    async with world(store, {"p": poison, "a": gate, "b": gate}) as running:
        id_ = await running.start("s -> p; s -> a; s -> b")
        await soon(lambda: gate.reached_by == 3)
        store.fault = poisoned
        gate.opened.set()
        ended = await running.ended(id_)
        states = {n.key: s for n, s in zip(ended.diagram.nodes, ended.nodes, strict=True)}
        assert states["p"].status is NodeExecutionStatus.FAILED
        assert states["p"].failure is not None
        assert "cannot be recorded: cannot be written" in states["p"].failure.message
        assert running.visits.entered.count("p") == 1


async def test_a_client_whose_wish_cannot_be_stored_is_refused_alone(store: WatchedStore) -> None:
    gate = Gate()

    def fault(events: Sequence[Recorded]) -> Exception | None:
        decided = [e.event for e in events if isinstance(e.event, BarrierResolved)]
        is_it = any(event.node_run.node == "g1" for event in decided)
        return IdempotencyMismatch("in use") if is_it else None

    async with world(store, {"g1": asks, "g2": asks, "a": gate}) as running:
        id_ = await running.start("s -> g1.ok -> b; s -> g2.ok -> d; s -> a")
        await running.until(id_, BarrierWaiting, "g1")
        await running.until(id_, BarrierWaiting, "g2")
        store.fault = fault
        store.hold()
        gate.opened.set()
        await soon(lambda: store.waiting == 1)
        one, two = (tell(running, id_, BarrierAction.APPROVE, name) for name in ("g1", "g2"))
        await asyncio.sleep(0)
        store.let_go()
        with pytest.raises(IdempotencyMismatch):
            await one
        await two
        store.fault = None
        await tell(running, id_, BarrierAction.APPROVE, "g1")
        assert (await running.ended(id_)).status is ExecutionStatus.COMPLETED
