"""A full disk costs what was asked meanwhile, and nothing else: no restart, no damage."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dipeo_server.errors import StorageFull
from dipeo_server.storage.sqlite import SQLiteStore
from tests.runtime.world import soon
from tests.storage.disks import grow, small_disk
from tests.storage.records import ONE, TWO, execution, extend, line

LARGE = "x" * 50_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB of our own."""
    with small_disk(tmp_path / "disk", size="2m") as folder:
        yield folder


@pytest.fixture
async def store(disk: Path) -> AsyncIterator[SQLiteStore]:
    store = await SQLiteStore.open(disk / "store.db")
    yield store
    await store.close()


async def fill(store: SQLiteStore) -> int:
    """Append to one execution until the disk is full; gives the last sequence."""
    for after in itertools.count():
        try:
            await extend(store, ONE, after=after, name=f"{after}{LARGE}")
        except StorageFull:
            return after
    raise AssertionError


async def test_reading_goes_on_and_so_does_everything_once_there_is_space(
    store: SQLiteStore, disk: Path
) -> None:
    tail = await fill(store)
    assert tail > 0
    for _ in range(3):
        with pytest.raises(StorageFull, match="The disk that holds the store is full") as refusal:
            await extend(store, ONE, after=tail, name=LARGE * 40)
        assert refusal.value.hint == "Free some space on the disk that holds the store."
    assert len(await store.read(ONE, limit=1_000)) == tail
    summary = await store.summary(ONE)
    assert summary is not None
    assert summary.last_seq == tail
    grow(disk, size="16m")
    await extend(store, ONE, after=tail)
    await extend(store, TWO)
    assert len(await store.read(ONE, limit=1_000)) == tail + 1


async def test_it_is_told_as_long_as_it_is_so_even_if_nobody_writes(
    store: SQLiteStore, disk: Path
) -> None:
    assert not is_full(store)
    await fill(store)
    assert is_full(store)
    tries = store.commits
    await soon(lambda: store.commits > tries + 1)  # A page finds room in the write-ahead log.
    assert is_full(store)
    grow(disk, size="16m")
    await soon(lambda: not is_full(store))


def is_full(store: SQLiteStore) -> bool:
    return isinstance(store.problem, StorageFull)


async def test_all_of_a_batch_are_told_and_none_of_it_is_there(
    store: SQLiteStore, disk: Path
) -> None:
    names = [LARGE * 10 for _ in range(10)]
    appends = [extend(store, execution(n), name=name) for n, name in enumerate(names)]
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StorageFull}
    assert list(await store.active()) == []
    await extend(store, ONE)


async def test_lines_are_lost_rather_than_in_the_way(store: SQLiteStore, disk: Path) -> None:
    for number in range(100):
        await store.append_logs(ONE, [line(f"{number}{LARGE}")])
    assert len(await store.read_logs(ONE, limit=1_000)) == 0
    await extend(store, ONE)
    await store.append_logs(ONE, [line("short")])
    assert [each.text for each in await store.read_logs(ONE)] == ["short"]
