"""Forks on disk: they share what is stored, hold what they go on from, and are verified with it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from dipeo_server.domains.execution.ids import Seq
from dipeo_server.errors import DamagedLog
from dipeo_server.storage.backup import back_up
from dipeo_server.storage.chain import ChainEnd, add_functions, link
from dipeo_server.storage.codec import EventCodec, stamp
from dipeo_server.storage.queries import load_migrations
from dipeo_server.storage.rows import summary_row
from dipeo_server.storage.sqlite import SQLiteStore
from dipeo_server.storage.verification import verify_store
from tests.storage.records import NOON, ONE, TWO, execution
from tests.storage.runs import LOOP, Run
from tests.storage.test_chain import rows, tamper
from tests.storage.test_pruning import left, prune, write

YOUNG = NOON + timedelta(days=10)
MIB = 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def write_family(path: Path) -> Run:
    """A run, a fork of it, and a fork of that; all have ended."""
    origin = Run(ONE, text=LOOP).turn(3).end()
    fork = origin.fork(TWO, 8).turn(2).end()
    await write(path, origin, fork, fork.fork(execution(3)).end())
    return origin


async def test_no_event_of_the_origin_is_stored_again(path: Path) -> None:
    origin = await write_family(path)
    events = rows(
        path,
        "SELECT x.id, min(seq) FROM events JOIN executions x ON position = execution GROUP BY x.id",
    )
    assert dict(events) == {ONE: 1, TWO: 9, execution(3): Seq(dict(events)[execution(3)])}
    assert dict(events)[execution(3)] > 9
    assert rows(path, "SELECT count(*) FROM events WHERE execution = 1") == [(len(origin.log),)]


async def growth_of_forks(path: Path, mebibytes: int) -> int:
    """By how many bytes 100 forks of a run with such outputs make a store larger.

    All files count: the store, its write-ahead log, and what lies beside it.
    """
    origin, piece = Run(ONE, text=LOOP), "x" * (MIB // 5)
    for _ in range(mebibytes * MIB // len(piece) + 3):
        origin.step(piece, port="condtrue")
    await write(path, origin.end())
    before = everything(path.parent)
    store = await SQLiteStore.open(path)
    for number in range(100):
        at = len(origin.log) - 1 - number % 5
        await origin.fork(execution(1_000 + number), at).write(store)
    await store.close()
    assert before > mebibytes * MIB
    return everything(path.parent) - before


def everything(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


async def test_a_hundred_forks_of_a_large_run_are_small(path: Path) -> None:
    assert await growth_of_forks(path, 5) < 2 * MIB


@pytest.mark.prove
@pytest.mark.timeout(600)
async def test_a_hundred_forks_of_fifty_mebibytes_are_small(path: Path) -> None:
    grown = await growth_of_forks(path, 50)
    print(f"100 forks of a run with 50 MiB of outputs: {grown / MIB:.2f} MiB")
    assert grown < 2 * MIB


# --- verified -----------------------------------------------------------------------------------


async def test_a_chain_goes_on_from_that_of_the_origin(path: Path) -> None:
    await write_family(path)
    hashes = (
        "SELECT hash FROM events JOIN executions x ON position = execution "
        "WHERE x.id = ? AND seq = ?"
    )
    with closing(sqlite3.connect(path)) as connection:
        (shared,) = connection.execute(hashes, (ONE, 8)).fetchone()
        (own,) = connection.execute(hashes, (TWO, 9)).fetchone()
        event = connection.execute(
            "SELECT seq, at, kind, version, payload FROM events "
            "JOIN executions x ON position = execution WHERE x.id = ? AND seq = 9",
            (TWO,),
        ).fetchone()
    assert link(shared, TWO, event) == own
    assert verify_store(path).damage == ()


async def test_what_is_damaged_in_an_origin_is_told_of_its_forks_as_well(path: Path) -> None:
    await write_family(path)
    tamper(
        path,
        "UPDATE events SET payload = CAST(payload || ' ' AS BLOB) WHERE execution = 1 AND seq = 4",
    )
    found = {(each.execution_id, each.seq) for each in verify_store(path).damage}
    assert {(ONE, 4), (TWO, 4), (execution(3), 4)} <= found
    store = await SQLiteStore.open(path)
    with pytest.raises(DamagedLog, match=f"{TWO} is damaged at event 4"):
        await store.read(TWO)
    await store.close()


@pytest.mark.parametrize(
    "change",
    ["fork_of = NULL", "forked_at = NULL", "forked_at = 7", "fork_of = id", "fork_of = 'nobody'"],
)
async def test_an_origin_that_has_changed_is_found(path: Path, change: str) -> None:
    await write_family(path)
    tamper(path, f"UPDATE executions SET {change} WHERE position = 2")  # noqa: S608 - fixed texts.
    assert any("The row of" in each.message for each in verify_store(path).damage)


async def test_a_backup_has_forks_that_can_be_read(path: Path, tmp_path: Path) -> None:
    origin = await write_family(path)
    copy = tmp_path / "copy.db"
    assert back_up(path, copy).is_sound
    store = await SQLiteStore.open(copy)
    assert list(await store.read(TWO, limit=8)) == origin.log[:8]
    await store.close()


# --- pruned -------------------------------------------------------------------------------------


async def test_what_a_kept_fork_goes_on_from_is_kept(path: Path) -> None:
    origin = Run(ONE).end()
    await write(path, origin, origin.fork(TWO, 5, when=YOUNG).end(), Run(execution(3)).end())
    pruned = prune(path)
    assert (pruned.executions, pruned.kept, pruned.forked) == (1, 0, 1)
    assert await left(path) == [ONE, TWO]


async def test_a_fork_that_still_runs_keeps_its_origin(path: Path) -> None:
    origin = Run(ONE).end()
    fork = origin.fork(TWO, 5)
    await write(path, origin, fork, fork.fork(execution(3), 6).end())
    assert fork.summary.status.is_active
    pruned = prune(path)
    assert (pruned.executions, pruned.forked) == (1, 1)
    assert await left(path) == [ONE, TWO]


async def test_forks_go_with_their_origins_or_before_them(path: Path) -> None:
    origin = Run(ONE).end()
    fork = origin.fork(TWO, 5).end()
    await write(path, origin, fork, fork.fork(execution(3), 6).end())
    own = rows(path, "SELECT count(*) FROM events")[0][0]
    pruned = prune(path)
    assert (pruned.executions, pruned.events, pruned.forked) == (3, own, 0)
    assert await left(path) == []


async def test_an_old_fork_goes_while_its_origin_stays(path: Path) -> None:
    origin = Run(ONE, at=YOUNG).end()
    old = origin.fork(TWO, 5, when=NOON)
    old.log = [*old.log]
    await write(path, origin, old.end())
    pruned = prune(path)
    assert pruned.executions + len(await left(path)) == 2
    assert ONE in await left(path)


async def test_nothing_can_delete_what_a_fork_goes_on_from(path: Path) -> None:
    await write_family(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO pruning VALUES (1)")
        with pytest.raises(sqlite3.IntegrityError, match="a fork goes on from this execution"):
            connection.execute("DELETE FROM executions WHERE position = 1")
        connection.execute("ROLLBACK")


# --- older stores -------------------------------------------------------------------------------


async def test_a_store_from_before_there_were_forks_is_as_sound_as_it_was(path: Path) -> None:
    run = Run(ONE).end()
    write_as_of_version_4(path, run)
    store = await SQLiteStore.open(path)
    assert list(await store.read(ONE)) == run.log
    await run.fork(TWO, 5).write(store)
    await store.close()
    assert verify_store(path).damage == ()


def write_as_of_version_4(path: Path, run: Run) -> None:
    codec, columns = EventCodec(), summary_row(run.summary)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        add_functions(connection, ChainEnd())
        for script in load_migrations()[:4]:
            connection.executescript(script)
        connection.execute("PRAGMA application_id = 0x44695045")
        connection.execute("PRAGMA user_version = 4")
        head = b""
        events = []
        for each in run.log:
            event = (each.seq, stamp(each.at), each.event.kind, 1, codec.encode(each.event))
            head = link(head, run.id, event)
            events.append((1, *event, head))
        connection.execute(
            "INSERT INTO executions (status, diagram_id, parent_id, waiting_barriers, last_seq, "
            "name, content_hash, created_at, started_at, ended_at, tokens_input, tokens_output, "
            "tokens_cached, error, checksum, head_hash, id) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*columns, head, run.id),
        )
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", events)
