"""Log lines wait for the next commit, but not for long; reading them waits for none."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from dipeo_server.storage.line_buffer import BUFFERED_CHARACTERS_MAX
from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.records import ONE, TWO, extend, line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = await SQLiteStore.open(path)
    yield store
    await store.close()


def stored(path: Path) -> list[str]:
    """What another process would find."""
    with closing(sqlite3.connect(path)) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM log_lines")]


def wait_for(path: Path, texts: list[str]) -> None:
    """As long as a test may take."""
    while stored(path) != texts:
        time.sleep(0.005)


async def test_lines_ride_with_the_next_commit(store: SQLiteStore, path: Path) -> None:
    await store.append_logs(ONE, [line("one")])
    await store.append_logs(TWO, [line("two")])
    assert (store.commits, stored(path)) == (0, [])
    await extend(store, ONE)
    assert (store.commits, stored(path)) == (1, ["one", "two"])


async def test_lines_are_written_soon_where_nothing_is_committed(
    store: SQLiteStore, path: Path
) -> None:
    await store.append_logs(ONE, [line("alone")])
    await asyncio.to_thread(wait_for, path, ["alone"])
    await store.append_logs(ONE, [line("once more")])
    await asyncio.to_thread(wait_for, path, ["alone", "once more"])
    assert store.commits == 2


async def test_many_small_writes_take_few_commits(store: SQLiteStore) -> None:
    for number in range(1_000):
        await store.append_logs(ONE, [line(str(number))])
    texts = [each.text for each in await store.read_logs(ONE, limit=2_000)]
    assert texts == [str(number) for number in range(1_000)]
    assert store.commits <= 10


async def test_more_than_the_buffer_holds_waits_for_the_disk(
    store: SQLiteStore, path: Path
) -> None:
    block = "x" * (BUFFERED_CHARACTERS_MAX // 4)
    for _ in range(4):
        await store.append_logs(ONE, [line(block)])
    assert stored(path) == []
    await store.append_logs(ONE, [line(block)])
    assert len(stored(path)) == 4
    await store.append_logs(ONE, [line(block * 5)])  # One that is larger than all of it passes.
    assert len(await store.read_logs(ONE)) == 6


async def test_readers_and_writers_at_once_lose_and_repeat_nothing(store: SQLiteStore) -> None:
    seen: list[str] = []

    async def write() -> None:
        for number in range(300):
            await store.append_logs(ONE, [line(str(number))])
            if number % 7 == 0:
                await asyncio.sleep(0)

    async def read() -> None:
        cursor = 0
        while len(seen) < 300:
            for each in await store.read_logs(ONE, after=cursor, limit=50):
                cursor = each.cursor
                seen.append(each.text)

    await asyncio.gather(write(), read(), extend(store, ONE), extend(store, TWO))
    assert seen == [str(number) for number in range(300)]


async def test_lines_that_came_while_others_were_written_are_read_too(store: SQLiteStore) -> None:
    await store.append_logs(ONE, [line("under way")])
    reader = asyncio.create_task(store.read_logs(ONE))
    await asyncio.sleep(0)
    await store.append_logs(ONE, [line("since then")])
    assert [each.text for each in await store.read_logs(ONE)] == ["under way", "since then"]
    await reader


async def test_a_reader_that_goes_away_takes_no_lines_along(store: SQLiteStore) -> None:
    await store.append_logs(ONE, [line("kept")])
    reader = asyncio.create_task(store.read_logs(ONE))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader])
    assert [each.text for each in await store.read_logs(ONE)] == ["kept"]


async def test_closing_writes_what_is_left(path: Path) -> None:
    store = await SQLiteStore.open(path)
    await store.append_logs(ONE, [line("the last word")])
    await store.close()
    assert stored(path) == ["the last word"]


async def test_lone_surrogates_in_a_line_are_mended(store: SQLiteStore) -> None:
    await store.append_logs(ONE, [line("fine: ü🚀"), line("torn: \ud83d")])
    assert [each.text for each in await store.read_logs(ONE)] == ["fine: ü🚀", "torn: ?"]
