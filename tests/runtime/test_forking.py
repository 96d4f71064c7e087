"""Forks over a real runner and store: their own runs, their children, and what they leave alone."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.children import ChildRun
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BarrierWaiting,
    ExecutionForked,
    NodeCompleted,
    NodeOutputSet,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID, Seq
from dipeo_server.domains.execution.output import HandlerResult, create_node_output
from dipeo_server.domains.execution.ports import ExecutionQuery, StateStore
from dipeo_server.domains.execution.runner import ForkExecution, IdempotencyKey
from dipeo_server.domains.execution.signals import BarrierDecided, ResumeRequested
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.errors import (
    IdempotencyMismatch,
    InvalidInput,
    LimitExceeded,
    NotFound,
)
from dipeo_server.runtime import forking
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.sqlite import SQLiteStore
from dipeo_server.storage.verification import verify_store
from tests.runtime.test_family import CHILDREN, child_of, runs
from tests.runtime.world import SECONDS_MAX, Deed, Gate, World, asks, world

_E, _N = ExecutionStatus, NodeExecutionStatus
TURNS = 32
LOOP = "s -> a -> g -> h -> b -> c; c.t -> h; c.f -> e"


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    opened = await SQLiteStore.open(path)
    yield opened
    await opened.close()


def turning(times: int) -> Callable[[ExecutionContext], Any]:
    """A deed: go round so many times, then leave."""

    async def deed(ctx: ExecutionContext) -> HandlerResult:
        port = "condtrue" if ctx.node_run.occurrence < times else "condfalse"
        return create_node_output({port: ctx.node_run.occurrence})

    return deed


async def fork(
    running: World, origin: ExecutionID, at: int | None = None, **wish: Any
) -> ExecutionID:
    place = len(await running.log(origin)) if at is None else at
    wanted = ForkExecution(origin, Seq(place), **wish)
    return (await running.runner.fork(wanted)).execution_id


async def approve(running: World, execution_id: ExecutionID, node: str = "g") -> None:
    await running.until(execution_id, BarrierWaiting)
    found = await running.runner.view(execution_id)
    assert found is not None
    for record in found.barriers:
        if record.decided_at is None:
            decided = BarrierDecided(record.id, BarrierAction.APPROVE)
            await running.runner.signal(execution_id, decided)


async def end(running: World, execution_id: ExecutionID) -> ExecutionView:
    """Approve whatever waits, until the run has ended."""
    async with asyncio.timeout(SECONDS_MAX):
        events = running.runner.events(execution_id)
        told = await running.runner.view(execution_id)
        assert told is not None
        async for recorded in events:
            event = recorded.event
            if isinstance(event, BarrierWaiting) and recorded.seq > (told.forked_at or 0):
                barrier = BarrierID(
                    event.node_run.node, event.node_run.occurrence, event.node_run.attempt
                )
                decided = BarrierDecided(barrier, BarrierAction.APPROVE)
                await running.runner.signal(execution_id, decided)
    return await running.ended(execution_id)


def heads(path: Path, execution_id: ExecutionID) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT head_hash, last_seq, status FROM executions WHERE id = ?", (execution_id,)
        ).fetchall()


def seen(view: ExecutionView) -> dict[str, Any]:
    """What came of a run, whoever ran it."""
    keys = [node.key for node in view.diagram.nodes]
    return {
        "status": view.status,
        "nodes": {
            key: (stood.status, stood.occurrence)
            for key, stood in zip(keys, view.nodes, strict=True)
        },
        "outputs": {
            key: made.body for key, made in view.outputs.items() if view.diagram.get_node(key)
        },
    }


def expected_of_the_loop() -> dict[str, Any]:
    """What `LOOP` comes to, wherever it was forked; of `g` only that somebody approved it."""
    in_the_loop = dict.fromkeys("hbc", (_N.COMPLETED, TURNS))
    once = dict.fromkeys("sage", (_N.COMPLETED, 1))
    outputs = {**{key: key for key in "sahbe"}, "c": TURNS}
    return {"status": _E.COMPLETED, "nodes": {**once, **in_the_loop}, "outputs": outputs}


def but_who_decided(view: ExecutionView) -> dict[str, Any]:
    found = seen(view)
    assert found["outputs"].pop("g") is not None
    return found


async def forks_come_to_their_end(path: Path, store: SQLiteStore, step: int) -> None:
    """Fork a run of 200 events, with a loop and a barrier, behind every `step`-th of them."""
    async with world(store, {"g": asks, "c": turning(TURNS)}) as running:
        origin = await running.start(LOOP)
        ended = await end(running, origin)
        log, before = await running.log(origin), heads(path, origin)
        assert len(log) >= 200
        expected = expected_of_the_loop()
        assert but_who_decided(ended) == expected
        for at in range(1, len(log), step):
            again = await end(running, await fork(running, origin, at))
            assert but_who_decided(again) == expected, at
            assert (await running.log(again.id))[:at] == log[:at]
        assert heads(path, origin) == before
        assert await running.log(origin) == log
    await store.close()
    assert verify_store(path).damage == ()


async def test_forks_of_a_long_run_come_to_their_end_and_leave_it_alone(
    path: Path, store: SQLiteStore
) -> None:
    """000-11, 004-W1."""
    await forks_come_to_their_end(path, store, 17)


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_a_fork_behind_every_event_of_a_long_run_comes_to_its_end(
    path: Path, store: SQLiteStore
) -> None:
    """000-11, 004-W1."""
    await forks_come_to_their_end(path, store, 1)


@pytest.mark.parametrize("make", [MemoryStore, None])
async def test_a_fork_is_read_followed_and_listed_like_any_run(
    make: type[MemoryStore] | None, store: SQLiteStore
) -> None:
    kept: StateStore = store if make is None else make()
    async with world(kept, {"a": (gate := Gate())}) as running:
        origin = await running.start("s -> a -> e")
        await running.until(origin, NodeStarted, "a")
        forked = await fork(running, origin)
        gate.opened.set()
        told = [each async for each in running.runner.events(forked)]
        assert [each.seq for each in told] == list(range(1, len(told) + 1))
        assert told == await running.log(forked)
        page = await running.runner.list_executions(ExecutionQuery(parent_id=origin))
        assert [row.id for row in page.items] == [forked]
        assert page.items[0].fork_of == origin
        assert (await running.ended(forked)).status is _E.COMPLETED
        assert (await running.ended(origin)).status is _E.COMPLETED


async def test_a_sleeping_fork_wakes_up_from_the_log_of_both(store: SQLiteStore) -> None:
    async with world(store, {"g": asks}, idle_seconds=0.01) as running:
        origin = await running.start("s -> g -> e")
        await running.until(origin, BarrierWaiting)
        forked = await fork(running, origin)
        await asyncio.sleep(0.05)
        assert (await end(running, forked)).status is _E.COMPLETED
        found = await running.runner.view(origin)
        assert found is not None
        assert found.status is _E.WAITING


async def test_a_fork_is_recovered_behind_a_restart(store: SQLiteStore) -> None:
    async with world(store, {"a": Gate()}) as running:
        origin = await running.start("s -> a -> e")
        await running.until(origin, NodeStarted, "a")
        forked = await fork(running, origin)
    async with world(store) as running:
        for each in (origin, forked):
            assert (await running.ended(each)).status is _E.COMPLETED


async def test_a_fork_does_not_end_with_its_origin(store: SQLiteStore) -> None:
    async with world(store, {"g": asks}) as running:
        origin = await running.start("s -> g -> e")
        await running.until(origin, BarrierWaiting)
        forked = await fork(running, origin)
        await end(running, origin)
    async with world(store, {"g": asks}) as running:
        assert (await end(running, forked)).status is _E.COMPLETED


async def test_overrides_are_what_a_fork_begins_with(store: SQLiteStore) -> None:
    async with world(store) as running:
        ended = await running.run("s -> a -> b -> e", variables={"x": 1})
        log = await running.log(ended.id)
        at = next(
            each.seq
            for each in log
            if isinstance(each.event, NodeStarted) and each.event.node_run.node == "b"
        )
        forked = await fork(
            running, ended.id, at, variables={"x": 2}, outputs={"a": "new", "e": "done"}
        )
        found = await running.ended(forked)
        assert (found.variables, found.outputs["a"].body) == ({"x": 2}, "new")
        reasons = {
            each.node_run.node: each.reason
            for each in await running.events(forked)
            if isinstance(each, NodeOutputSet)
        }
        assert reasons == {"a": "override", "e": "initial_state"}


# --- refusals and keys --------------------------------------------------------------------------


async def test_where_a_run_can_be_forked_is_told(store: SQLiteStore) -> None:
    async with world(store, {"g": asks}) as running:
        ended = await running.run("s -> e")
        for at in (0, ended.last_seq, ended.last_seq + 1):
            with pytest.raises(InvalidInput, match=f"at 1 to {ended.last_seq - 1}, not at {at}"):
                await fork(running, ended.id, at)
        active = await running.start("s -> g -> e")
        await running.until(active, BarrierWaiting)
        last = len(await running.log(active))
        with pytest.raises(InvalidInput, match=f"at 1 to {last}, not at {last + 1}"):
            await fork(running, active, last + 1)
        with pytest.raises(NotFound):
            await running.runner.fork(ForkExecution(ExecutionID("exec_0_none"), Seq(1)))


async def test_a_refused_fork_leaves_nothing(store: SQLiteStore) -> None:
    async with world(store) as running:
        ended = await running.run("s -> a -> e")
        with pytest.raises(InvalidInput, match="no node 'b'"):
            await fork(running, ended.id, 3, outputs={"b": 1})
        assert (await running.runner.list_executions(ExecutionQuery())).total == 1


async def test_one_key_makes_one_fork(store: SQLiteStore) -> None:
    async with world(store) as running:
        ended = await running.run("s -> a -> e")
        key = IdempotencyKey("ann", "k", "forkExecution", "hash")
        wish = ForkExecution(ended.id, Seq(3))
        answers = await asyncio.gather(*(running.runner.fork(wish, key) for _ in range(5)))
        assert len({each.execution_id for each in answers}) == 1
        assert sum(not each.is_repeat for each in answers) == 1
        other = IdempotencyKey("ann", "k", "forkExecution", "other")
        with pytest.raises(IdempotencyMismatch):
            await running.runner.fork(wish, other)
        assert (await running.runner.list_executions(ExecutionQuery())).total == 2


async def test_forks_of_forks_go_so_deep_and_no_deeper(store: SQLiteStore) -> None:
    async with world(store) as running:
        ended = await running.run("s -> a -> e")
        newest = ended.id
        for depth in range(forking.DEPTH_MAX):
            newest = await fork(running, newest, 2 + depth % 2)
            assert (await running.ended(newest)).status is _E.COMPLETED
        with pytest.raises(LimitExceeded, match="100 deep"):
            await fork(running, newest, 2)
        opening = [
            each for each in await running.events(newest) if isinstance(each, ExecutionForked)
        ]
        assert 1 <= len(opening) <= 2


# --- children -----------------------------------------------------------------------------------


async def waiting_below(running: World, origin: ExecutionID) -> ExecutionView:
    """The child of a run, once its gate has been reached."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            page = await running.runner.list_executions(ExecutionQuery(parent_id=origin))
            if page.items:
                await running.until(page.items[0].id, NodeStarted, "inner")
                return await child_of(running, origin)
            await asyncio.sleep(0.001)


def named(log: list[Recorded], node: str) -> list[Recorded]:
    return [
        each
        for each in log
        if isinstance(each.event, NodeStarted) and each.event.node_run.node == node
    ]


async def test_children_that_were_running_fork_with_their_parent(store: SQLiteStore) -> None:
    gate, other = Gate(), Gate()
    deeds: dict[str, Deed] = {"p": runs("two"), "inner": gate, "q": other}
    children = {"two": "s -> first -> inner -> e"}
    async with world(store, deeds, children=children) as running:
        origin = await running.start("s -> p -> e; s -> q -> e")
        child = await waiting_below(running, origin)
        other.opened.set()  # An event of the parent that is newer than those of its child.
        await running.until(origin, NodeCompleted, "q")
        forked = await fork(running, origin)
        below = await waiting_below(running, forked)
        assert below.parent_id == forked
        assert (below.fork_of, below.forked_at) == (child.id, child.last_seq)
        gate.opened.set()
        for each in (origin, forked, child.id, below.id):
            assert (await running.ended(each)).status is _E.COMPLETED
        assert len(named(await running.log(below.id), "first")) == 1
        assert running.visits.entered.count("first") == 1


async def test_a_child_that_had_ended_ends_again_and_nothing_of_it_runs_twice(
    store: SQLiteStore,
) -> None:
    gate, other = Gate(), Gate()

    async def runs_both(ctx: ExecutionContext) -> str:
        for key in ("first", "second"):
            await ctx.services.sub_diagrams.run(ChildRun(key, None, None, {}, key=key))
        return "done"

    deeds: dict[str, Deed] = {"p": runs_both, "inner": gate, "q": other}
    children = {"first": "s -> once -> e", "second": "s -> inner -> e"}
    async with world(store, deeds, children=children) as running:
        origin = await running.start("s -> p -> e; s -> q -> e")
        async with asyncio.timeout(SECONDS_MAX):
            await gate.reached.wait()
        other.opened.set()
        await running.until(origin, NodeCompleted, "q")
        forked = await fork(running, origin)
        page = await running.runner.list_executions(ExecutionQuery(parent_id=forked))
        assert len(page.items) == 2
        gate.opened.set()
        for each in (origin, forked, *(row.id for row in page.items)):
            assert (await running.ended(each)).status is _E.COMPLETED
        assert running.visits.entered.count("once") == 1


async def test_a_child_of_a_paused_fork_is_held_with_it(store: SQLiteStore) -> None:
    gate, other = Gate(), Gate()
    deeds: dict[str, Deed] = {"p": runs("two"), "inner": gate, "q": other}
    async with world(store, deeds, children={"two": "s -> first -> inner -> e"}) as running:
        origin = await running.start("s -> p -> e; s -> q -> e")
        await waiting_below(running, origin)
        other.opened.set()
        await running.until(origin, NodeCompleted, "q")
        forked = await fork(running, origin, is_paused=True)
        below = await child_of(running, forked)
        assert below.status is _E.PAUSED
        gate.opened.set()
        assert (await running.ended(origin)).status is _E.COMPLETED
        await running.runner.signal(forked, ResumeRequested())
        assert (await running.ended(forked)).status is _E.COMPLETED
        assert running.visits.entered.count("first") == 1


async def test_a_child_can_be_forked_as_a_run_of_its_own(store: SQLiteStore) -> None:
    async with world(store, {"p": runs("one")}, children=CHILDREN) as running:
        ended = await running.run("s -> p -> e")
        child = await child_of(running, ended.id)
        forked = await end(running, await fork(running, child.id, 3))
        assert (forked.status, forked.parent_id) == (_E.COMPLETED, child.id)
