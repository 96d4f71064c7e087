"""How an actor ends: nothing is left behind, and nobody is left waiting."""

from __future__ import annotations

import asyncio

import pytest

from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import (
    ExecutionAborted,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeReported,
    NodeStarted,
)
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.output import (
    Message,
    NodeOutput,
    WaitUntil,
    create_node_output,
)
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.domains.execution.signals import AbortRequested
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import (
    Unavailable,
)
from dipeo_server.storage.memory import MemoryStore
from tests.builders import diagram
from tests.runtime.watched import WatchedStore
from tests.runtime.world import Gate, no_actor_is_left, soon, world


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore(MemoryStore())


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
