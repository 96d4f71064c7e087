"""Many appends share a commit, and nobody who goes away can tear one."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.errors import ConcurrentAppend, IdempotencyMismatch, StorageError
from dipeo_server.storage.database import open_for_writing
from dipeo_server.storage.queries import load_migrations
from dipeo_server.storage.sqlite import SQLiteStore
from dipeo_server.storage.writer import Writer
from tests.storage.records import NOON, ONE, execution, extend, keyed, row


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    store = await SQLiteStore.open(tmp_path / "store.db")
    yield store
    await store.close()


async def test_appends_at_the_same_time_share_their_commits(store: SQLiteStore) -> None:
    await asyncio.gather(*(extend(store, execution(number), 2) for number in range(1_000)))
    assert 2 <= store.commits <= 20  # 512 units at most in each


async def test_appends_one_after_the_other_take_one_commit_each(store: SQLiteStore) -> None:
    for after in range(200):
        await extend(store, ONE, 1, after=after)
    assert store.commits <= 1.05 * 200


async def test_an_append_crosses_to_the_writers_thread_once(
    store: SQLiteStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "aiosqlite")
    for after in range(10):
        await extend(store, ONE, 5, after=5 * after, keys=[keyed(str(after))])
    crossings = [each for each in caplog.messages if each.startswith("executing")]
    assert len(crossings) == 10


async def test_a_unit_that_fails_takes_no_other_with_it(store: SQLiteStore) -> None:
    await extend(store, ONE, 1, keys=[keyed("used")])
    commits = store.commits
    too_large = TokenUsage(2**70)
    outcomes = await asyncio.gather(
        extend(store, execution(2), 3),
        extend(store, ONE, 1),
        extend(store, execution(3), 3, keys=[keyed("used")]),
        extend(store, execution(4), 3, token_usage=too_large),
        extend(store, execution(5), 3, error={"message": object()}),
        extend(store, execution(6), 3),
        return_exceptions=True,
    )
    kinds = [type(outcome) for outcome in outcomes]
    # What cannot be encoded never reaches the writer; each of the rest is undone alone.
    assert kinds == [list, ConcurrentAppend, IdempotencyMismatch, StorageError, StorageError, list]
    assert store.commits == commits + 1
    assert [len(await store.read(execution(number))) for number in range(1, 7)] == [
        1,
        3,
        0,
        0,
        0,
        3,
    ]


async def test_an_error_of_the_store_itself_fails_its_batch_and_no_later_one(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        opened = await open_for_writing(tmp_path / "store.db", stack, load_migrations())
        writer = Writer(*opened)
        stack.push_async_callback(writer.close)

        def count(number: int, connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO execution_counts VALUES (?, 1)", (str(number),))

        def fail(connection: sqlite3.Connection) -> None:
            connection.execute("SELECT * FROM nowhere")

        outcomes = await asyncio.gather(
            writer.commit(partial(count, 1)),
            writer.commit(fail),
            writer.commit(partial(count, 2)),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [StorageError] * 3
        assert "no such table: nowhere" in str(outcomes[0])
        await writer.commit(partial(count, 3))
        found = await opened[0].execute_fetchall("SELECT status FROM execution_counts")
        assert list(found) == [("3",)]


async def test_a_storm_of_cancelled_callers_tears_nothing(store: SQLiteStore) -> None:
    """Each append is there as a whole or not at all, whenever its caller went away."""
    chance = random.Random(8412)
    committed_unheard = 0

    async def impatient(number: int) -> bool:
        caller = asyncio.create_task(extend(store, execution(number), 3, keys=[keyed(str(number))]))
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() * 0.02)
        caller.cancel()
        return isinstance((await asyncio.gather(caller, return_exceptions=True))[0], list)

    heard = await asyncio.gather(*(impatient(number) for number in range(2_000)))
    await extend(store, execution(9_999))  # Nothing was left open, and all of the storm is over.
    for number, was_heard in enumerate(heard):
        log = await store.read(execution(number))
        summary = await store.summary(execution(number))
        answer = await store.find_answer("anna", str(number), now=NOON)
        assert len(log) in (0, 3)
        assert (summary is not None) == (answer is not None) == (len(log) == 3)
        assert len(log) == 3 or not was_heard
        committed_unheard += len(log) == 3 and not was_heard
    assert committed_unheard
    assert not all(heard)


async def test_cancelling_a_caller_does_not_cancel_its_unit(store: SQLiteStore) -> None:
    caller = asyncio.create_task(extend(store, ONE, 2))
    await asyncio.sleep(0)  # It has handed in its unit.
    caller.cancel()
    await asyncio.wait([caller])
    await extend(store, execution(2))
    assert caller.cancelled()
    assert len(await store.read(ONE)) == 2


async def test_a_chain_goes_on_from_what_a_cancelled_caller_committed(store: SQLiteStore) -> None:
    caller = asyncio.create_task(extend(store, ONE, 2))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(ConcurrentAppend, match="ends at 2"):
        await extend(store, ONE, 1)
    await extend(store, ONE, 1, after=2)


async def test_keys_that_expired_long_ago_are_swept(store: SQLiteStore, tmp_path: Path) -> None:
    for number in range(3):
        await extend(store, execution(number), keys=[keyed(f"old {number}", expires_at=NOON)])
    for number in itertools.count(3):
        await extend(store, execution(number), keys=[keyed(f"new {number}")])
        if len(keys := stored_keys(tmp_path / "store.db")) < number:
            break
    assert all(key.startswith("new") for key in keys)
    assert len(keys) == number - 2


def stored_keys(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [key for (key,) in connection.execute("SELECT key FROM idempotency")]
    finally:
        connection.close()


async def test_an_append_of_nothing_but_a_key_is_kept(store: SQLiteStore) -> None:
    await extend(store, ONE, 2)
    await store.append(ONE, [], after=Seq(2), summary=row(ONE, 2), answers=[keyed("k")])
    assert await store.find_answer("anna", "k", now=NOON) is not None
