"""Readers see whole commits and hold up nobody; strangers with the file open break nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.records import ONE, execution, extend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = await SQLiteStore.open(path)
    yield store
    await store.close()


async def test_a_reader_in_the_middle_of_its_rows_does_not_block_the_writer(
    store: SQLiteStore, path: Path
) -> None:
    await extend(store, ONE, 100)
    with closing(sqlite3.connect(path)) as stranger:
        cursor = stranger.execute("SELECT seq FROM events ORDER BY seq")
        begun = cursor.fetchmany(10)
        for after in range(100, 200):
            await extend(store, ONE, after=after)
        rest = cursor.fetchall()
    assert [seq for (seq,) in begun + rest] == list(range(1, 101))  # As of when it began.
    assert len(await store.read(ONE, limit=1_000)) == 200


async def test_what_was_acknowledged_is_seen_and_nothing_is_seen_in_part(
    store: SQLiteStore,
) -> None:
    size, rounds, chains = 5, 40, 8
    acked = dict.fromkeys(range(chains), 0)

    async def write(number: int) -> None:
        for after in range(0, size * rounds, size):
            await extend(store, execution(number), size, after=after)
            acked[number] = after + size

    async def read(number: int) -> None:
        seen = 0
        while seen < size * rounds:
            known = acked[number]
            log = await store.read(execution(number), limit=1_000)
            assert len(log) >= max(known, seen)
            assert len(log) % size == 0
            seen = len(log)

    async def count() -> None:
        total = 0
        while total < chains or any(each < size * rounds for each in acked.values()):
            page = await store.list_executions(ExecutionQuery(first=chains))
            assert len(page.items) >= total
            total = len(page.items)

    numbers = range(chains)
    await asyncio.gather(*map(write, numbers), *map(read, numbers), count())


async def test_a_stranger_who_writes_makes_an_append_wait_but_not_fail(
    store: SQLiteStore, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        appending = asyncio.create_task(extend(store, ONE, 3))
        await asyncio.sleep(0)
        assert len(await store.read(ONE)) == 0  # Reading goes on meanwhile.
        assert not appending.done()
        release = threading.Thread(target=stranger.execute, args=("COMMIT",))
        release.start()
        await appending
        release.join()
    assert len(await store.read(ONE)) == 3
