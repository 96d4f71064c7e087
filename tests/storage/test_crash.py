"""A process is killed at any moment: what was acknowledged is there, and nothing is torn."""

from __future__ import annotations

import multiprocessing
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from dipeo_server.errors import StoreLocked
from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.appender import (
    EVENTS_PER_APPEND,
    EXECUTIONS,
    append_until_killed,
    hold_until_killed,
)
from tests.storage.records import execution

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.storage.appender"])

Acked = dict[int, int]
"""The last sequence that was acknowledged, by the execution's number."""


@contextmanager
def running(
    work: Callable[[Path, Connection], None], path: Path
) -> Iterator[tuple[int | None, Connection]]:
    """A process with its id and what it tells; killed -9 at the end, whatever it does then."""
    heard, told = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=work, args=(path, told))
    process.start()
    told.close()
    try:
        yield process.pid, heard
    finally:
        process.kill()
        process.join()
        process.close()
        if work is hold_until_killed:
            heard.close()


def append_and_kill(path: Path, moment: float) -> Acked:
    """Kill the process so many seconds after its first acknowledgement."""
    acked: Acked = {}
    with running(append_until_killed, path) as (_, heard):
        number, acked[number] = heard.recv()
        time.sleep(moment)
    with heard:
        try:
            while True:
                number, acked[number] = heard.recv()
        except EOFError:
            return acked


async def check(path: Path, acked: Acked) -> int:
    """Is all of it there, and whole? Gives how many events there are."""
    store = await SQLiteStore.open(path)
    total = 0
    keys: set[str] = set()
    for number in range(EXECUTIONS):
        log = await store.read(execution(number), limit=1_000_000)
        summary = await store.summary(execution(number))
        assert len(log) >= acked.get(number, 0), "an acknowledged append is lost"
        assert [recorded.seq for recorded in log] == list(range(1, len(log) + 1))
        assert len(log) % EVENTS_PER_APPEND == 0, "an append is torn"
        assert (summary.last_seq if summary else 0) == len(log)
        keys |= {f"{number}/{after}" for after in range(0, len(log), EVENTS_PER_APPEND)}
        total += len(log)
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored = {key for (key,) in connection.execute("SELECT key FROM idempotency")}
    assert stored == keys, "a key is there without its append, or an append without its key"
    return total


@pytest.mark.parametrize(
    "rounds", [20, pytest.param(500, marks=[pytest.mark.prove, pytest.mark.timeout(1_800)])]
)
async def test_killed_at_any_moment_it_keeps_what_it_acknowledged(
    tmp_path: Path, rounds: int
) -> None:
    chance = random.Random(8412)
    path = tmp_path / "store.db"
    acked: Acked = {}
    for number in range(rounds):
        if number % 10 == 0:  # Not all rounds in one store, or checking it takes ever longer.
            path, acked = tmp_path / f"{number}.db", {}
        acked |= append_and_kill(path, chance.uniform(0, 0.05))
        assert acked
        assert await check(path, acked) >= sum(acked.values())


async def test_a_second_process_is_refused_with_the_owners_id(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with running(hold_until_killed, path) as (owner, ready):
        ready.recv()
        with pytest.raises(StoreLocked) as refusal:
            await SQLiteStore.open(path)
        assert refusal.value.message == f"The store {path} is open in process {owner}."
        assert refusal.value.hint == "Stop that process, or give this one another --store."
    await (await SQLiteStore.open(path)).close()  # A killed owner leaves no lock behind.


async def test_a_second_opening_in_one_process_is_refused_too(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "store.db")
    with pytest.raises(StoreLocked, match=f"open in process {os.getpid()}"):
        await SQLiteStore.open(tmp_path / "store.db")
    await store.close()


async def test_a_link_to_a_store_that_is_open_is_refused(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "store.db")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.db").symlink_to(tmp_path / "store.db")
    with pytest.raises(StoreLocked):
        await SQLiteStore.open(tmp_path / "elsewhere" / "link.db")
    await store.close()


async def test_who_was_refused_has_not_unlocked_the_store(tmp_path: Path) -> None:
    """A process that closes a file loses its locks on it, whoever in the process took them."""
    path = tmp_path / "store.db"
    store = await SQLiteStore.open(path)
    with pytest.raises(StoreLocked):
        await SQLiteStore.open(path)
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute(sys.argv[2])"
    stranger = subprocess.run(
        [sys.executable, "-c", program, str(path), "PRAGMA journal_mode = DELETE"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "database is locked" in stranger.stderr
    await store.close()


def test_a_process_that_closes_its_store_ends_in_silence() -> None:
    """Threads of open connections would keep it alive; warnings would say what stayed open."""
    program = """
import asyncio, sys, tempfile
from pathlib import Path
from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.records import ONE, extend, line

async def main():
    with tempfile.TemporaryDirectory() as folder:
        store = await SQLiteStore.open(Path(folder) / "store.db")
        await extend(store, ONE)
        if "cancelled" not in sys.argv:
            await store.append_logs(ONE, [line("one")])
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        if "cancelled" in sys.argv:
            closing.cancel()
        else:
            await closing

asyncio.run(main(), debug=False)  # Slow steps are no matter here.
"""
    for arguments in ([], ["cancelled"]):
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-X", "dev", "-c", program, *arguments],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
