"""Events are chained by their hashes: what is not what was written is found where it is read."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.errors import DamagedLog
from dipeo_server.runtime.history import read_all
from dipeo_server.storage.chain import HASH_BYTES, START, EventRow, checksum, link
from dipeo_server.storage.database import APPLICATION_ID, open_for_writing
from dipeo_server.storage.queries import load_migrations
from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.records import ONE, TWO, extend, keyed, row

EVENTS = st.tuples(
    st.integers(1, 9),
    st.sampled_from(["2026-01-01T12:00:00.000000Z", "2026-01-01T12:00:00.000001Z"]),
    st.sampled_from(["node_started", "node_completed"]),
    st.integers(1, 2),
    st.binary(max_size=8),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def tamper(path: Path, *statements: str) -> None:
    """Change what the triggers protect."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        made = triggers.fetchall()
        for name, _ in made:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in (*statements, *(sql for _, sql in made)):
            connection.execute(statement)


def rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


# --- what is chained ----------------------------------------------------------------------------


@given(one=EVENTS, other=EVENTS, previous=st.sampled_from([START, b"x" * HASH_BYTES]))
def test_a_hash_tells_apart_all_that_an_event_is(
    one: EventRow, other: EventRow, previous: bytes
) -> None:
    assert (link(previous, ONE, one) == link(previous, ONE, other)) == (one == other)
    assert link(previous, ONE, one) != link(previous, TWO, one)
    assert link(previous, ONE, one) != link(b"y" * HASH_BYTES, ONE, one)


async def test_every_event_carries_a_hash_over_the_one_before_it(path: Path) -> None:
    store = await SQLiteStore.open(path)
    await extend(store, ONE, 3)
    await extend(store, TWO, 1)
    await extend(store, ONE, 2, after=3)
    await store.close()
    heads = dict(rows(path, "SELECT id, head_hash FROM executions"))
    for position, id_ in rows(path, "SELECT position, id FROM executions"):
        last = START
        select = "SELECT seq, at, kind, version, payload, hash FROM events"
        for *event, own in rows(path, f"{select} WHERE execution = {position} ORDER BY seq"):
            seq, at, kind, version, payload = event
            last = link(last, id_, (seq, at, kind, version, payload))
            assert own == last
        assert heads[id_] == last


async def test_an_append_without_events_keeps_the_chain(path: Path) -> None:
    store = await SQLiteStore.open(path)
    await extend(store, ONE, 2)
    await store.append(ONE, (), after=Seq(2), summary=row(ONE, 2), answers=[keyed("k")])
    await extend(store, ONE, 1, after=2)
    assert len(await store.read(ONE)) == 3
    await store.close()


async def test_a_refused_append_leaves_no_link_behind(path: Path) -> None:
    store = await SQLiteStore.open(path)
    await extend(store, ONE, 2, keys=[keyed("k")])
    appends = [
        extend(store, ONE, 1, after=2, keys=[keyed("k")]),
        extend(store, ONE, 1, after=7),
        extend(store, ONE, 1, after=2),
    ]
    refused = await asyncio.gather(*appends, return_exceptions=True)
    assert [isinstance(each, Exception) for each in refused] == [True, True, False]
    assert len(await store.read(ONE)) == 3
    await store.close()


async def test_rows_beside_the_log_have_checksums(path: Path) -> None:
    store = await SQLiteStore.open(path)
    await extend(store, ONE, 2, name="Jürgen", keys=[keyed("k")])
    await extend(store, ONE, 1, after=2, error={"code": "X", "message": "\u2028"})
    await store.close()
    columns = (
        "status, diagram_id, parent_id, waiting_barriers, last_seq, name, content_hash, created_at,"
        "started_at, ended_at, tokens_input, tokens_output, tokens_cached, error, id"
    )
    for table, names in [
        ("executions", columns),
        (
            "idempotency",
            "principal, key, mutation, request_hash, execution_id, answer, expires_at",
        ),
    ]:
        statement = f"SELECT {names}, checksum FROM {table}"  # noqa: S608 - names of our own.
        ((*values, own),) = rows(path, statement)
        assert checksum(values) == own


async def test_what_was_there_before_chains_is_chained_as_it_is(path: Path) -> None:
    store = await SQLiteStore.open(path)
    await extend(store, ONE, 5, keys=[keyed("k")])
    await extend(store, TWO, 2)
    await store.close()
    chained = dump(path)
    old = unchained(path)
    async with AsyncExitStack() as stack:
        await open_for_writing(old, stack, load_migrations())
    assert dump(old) == chained
    store = await SQLiteStore.open(old)
    await extend(store, ONE, 1, after=5)
    assert len(await store.read(ONE)) == 6
    await store.close()


def dump(path: Path) -> list[Sequence[Any]]:
    return [
        row
        for table in ("executions", "events", "idempotency")
        for row in rows(path, "SELECT * FROM " + table)  # noqa: S608 - names of our own.
    ]


def unchained(path: Path) -> Path:
    """The same store as it was at version 2."""
    old = path.with_name("old.db")
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        for migration in load_migrations()[:2]:
            connection.executescript(migration)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 2")
        connection.execute("ATTACH ? AS new", (str(path),))
        for table in ("executions", "events", "idempotency"):
            info = connection.execute(f"PRAGMA main.table_info({table})")
            names = ", ".join(column[1] for column in info)
            copy = f"INSERT INTO main.{table} ({names}) SELECT {names} FROM new.{table}"  # noqa: S608 - names of our own.
            connection.execute(copy)
    return old


# --- damage -------------------------------------------------------------------------------------

DAMAGE = {
    "payload": "UPDATE events SET payload = CAST(payload || x'20' AS BLOB) WHERE seq = 4",
    "kind": "UPDATE events SET kind = 'node_readied' WHERE seq = 4",
    "time": "UPDATE events SET at = '2026-01-01T12:00:00.000001Z' WHERE seq = 4",
    "hash": "UPDATE events SET hash = zeroblob(16) WHERE seq = 4",
    "gap": "DELETE FROM events WHERE seq = 4",
    "text": "UPDATE events SET kind = CAST(x'ff' AS TEXT) WHERE seq = 4",
    "type": "UPDATE events SET version = -9223372036854775808 WHERE seq = 4",
    "swap": "UPDATE events SET payload = (SELECT payload FROM events WHERE seq = 5) WHERE seq = 4",
}


@pytest.mark.parametrize("name", DAMAGE)
async def test_damage_is_named_where_it_is_read_and_others_go_on(path: Path, name: str) -> None:
    store = await SQLiteStore.open(path)
    await extend(store, ONE, 9)
    await store.close()
    tamper(path, DAMAGE[name])
    store = await SQLiteStore.open(path)
    assert [recorded.seq for recorded in await store.read(ONE, limit=3)] == [1, 2, 3]
    for after, limit in ((0, 100), (2, 5), (3, 1)):
        with pytest.raises(DamagedLog) as damage:
            await store.read(ONE, after=Seq(after), limit=limit)
        assert (damage.value.execution_id, damage.value.seq) == (ONE, 4)
        assert damage.value.message.startswith(f"The log of {ONE} is damaged at event 4: ")
        assert "verify" in (damage.value.hint or "")
    with pytest.raises(DamagedLog, match=r"damaged at event 4: .* Nothing is added to it\."):
        await extend(store, ONE, after=9)
    summary = await store.summary(ONE)
    assert summary is not None
    assert summary.last_seq == 9
    await extend(store, TWO)
    assert len(await store.read(TWO)) == 1
    await store.close()


@pytest.mark.parametrize("column", ["name", "status", "error"])
@pytest.mark.parametrize("value", ["x'ff'", "'RUNNINF'", "'{'"])
async def test_a_damaged_row_keeps_no_other_from_being_listed(
    path: Path, column: str, value: str
) -> None:
    store = await SQLiteStore.open(path)
    for id_ in (ONE, TWO):
        await extend(store, id_, 2)
    await store.close()
    change = f"UPDATE executions SET {column} = CAST({value} AS TEXT)"  # noqa: S608 - values of our own.
    tamper(path, f"{change} WHERE position = 1")
    store = await SQLiteStore.open(path)
    page = await store.list_executions(ExecutionQuery())
    assert [summary.id for summary in page.items] == [TWO]
    with pytest.raises(DamagedLog, match=f"The row of {ONE} is not what was written"):
        await store.summary(ONE)
    assert len(await store.read(ONE)) == 2
    await store.close()


@pytest.mark.parametrize(
    "statement, seq",
    [
        ("DELETE FROM events WHERE seq > 5", 6),
        ("DELETE FROM events", 1),
        ("UPDATE events SET hash = zeroblob(16) WHERE seq = 9", 9),
        ("UPDATE executions SET head_hash = zeroblob(16)", 9),
        ("UPDATE executions SET last_seq = 7", 8),
    ],
)
async def test_a_live_log_that_lost_its_end_is_found_when_the_store_is_opened(
    path: Path, statement: str, seq: int
) -> None:
    store = await SQLiteStore.open(path)
    await extend(store, ONE, 9)
    await store.close()
    tamper(path, statement)
    store = await SQLiteStore.open(path)
    with pytest.raises(DamagedLog) as damage:
        await extend(store, ONE, after=9)
    assert damage.value.seq == seq
    with pytest.raises(DamagedLog):
        await read_all(store, ONE)
    assert len(await store.read(ONE, limit=seq - 1)) == seq - 1
    await extend(store, TWO)
    await store.close()


async def test_pages_that_sqlite_cannot_read_are_damage_of_the_execution(path: Path) -> None:
    store = await SQLiteStore.open(path)
    await extend(store, ONE, 20)
    await extend(store, TWO, 200)
    await store.close()
    if not has_dbstat():
        pytest.skip("this SQLite cannot tell which page is whose (no dbstat)")
    leaves = "FROM dbstat WHERE name = 'events' AND pagetype = 'leaf'"
    ((page, size),) = rows(path, f"SELECT pageno, pgsize {leaves} ORDER BY path LIMIT 1")
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x00" * 64)
    store = await SQLiteStore.open(path)
    with pytest.raises(DamagedLog, match=r"unreadable \(database disk image is malformed\)"):
        await store.read(ONE)
    with pytest.raises(DamagedLog, match="Nothing is added to it"):
        await extend(store, ONE, after=20)
    await extend(store, TWO, after=200)
    assert len(await store.read(TWO, after=Seq(100))) == 101
    await store.close()


def has_dbstat() -> bool:
    with closing(sqlite3.connect(":memory:")) as connection:
        options = connection.execute("PRAGMA compile_options").fetchall()
    return ("ENABLE_DBSTAT_VTAB",) in options
