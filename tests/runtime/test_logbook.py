"""Lines that nodes print are kept in order and within bounds, and never cost a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.errors import StorageError, StorageFull
from dipeo_server.runtime.clock import SystemClock
from dipeo_server.runtime.logbook import (
    LINE_CHARACTERS_MAX,
    LINES_PER_RUN_MAX,
    PENDING_CHARACTERS_MAX,
    LogBook,
)
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.opening import open_store
from tests.runtime.watched import WatchedStore
from tests.runtime.world import soon

ONE, TWO = ExecutionID("exec_0_one"), ExecutionID("exec_0_two")
RUN = NodeRun("a", 1)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateStore]:
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'lines.db'}"
    opened = await open_store(url)
    yield opened
    await opened.close()


async def texts(store: StateStore, execution_id: ExecutionID = ONE) -> list[str]:
    lines = await store.read_logs(execution_id, limit=1_000_000)
    return [line.text for line in lines]


async def no_flush_is_left() -> None:
    await soon(lambda: all(task.get_name() != "log-flush" for task in asyncio.all_tasks()))


async def test_lines_are_kept_with_who_printed_them(store: StateStore) -> None:
    book = LogBook(store, SystemClock())
    book.writer(ONE, NodeRun("a", 2, 3))("stderr", "oh", level="WARNING")
    await book.flush()
    [line] = await store.read_logs(ONE)
    assert (line.node_run, line.stream, line.level) == (NodeRun("a", 2, 3), "stderr", "WARNING")
    assert (line.text, line.at.tzinfo is not None) == ("oh", True)
    await book.close()


async def test_lines_are_written_soon_without_being_asked_for(store: StateStore) -> None:
    book = LogBook(store, SystemClock())
    book.writer(ONE, RUN)("stdout", "hello")
    await no_flush_is_left()
    assert await texts(store) == ["hello"]
    await book.close()


async def test_order_is_kept_over_any_number_of_flushes(store: StateStore) -> None:
    book = LogBook(store, SystemClock())
    one, two = book.writer(ONE, RUN), book.writer(TWO, RUN)
    flushes = []
    for number in range(200):
        one("stdout", str(number))
        two("stdout", str(number))
        if number % 7 == 0:
            flushes.append(asyncio.create_task(book.flush()))
            await asyncio.sleep(0)
    await asyncio.gather(*flushes)
    await book.close()
    expected = [str(number) for number in range(200)]
    assert await texts(store, ONE) == await texts(store, TWO) == expected


async def test_a_flush_waits_for_what_another_is_writing() -> None:
    watched = WatchedStore(MemoryStore())
    book = LogBook(watched, SystemClock())
    watched.hold()
    book.writer(ONE, RUN)("stdout", "first")
    flushes = [asyncio.create_task(book.flush()) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not any(flush.done() for flush in flushes)
    watched.let_go()
    await flushes[1]
    assert await texts(watched) == ["first"]
    await book.close()


async def test_a_flush_that_is_cancelled_loses_no_line() -> None:
    watched = WatchedStore(MemoryStore())
    book = LogBook(watched, SystemClock())
    watched.hold()
    book.writer(ONE, RUN)("stdout", "one")
    book.writer(TWO, RUN)("stdout", "two")
    flush = asyncio.create_task(book.flush())
    await asyncio.sleep(0)
    flush.cancel()
    await asyncio.wait([flush])
    watched.let_go()
    await book.flush()
    assert await texts(watched, TWO) == ["two"]
    await book.close()


async def test_long_lines_are_cut_and_said_to_be(store: StateStore) -> None:
    book = LogBook(store, SystemClock())
    book.writer(ONE, RUN)("stdout", "x" * (LINE_CHARACTERS_MAX + 1))
    await book.close()
    assert await texts(store) == ["x" * LINE_CHARACTERS_MAX + "… truncated"]


async def test_a_visit_may_print_so_many_lines_and_the_last_says_so() -> None:
    store = MemoryStore()
    book = LogBook(store, SystemClock())
    write = book.writer(ONE, RUN)
    for _ in range(LINES_PER_RUN_MAX + 10):
        write("stdout", "")
    book.writer(ONE, NodeRun("a", 2))("stdout", "another visit")
    await book.close()
    found = await texts(store)
    assert len(found) == LINES_PER_RUN_MAX + 1
    assert found[-2:] == [f"… output truncated after {LINES_PER_RUN_MAX} lines", "another visit"]


async def test_what_waits_for_a_slow_disk_is_bounded() -> None:
    watched = WatchedStore(MemoryStore())
    book = LogBook(watched, SystemClock())
    watched.hold()
    line = "x" * LINE_CHARACTERS_MAX
    fitting = PENDING_CHARACTERS_MAX // LINE_CHARACTERS_MAX
    for number in range(fitting + 50):
        book.writer(ONE, NodeRun("a", number + 1))("stdout", line)
    watched.let_go()
    await book.flush()
    assert len(await texts(watched)) == fitting
    book.writer(ONE, RUN)("stdout", "there is room again")
    await book.close()
    assert (await texts(watched))[-1] == "there is room again"


@pytest.mark.parametrize("fault", [StorageFull("full"), StorageError("no disk")])
async def test_a_disk_that_takes_nothing_costs_lines_and_nothing_else(fault: StorageError) -> None:
    watched = WatchedStore(MemoryStore())
    book = LogBook(watched, SystemClock())
    watched.log_fault = fault
    book.writer(ONE, RUN)("stdout", "lost")
    await book.flush()
    watched.log_fault = None
    book.writer(ONE, RUN)("stdout", "kept")
    await book.close()
    assert await texts(watched) == ["kept"]


async def test_half_a_character_is_kept_readable(store: StateStore) -> None:
    book = LogBook(store, SystemClock())
    book.writer(ONE, RUN)("stdout", "caf\udce9")
    await book.close()
    assert await texts(store) == ["caf\\udce9"]


async def test_behind_its_end_it_takes_nothing(store: StateStore) -> None:
    book = LogBook(store, SystemClock())
    write = book.writer(ONE, RUN)
    await book.close()
    write("stdout", "too late")
    await book.flush()
    assert await texts(store) == []
    await no_flush_is_left()
