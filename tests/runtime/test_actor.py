"""An actor does things in one order: receive, append, publish, reconcile, answer."""

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
    NodeFailed,
    NodeInterrupted,
    NodeReported,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID
from dipeo_server.domains.execution.output import (
    Message,
    NodeOutput,
    WaitForPerson,
    WaitUntil,
    create_node_output,
)
from dipeo_server.domains.execution.runner import Accepted, StartExecution
from dipeo_server.domains.execution.signals import AbortRequested, BarrierDecided
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.errors import (
    AlreadyDecided,
    ConcurrentAppend,
    IdempotencyMismatch,
    StorageError,
    StorageFull,
    Unavailable,
)
from dipeo_server.storage.memory import MemoryStore
from tests.builders import diagram
from tests.runtime.watched import WatchedStore
from tests.runtime.world import Gate, World, no_actor_is_left, seqs, soon, world


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore(MemoryStore())


def full(events: Sequence[Recorded]) -> Exception:
    return StorageFull("The disk is full.")


def overtaken(events: Sequence[Recorded]) -> Exception:
    return ConcurrentAppend("The log ends elsewhere.")


def tell(
    running: World, id_: ExecutionID, action: BarrierAction, node: str = "g"
) -> asyncio.Task[Accepted]:
    """Decide a barrier; the signal is in the inbox as soon as the task has begun."""
    decided = BarrierDecided(BarrierID(node, 1), action)
    return asyncio.create_task(running.runner.signal(id_, decided))


async def asks(ctx: ExecutionContext) -> WaitForPerson:
    return WaitForPerson("approval", "go on?")


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


# --- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["abort", "fail_fast"])
async def test_a_node_started_in_the_round_that_ends_the_run_does_not_keep_it(
    store: WatchedStore, cause: str
) -> None:
    """`a` returns, so `b` starts, and in the same round the run is ended: nobody enters `b`."""
    gates = {name: Gate() for name in "adf"}

    async def fails(ctx: ExecutionContext) -> NodeOutput:
        await gates["f"](ctx)
        raise ValueError("boom")

    async with world(store, {**gates, "f": fails}) as running:
        id_ = await running.start("s -> d; s -> a -> b; s -> f")
        await soon(lambda: len(running.visits.inside) == 3)
        store.hold()
        gates["d"].opened.set()
        await soon(lambda: store.waiting == 1)
        gates["a"].opened.set()
        await soon(lambda: running.visits.inside == ["f"])
        if cause == "fail_fast":
            gates["f"].opened.set()
            await soon(lambda: running.visits.inside == [])
        else:
            asyncio.create_task(running.runner.signal(id_, AbortRequested())).add_done_callback(
                lambda done: done.result()
            )
            await asyncio.sleep(0)
        store.let_go()
        ended = await running.ended(id_)
        events = await running.events(id_)
        assert ended.status.value == {"abort": "ABORTED", "fail_fast": "FAILED"}[cause]
        assert any(isinstance(e, NodeStarted) and e.node_run.node == "b" for e in events)
        assert "b" not in running.visits.entered
        await no_actor_is_left()


async def test_start_and_abort_in_one_round_end_the_run(store: WatchedStore) -> None:
    async with world(store, {"a": Gate()}) as running:
        store.hold()
        gate_id = ExecutionID("exec_0_mine")
        request = StartExecution(diagram("s -> a"), execution_id=gate_id)
        start = asyncio.create_task(running.runner.start(request))
        abort = asyncio.create_task(running.runner.signal(gate_id, AbortRequested()))
        await soon(lambda: store.waiting == 1)
        store.let_go()
        await start
        await abort
        ended = await running.ended(gate_id)
        assert ended.status is ExecutionStatus.ABORTED
        assert running.visits.entered == []
        interrupted = [e for e in await running.events(gate_id) if isinstance(e, NodeInterrupted)]
        assert [e.node_run.node for e in interrupted] == ["s"]


async def test_an_aborted_wait_leaves_no_actor_behind(store: WatchedStore) -> None:
    async def waits(ctx: ExecutionContext) -> WaitUntil:
        return WaitUntil(3_600, create_node_output({"default": 1}))

    async with world(store, {"a": waits}) as running:
        id_ = await running.start("s -> a -> b")
        await running.until(id_, NodeReported, "a")
        await running.runner.signal(id_, AbortRequested())
        assert (await running.ended(id_)).status is ExecutionStatus.ABORTED
        await no_actor_is_left()


async def test_a_handler_that_ignores_its_cancellation_is_given_up(store: WatchedStore) -> None:
    free = asyncio.Event()

    async def stubborn(ctx: ExecutionContext) -> str:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    async with world(store, {"a": stubborn}) as running:
        id_ = await running.start("s -> a -> b")
        await running.until(id_, NodeStarted, "a")
        await soon(lambda: running.visits.inside == ["a"])
        await running.runner.signal(id_, AbortRequested(grace_seconds=0))
        ended = await running.ended(id_)
        assert ended.status is ExecutionStatus.ABORTED
        assert running.visits.inside == ["a"]
        last = len(await running.log(id_))
        free.set()
        await no_actor_is_left()
        assert len(await running.log(id_)) == last  # What it gives in the end changes nothing.


async def test_a_result_that_comes_after_the_abort_is_discarded(store: WatchedStore) -> None:
    async def finishes_first(ctx: ExecutionContext) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "anyway"
        return "never"

    async with world(store, {"a": finishes_first}) as running:
        id_ = await running.start("s -> a -> b")
        await soon(lambda: running.visits.inside == ["a"])
        await running.runner.signal(id_, AbortRequested())
        ended = await running.ended(id_)
        names = [type(event).__name__ for event in await running.events(id_)]
        assert "ResultDiscarded" in names
        assert ended.outputs.keys() == {"s"}


async def test_whoever_waits_is_told_when_the_runner_stops(store: WatchedStore) -> None:
    async with world(store, {"a": Gate()}) as running:
        id_, other = [await running.start("s -> a") for _ in range(2)]
        await soon(lambda: running.visits.inside == ["a", "a"])
        store.hold()
        abort = asyncio.create_task(running.runner.signal(id_, AbortRequested()))
        look = asyncio.create_task(running.runner.view(id_))
        follow = asyncio.create_task(running.until(other, ExecutionAborted))
        await soon(lambda: store.waiting == 1)
        closing = asyncio.create_task(running.runner.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await running.runner.signal(id_, AbortRequested())
        store.let_go()
        await closing
        assert (await abort).execution_id == id_  # Its append was on its way already.
        await asyncio.wait([look, follow])
        assert look.exception() is None or isinstance(look.exception(), Unavailable)
        assert isinstance(follow.exception(), Unavailable)


async def test_a_result_that_is_there_when_the_runner_stops_is_kept(store: WatchedStore) -> None:
    gate = Gate()
    async with world(store, {"a": gate}) as running:
        id_ = await running.start("s -> a -> b -> d")
        await gate.reached.wait()
        gate.opened.set()
        await running.until(id_, NodeStarted, "b")
    events = [recorded.event for recorded in await store.read(id_, limit=1_000)]
    assert any(isinstance(e, NodeCompleted) and e.node_run.node == "a" for e in events)
    async with world(store) as again:
        assert (await again.ended(id_)).status is ExecutionStatus.COMPLETED
        assert "a" not in again.visits.entered


async def test_a_stop_is_no_failure_of_a_node(store: WatchedStore) -> None:
    async def upset(ctx: ExecutionContext) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            raise ValueError("upset") from error
        return "never"

    async with world(store, {"a": upset}) as running:
        id_ = await running.start("s -> a -> b")
        await soon(lambda: running.visits.inside == ["a"])
    assert not any(isinstance(r.event, NodeFailed) for r in await store.read(id_, limit=1_000))
    async with world(store) as again:
        assert (await again.ended(id_)).status is ExecutionStatus.COMPLETED


async def test_many_signals_are_committed_together(store: WatchedStore) -> None:
    gates = {f"n{number}": Gate() for number in range(50)}
    async with world(store, gates) as running:
        id_ = await running.start("; ".join(f"s -> {name}" for name in gates))
        await soon(lambda: len(running.visits.inside) == 50)
        before = store.commits
        for gate in gates.values():
            gate.opened.set()
        await running.ended(id_)
        assert store.commits - before <= 3


async def test_messages_of_a_conversation_are_checked_like_outputs(store: WatchedStore) -> None:
    async def half(ctx: ExecutionContext) -> NodeOutput:
        return create_node_output({"default": 1}, messages=(Message("1", "a", "b", "\ud83d"),))

    async with world(store, {"a": half}) as running:
        ended = await running.run("s -> a")
        assert ended.error is not None
        assert ended.error.code == "OUTPUT_NOT_JSON"
