"""The file of a store: whose it is, who may read it, what it refuses, how it grows up."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from dipeo_server.errors import StorageError
from dipeo_server.storage.database import APPLICATION_ID, open_for_reading, open_for_writing
from dipeo_server.storage.queries import load_migrations
from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.records import ONE, extend, keyed, line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def fill(path: Path) -> None:
    store = await SQLiteStore.open(path)
    await extend(store, ONE, 3, keys=[keyed("k")])
    await store.append_logs(ONE, [line("one")])
    await store.close()


def ask(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """Do something to the file behind the server's back; the rows of the last statement."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


# --- the file -----------------------------------------------------------------------------------


async def test_a_fresh_store_is_marked_and_of_the_newest_version(path: Path) -> None:
    await fill(path)
    assert ask(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert ask(path, "PRAGMA user_version") == [(len(load_migrations()),)]
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]


async def test_nobody_else_may_read_what_is_made(tmp_path: Path) -> None:
    path = tmp_path / "made" / "here" / "store.db"
    store = await SQLiteStore.open(path)
    await extend(store, ONE)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    await store.close()
    assert modes == dict.fromkeys(
        ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"], 0o600
    )
    for folder in (path.parent, path.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_closed_store_is_one_file_and_a_lock_nobody_holds(path: Path) -> None:
    await fill(path)
    assert sorted(each.name for each in path.parent.iterdir()) == ["store.db", "store.db.lock"]
    store = await SQLiteStore.open(path)
    assert [recorded.seq for recorded in await store.read(ONE)] == [1, 2, 3]
    await store.close()


async def test_the_write_ahead_log_is_emptied_even_while_somebody_looks_on(path: Path) -> None:
    store = await SQLiteStore.open(path)
    await extend(store, ONE)
    with closing(sqlite3.connect(path)) as onlooker:
        assert onlooker.execute("SELECT count(*) FROM events").fetchall() == [(1,)]
        await store.close()
        assert path.with_name("store.db-wal").stat().st_size == 0


# --- what is refused ----------------------------------------------------------------------------


async def refusal_of(path: Path) -> StorageError:
    with pytest.raises(StorageError) as refusal:
        await SQLiteStore.open(path)
    return refusal.value


async def test_a_newer_store_is_refused(path: Path) -> None:
    await fill(path)
    ask(path, "PRAGMA user_version = 99")
    refusal = await refusal_of(path)
    assert refusal.message == f"{path} was written by a newer version (its store version is 99)."
    assert refusal.hint == "Run that version, or give another --store."


async def test_a_sqlite_file_of_somebody_else_is_refused_and_left_alone(path: Path) -> None:
    ask(path, "CREATE TABLE theirs (x)", "INSERT INTO theirs VALUES (1)")
    before = path.read_bytes()
    refusal = await refusal_of(path)
    assert "no store of this server" in refusal.message
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_text("nodes: []\n" * 100)
    assert "cannot be opened as a store: file is not a database" in str(await refusal_of(path))


async def test_a_folder_is_refused(path: Path) -> None:
    path.mkdir()
    assert str(await refusal_of(path)) == f"{path} cannot be opened as a store: Is a directory."


async def test_a_path_through_a_file_is_refused(path: Path) -> None:
    path.write_text("")
    refusal = await refusal_of(path / "store.db")
    assert refusal.message.endswith("cannot be opened as a store: Not a directory.")
    assert refusal.hint == "Give another path with --store."


async def test_links_in_a_circle_are_refused(path: Path) -> None:
    path.symlink_to(path)
    assert "cannot be opened as a store" in str(await refusal_of(path))


async def test_a_store_that_was_refused_can_be_opened_later(path: Path) -> None:
    await fill(path)
    ask(path, "PRAGMA user_version = 99")
    await refusal_of(path)
    ask(path, f"PRAGMA user_version = {len(load_migrations())}")
    await (await SQLiteStore.open(path)).close()


# --- the log is never changed -------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement, refusal",
    [
        ("UPDATE events SET seq = 9 WHERE seq = 3", "events are never changed"),
        ("UPDATE events SET payload = x'00'", "events are never changed"),
        ("DELETE FROM events WHERE seq = 3", "events are never deleted"),
        (
            "INSERT INTO events SELECT execution, 3, at, kind, version, payload, hash FROM events",
            "UNIQUE constraint failed",
        ),
        ("INSERT INTO events VALUES (1, 0, '', 'k', 1, x'', x'')", "CHECK constraint failed"),
        ("INSERT INTO events VALUES (1, 4, '', 'k', 'one', x'', x'')", "cannot store TEXT value"),
    ],
)
async def test_events_are_never_changed(path: Path, statement: str, refusal: str) -> None:
    await fill(path)
    before = ask(path, "SELECT * FROM events")
    with pytest.raises(sqlite3.IntegrityError, match=refusal):
        ask(path, statement)
    assert ask(path, "SELECT * FROM events") == before


async def test_not_even_by_replacing_them(path: Path) -> None:
    """SQLite deletes what REPLACE replaces without asking, unless the connection says otherwise."""
    await fill(path)
    async with AsyncExitStack() as stack:
        connection, _ = await open_for_writing(path, stack, load_migrations())
        with pytest.raises(sqlite3.IntegrityError, match="events are never deleted"):
            await connection.execute_fetchall(
                "INSERT OR REPLACE INTO events VALUES (1, 2, '', 'k', 1, x'', x'')"
            )


# --- the connections ----------------------------------------------------------------------------


async def test_the_writer_is_as_durable_as_it_can_be(path: Path) -> None:
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "recursive_triggers": 1,
        "busy_timeout": 5000,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "journal_size_limit": 64 * 1024 * 1024,
        "wal_autocheckpoint": 1000,
        "temp_store": 2,
    }
    async with AsyncExitStack() as stack:
        connection, _ = await open_for_writing(path, stack, load_migrations())
        for name, value in expected.items():
            assert list(await connection.execute_fetchall(f"PRAGMA {name}")) == [(value,)], name


async def test_a_reader_cannot_write(path: Path) -> None:
    await fill(path)
    async with AsyncExitStack() as stack:
        connection = await open_for_reading(path, stack)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await connection.execute_fetchall("DELETE FROM idempotency")


# --- versions to come ---------------------------------------------------------------------------

NEXT = "CREATE TABLE added (x INTEGER) STRICT;"


async def open_with(path: Path, migrations: Sequence[str]) -> None:
    async with AsyncExitStack() as stack:
        await open_for_writing(path, stack, migrations)


async def test_an_older_store_is_kept_aside_and_brought_up_to_date(path: Path) -> None:
    await fill(path)
    await open_with(path, [*load_migrations(), NEXT, "INSERT INTO added VALUES (1);"])
    assert ask(path, "PRAGMA user_version") == [(len(load_migrations()) + 2,)]
    assert ask(path, "SELECT * FROM added") == [(1,)]
    assert ask(path, "SELECT count(*) FROM events") == [(3,)]
    backup = path.with_name(f"store.db.version-{len(load_migrations())}")
    assert ask(backup, "PRAGMA user_version") == [(len(load_migrations()),)]
    assert ask(backup, "SELECT count(*) FROM events") == [(3,)]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


async def test_a_migration_that_fails_changes_nothing_and_can_be_tried_again(path: Path) -> None:
    await fill(path)
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        await open_with(path, [*load_migrations(), NEXT + "BROKEN;"])
    assert ask(path, "PRAGMA user_version") == [(len(load_migrations()),)]
    assert ask(path, "SELECT count(*) FROM sqlite_master WHERE name = 'added'") == [(0,)]
    await open_with(path, [*load_migrations(), NEXT])
    assert ask(path, "PRAGMA user_version") == [(len(load_migrations()) + 1,)]


async def test_a_current_store_is_not_copied(path: Path) -> None:
    await fill(path)
    await open_with(path, load_migrations())
    assert not list(path.parent.glob("*version*"))
