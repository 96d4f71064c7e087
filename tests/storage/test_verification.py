"""`verify` names what is not what was written: bits that flipped, rows and files that are gone."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.ids import Seq
from dipeo_server.storage.blobs import FileBlobs, blobs_folder
from dipeo_server.storage.database import APPLICATION_ID
from dipeo_server.storage.inspection import NoStore, looking_into
from dipeo_server.storage.queries import load_migrations
from dipeo_server.storage.sqlite import SQLiteStore
from dipeo_server.storage.verification import Verdict, verify_store
from tests.storage.records import ONE, execution, extend, keyed, line
from tests.storage.runs import CHAIN, LOOP, Run
from tests.storage.test_chain import DAMAGE, has_dbstat, rows, tamper

RUNS = 7
TABLES = ("executions", "events", "idempotency", "execution_counts")


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store of whole runs, one of which goes on."""
    path = tmp_path / "store.db"
    store = await SQLiteStore.open(path)
    for number in range(RUNS):
        run = Run(execution(number), text=LOOP if number % 2 else CHAIN)
        if number:
            run.turn(3).end("value " * 20)
        await run.write(store, [keyed(str(number))])
    await store.append_logs(ONE, [line("printed")])
    await store.close()
    return path


def messages(verdict: Verdict) -> list[str]:
    return [damage.message for damage in verdict.damage]


async def test_a_sound_store_is_found_to_be_sound(path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    verdict = verify_store(path, lambda *step: told.append(step))
    assert messages(verdict) == []
    assert verdict.is_sound
    events = rows(path, "SELECT count(*) FROM events")
    assert (verdict.executions, [(verdict.events,)], verdict.blobs) == (RUNS, events, 0)
    assert ("executions", RUNS, RUNS) in told
    assert sorted(each.name for each in path.parent.iterdir()) == ["store.db", "store.db.lock"]


async def test_a_store_can_be_verified_while_it_is_written(path: Path) -> None:
    store = await SQLiteStore.open(path)
    for number in range(100, 120):
        run = Run(execution(number))
        await run.write(store)
        tail = run.summary.last_seq
        assert messages(verify_store(path)) == []
        run.end()
        await store.append(run.id, run.log[tail:], after=tail, summary=run.summary)
    await store.close()
    assert verify_store(path).executions == RUNS + 20


# --- bits that flip -----------------------------------------------------------------------------


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def content(path: Path) -> dict[str, Sequence[Any]] | None:
    """All that the tables hold; None if they cannot be read."""
    try:
        with looking_into(path) as connection:
            return {
                table: connection.execute("SELECT * FROM " + table).fetchall()  # noqa: S608 - names of our own.
                for table in TABLES
            }
    except (sqlite3.Error, MemoryError, OverflowError):
        return None


def bits_of_the_log(path: Path) -> list[int]:
    """Where in the file events and their index are stored, but for the gaps within pages."""
    if not has_dbstat():
        pytest.skip("this SQLite cannot tell which page is whose (no dbstat)")
    pages = "SELECT (pageno - 1) * pgsize, pgsize, pagetype FROM dbstat WHERE name LIKE '%events%'"
    data = path.read_bytes()
    found: list[int] = []
    for begin, size, kind in rows(path, pages):
        gap = range(0)
        if kind != "overflow":
            cells = int.from_bytes(data[begin + 3 : begin + 5], "big")
            header = 8 if kind == "leaf" else 12
            gap = range(header + 2 * cells, int.from_bytes(data[begin + 5 : begin + 7], "big"))
        used = (place for place in range(size) if place not in gap)
        found += [(begin + place) * 8 + bit for place in used for bit in range(8)]
    return found


@pytest.mark.parametrize(
    "flips",
    [
        pytest.param(200, marks=pytest.mark.timeout(300)),
        pytest.param(5_000, marks=[pytest.mark.prove, pytest.mark.timeout(1_800)]),
    ],
)
async def test_single_bits_that_flip_in_the_log_are_named(path: Path, flips: int) -> None:
    chance = random.Random(8412)
    bits = bits_of_the_log(path)
    before = content(path)
    copy = path.with_name("flipped.db")
    harmless = placed = 0
    for _ in range(flips):
        shutil.copyfile(path, copy)
        bit = chance.choice(bits)
        flip(copy, bit)
        verdict = verify_store(copy)
        if verdict.is_sound:
            assert content(copy) == before, f"bit {bit} of the file changed what is stored"
            harmless += 1
        placed += any(damage.execution_id for damage in verdict.damage)
    print(f"{flips} flips: {flips - harmless} named, {placed} with their execution")
    assert (flips - harmless) / flips >= 0.975


@pytest.mark.timeout(300)
async def test_bits_that_flip_anywhere_are_named_or_change_nothing(path: Path) -> None:
    """Also in the header, the schema, the indexes and the tables beside the log."""
    chance = random.Random(8412)
    before = content(path)
    size = path.stat().st_size * 8
    copy = path.with_name("flipped.db")
    for number in range(100):
        shutil.copyfile(path, copy)
        bit = chance.randrange(100 * 8) if number < 30 else chance.randrange(size)
        flip(copy, bit)
        try:
            is_sound = verify_store(copy).is_sound
        except NoStore:
            is_sound = False
        assert not is_sound or content(copy) == before, f"bit {bit} of the file is not named"


# --- what else happens to stores ----------------------------------------------------------------


@pytest.mark.parametrize("name", DAMAGE)
async def test_the_execution_and_the_event_are_named(path: Path, name: str) -> None:
    only_one = "execution = 3 AND seq = 4"
    tamper(path, DAMAGE[name].replace("seq = 4", only_one))
    found = verify_store(path).damage
    assert [(damage.execution_id, damage.seq) for damage in found] == [(execution(2), 4)]


async def test_every_event_that_was_changed_is_named_once(path: Path) -> None:
    tamper(
        path,
        "UPDATE events SET payload = x'00' WHERE execution = 3 AND seq IN (2, 5)",
        "UPDATE events SET hash = zeroblob(16) WHERE execution = 4 AND seq = 6",
        "DELETE FROM events WHERE execution = 5 AND seq > 7",
    )
    found = verify_store(path).damage
    assert [(damage.execution_id, damage.seq) for damage in found] == [
        (execution(2), 2),
        (execution(2), 5),
        (execution(3), 6),
        (execution(4), 8),
    ]


@pytest.mark.parametrize(
    "statement, message",
    [
        ("UPDATE executions SET name = 'x' WHERE position = 3", "The row of {2} is not what was"),
        ("UPDATE executions SET status = 'FAILED' WHERE position = 3", "The row of {2} is not"),
        ("UPDATE idempotency SET answer = '{{}}' WHERE key = '3'", "The answer to the key '3' is"),
        ("UPDATE execution_counts SET executions = 3", "The store counts 3 executions that are"),
        ("DELETE FROM executions WHERE position = 3", "Row "),
        ("PRAGMA user_version = 1", "The file says it is of version 1, but it is of version"),
        ("PRAGMA application_id = 7", "The file is marked as 0x7, not as a store (0x44695045)."),
        ("DROP INDEX executions_parent", "What the file declares is not what it should be: exec"),
    ],
)
async def test_what_lies_beside_the_log_is_verified(
    path: Path, statement: str, message: str
) -> None:
    tamper(path, statement)
    expected = message.format(*map(execution, range(RUNS)))
    assert any(found.startswith(expected[:40]) for found in messages(verify_store(path)))


async def test_a_row_that_does_not_follow_from_its_log_is_named(path: Path) -> None:
    store = await SQLiteStore.open(path)
    run = Run(execution(70)).end()
    summary = replace(run.summary, name="another", waiting_barriers=7)
    await store.append(run.id, run.log, after=Seq(0), summary=summary)
    await extend(store, execution(71), 2)
    await store.close()
    assert messages(verify_store(path)) == [
        f"The row of {execution(70)} does not follow from its log: waiting_barriers, name.",
        (
            f"Event 1 of {execution(71)} cannot follow what is before it: "
            "a log begins with ExecutionStarted, not NodeStarted."
        ),
    ]


async def test_triggers_that_are_gone_are_named(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER events_are_never_changed")
    assert messages(verify_store(path)) == [
        "What the file declares is not what it should be: events_are_never_changed."
    ]


@pytest.mark.parametrize("size", [0.1, 0.5, 0.9])
async def test_a_file_that_was_cut_off_is_named(path: Path, size: float) -> None:
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * size))
    assert not verify_store(path).is_sound


async def test_a_page_of_nulls_is_named(path: Path) -> None:
    for page in range(1, path.stat().st_size // 4096):
        copy = shutil.copyfile(path, path.with_name("nulls.db"))
        with copy.open("r+b") as file:
            file.seek(page * 4096)
            file.write(b"\x00" * 4096)
        assert not verify_store(copy).is_sound, page


# --- blobs --------------------------------------------------------------------------------------


async def with_blob(path: Path, run: Run) -> Path:
    """A run that refers to a blob; where that lies."""
    store = await SQLiteStore.open(path)
    ref = await store.blobs.put(b"large" * 1_000)
    await run.end({"hash": ref.hash, "size": ref.size}).write(store)
    await store.close()
    return FileBlobs(blobs_folder(path)).path_of(ref.hash)


async def test_blobs_are_verified(path: Path) -> None:
    blob = await with_blob(path, Run(execution(70)))
    verdict = verify_store(path)
    assert (verdict.blobs, messages(verdict)) == (1, [])
    flip(blob, 9_999)
    assert "is not what was written" in messages(verify_store(path))[0]


@pytest.mark.parametrize("data, why", [(None, "is not there"), (b"", "has not the 5000 bytes")])
async def test_events_that_refer_to_lost_blobs_are_named(
    path: Path, data: bytes | None, why: str
) -> None:
    blob = await with_blob(path, Run(execution(70)))
    blob.unlink()
    if data is not None:
        blob.write_bytes(data)
    found = [damage for damage in verify_store(path).damage if damage.execution_id]
    assert found
    assert {damage.execution_id for damage in found} == {execution(70)}
    assert all(why in damage.message for damage in found)


# --- what is no store ---------------------------------------------------------------------------


def test_where_there_is_no_store_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoStore, match="There is no store at"):
        verify_store(tmp_path / "store.db")
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(NoStore, match="no store of this server"):
        verify_store(tmp_path / "theirs.db")


async def test_other_versions_of_stores_are_refused(path: Path, tmp_path: Path) -> None:
    older = tmp_path / "older.db"
    with closing(sqlite3.connect(older)) as connection:
        connection.executescript(load_migrations()[0])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    with pytest.raises(NoStore, match="written by an older version") as refusal:
        verify_store(older)
    assert "open it once" in (refusal.value.hint or "")
    tamper(path, "CREATE TABLE added (x)", "PRAGMA user_version = 99")
    with pytest.raises(NoStore, match="written by a newer version"):
        verify_store(path)


def test_what_is_no_database_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"nodes: []\n" * 1_000)
    assert messages(verify_store(path)) == [
        f"{path} cannot be read as a store: file is not a database."
    ]
