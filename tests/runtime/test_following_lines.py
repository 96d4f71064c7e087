"""Lines of a run are followed live, complete and in order, and nobody waits for a reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import LogRecord, StateStore
from dipeo_server.domains.execution.signals import AbortRequested
from dipeo_server.errors import NotFound, Unavailable
from dipeo_server.runtime.logbook import LINE_CHARACTERS_MAX
from dipeo_server.storage.opening import open_store
from tests.runtime.world import SECONDS_MAX, Gate, World, soon, world

LINES = 10_000


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateStore]:
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'lines.db'}"
    opened = await open_store(url)
    yield opened
    await opened.close()


async def prints(ctx: ExecutionContext) -> str:
    """A deed: print many lines, and let others run now and then."""
    for number in range(LINES):
        ctx.log("stderr" if number % 3 == 0 else "stdout", f"{ctx.node_run.node} {number}")
        if number % 100 == 0:
            await asyncio.sleep(0.001)
    return "printed"


def printed(node: str) -> list[str]:
    return [f"{node} {number}" for number in range(LINES)]


async def followed(
    running: World, id_: ExecutionID, *, after: int = 0, node: str | None = None, pause: float = 0
) -> list[LogRecord]:
    """All lines until the end, read by somebody who takes a rest now and then."""
    found: list[LogRecord] = []
    lines = running.runner.follow_logs(id_, after=after, node=node)
    async with asyncio.timeout(SECONDS_MAX), aclosing(lines):
        async for line in lines:
            found.append(line)
            if pause and len(found) % 500 == 0:
                await asyncio.sleep(pause)
    return found


async def first(running: World, id_: ExecutionID, count: int) -> list[LogRecord]:
    """So many lines, after which the reader leaves."""
    found: list[LogRecord] = []
    lines = running.runner.follow_logs(id_, after=0)
    async with asyncio.timeout(SECONDS_MAX), aclosing(lines):
        async for line in lines:
            found.append(line)
            if len(found) == count:
                break
    return found


async def test_every_line_is_read_once_and_in_order_while_it_is_printed(store: StateStore) -> None:
    """003-04: line by line, in order, tagged with node and stream."""
    async with world(store, {"a": prints, "b": prints}) as running:
        id_ = await running.start("s -> a -> e; s -> b -> e")
        from_the_start = asyncio.create_task(followed(running, id_))
        of_one_node = asyncio.create_task(followed(running, id_, node="b"))
        known = await first(running, id_, 1_234)
        from_there = asyncio.create_task(followed(running, id_, after=known[-1].cursor))
        assert not from_the_start.done()
        lines = await from_the_start
        assert [line.text for line in await of_one_node] == printed("b")
        assert known + await from_there == lines
        assert await followed(running, id_) == lines
    for node in ("a", "b"):
        own = [line for line in lines if line.node_run.node == node]
        assert [line.text for line in own] == printed(node)
        assert [line.stream for line in own[:4]] == ["stderr", "stdout", "stdout", "stderr"]
    cursors = [line.cursor for line in lines]
    assert cursors == sorted(set(cursors))


async def test_a_line_is_read_while_its_node_still_runs(store: StateStore) -> None:
    """003-04: in real time."""
    gate = Gate()

    async def speaks(ctx: ExecutionContext) -> str:
        ctx.log("stdout", "here I am")
        return await gate(ctx)

    async with world(store, {"a": speaks}) as running:
        id_ = await running.start("s -> a -> e")
        assert [line.text for line in await first(running, id_, 1)] == ["here I am"]
        assert running.visits.inside == ["a"]
        gate.opened.set()
        await running.ended(id_)


async def test_a_slow_reader_slows_no_node_and_misses_nothing(store: StateStore) -> None:
    """003-W8: the lines go to the store; who reads them may take any time."""
    async with world(store, {"a": prints}) as running:
        id_ = await running.start("s -> a -> e")
        slow = asyncio.create_task(followed(running, id_, pause=0.1))
        await running.ended(id_)
        assert not slow.done()
        assert [line.text for line in await slow] == printed("a")


async def test_a_run_that_prints_nothing_is_followed_to_its_end(store: StateStore) -> None:
    gate = Gate()
    async with world(store, {"a": gate}) as running:
        id_ = await running.start("s -> a -> e")
        reader = asyncio.create_task(followed(running, id_))
        await gate.reached.wait()
        assert not reader.done()
        await running.runner.signal(id_, AbortRequested())
        assert await reader == []


async def test_an_unknown_run_cannot_be_followed(store: StateStore) -> None:
    async with world(store) as running:
        with pytest.raises(NotFound):
            await followed(running, ExecutionID("exec_0_nobody"))


async def test_whoever_follows_is_told_that_the_server_stops(store: StateStore) -> None:
    gate = Gate()
    async with world(store, {"a": gate}) as running:
        id_ = await running.start("s -> a -> e")
        reader = asyncio.create_task(followed(running, id_))
        await gate.reached.wait()
    with pytest.raises(Unavailable):
        await reader


async def test_what_a_model_says_comes_in_larger_pieces_than_it_was_said(
    store: StateStore,
) -> None:
    async def says(ctx: ExecutionContext) -> str:
        for number in range(300):
            ctx.log("tokens", f" {number}")
        ctx.log("stdout", "between")
        ctx.log("tokens", "x" * LINE_CHARACTERS_MAX)
        ctx.log("tokens", "y")
        return "said"

    async with world(store, {"a": says}) as running:
        view = await running.run("s -> a -> e")
        lines = await followed(running, view.id)
    assert [line.stream for line in lines] == ["tokens", "stdout", "tokens", "tokens"]
    assert lines[0].text == "".join(f" {number}" for number in range(300))


async def test_readers_who_leave_leave_nothing_behind(store: StateStore) -> None:
    gate = Gate()
    async with world(store, {"a": gate}) as running:
        id_ = await running.start("s -> a -> e")
        readers = [asyncio.create_task(followed(running, id_)) for _ in range(5)]
        await gate.reached.wait()
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        gate.opened.set()
        await running.ended(id_)
        await soon(lambda: all(reader.cancelled() for reader in readers))
