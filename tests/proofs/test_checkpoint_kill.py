"""A process is killed while it keeps states: the run is the same with those states and without."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dipeo_server.domains.execution.events import CheckpointSaved
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.executors import GraphComplete
from dipeo_server.runtime.history import read_all
from dipeo_server.runtime.loading import load
from dipeo_server.storage.sqlite import SQLiteStore
from tests.proofs.kept_loop import TURNS, begun, count_until_killed

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.proofs.kept_loop"])
PAGE = 20
STATES_MAX = 120
DAMAGE = (
    "UPDATE checkpoints SET payload = substr(payload, 1, length(payload) / 2) WHERE {rows}",
    "UPDATE checkpoints SET payload = CAST(replace(payload, '1', '2') AS BLOB) WHERE {rows}",
    "UPDATE checkpoints SET content_hash = 'of another' WHERE {rows}",
    "UPDATE checkpoints SET created_at = 'never' WHERE {rows}",
    "DELETE FROM checkpoints WHERE {rows} AND at = base",
)
ROWS = ("abs(random()) % 3 = 0", "at = (SELECT max(at) FROM checkpoints)", "1")


def run_and_kill(path: Path, chance: random.Random) -> bool:
    """Kill the process while it keeps more; False: the run had come to its end before."""
    heard, told = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=count_until_killed, args=(path, told))
    process.start()
    told.close()
    with heard:
        try:
            for _ in range(chance.randint(1, STATES_MAX)):
                if heard.recv() is None:
                    return False
            time.sleep(chance.uniform(0, 0.01))  # Somewhere between two of them.
        finally:
            process.kill()
            process.join()
            process.close()
    return True


def untouched(state: ExecutionState) -> ExecutionState:
    state.touched.clear()
    return state


async def check(path: Path) -> int:
    """With all that was kept, without, and folded from the log: it is one state."""
    store = await SQLiteStore.open(path)
    try:
        [run] = await store.active()
        with capture_logs() as logs:
            kept = untouched((await load(store, run, page=PAGE)).state)
            listed = await store.checkpoints.listed(run)
        assert not [each for each in logs if each["event"] == "checkpoint_ignored"]
        log = await read_all(store, run)
        told = {each.event.at for each in log if isinstance(each.event, CheckpointSaved)}
        assert {each.at for each in listed} <= told, "a row without its event"
        assert [each.at for each in listed] == sorted(told)[-len(listed) :], "an event without"
        await store.checkpoints.prune(run)
        assert untouched((await load(store, run, page=PAGE)).state) == kept
        assert untouched(ExecutionMachine.replay(log).state) == kept
        return len(listed)
    finally:
        await store.close()


async def finish(path: Path) -> int:
    """Let the run come to its end in this process; what it counted to."""
    store = await SQLiteStore.open(path)
    try:
        execution = await begun(store)
        async for event in execution.stream:
            if isinstance(event, GraphComplete):
                return int(event.result.state["n"])
        return -1
    finally:
        await store.close()


async def survive(folder: Path, seed: int, kills: int) -> None:
    chance, store = random.Random(seed), folder / "store.db"
    copy, kept = store, 0
    for number in range(kills):
        if not run_and_kill(store, chance):
            break
        copy = copied(store, folder / f"copy {number}")
        before, kept = kept, await check(copy)
        assert kept > before, "nothing was kept"
    assert await finish(copy) == TURNS + 1  # Nothing that was kept is there any more.
    if await is_active(store):
        assert await finish(store) == TURNS + 1


async def is_active(path: Path) -> bool:
    store = await SQLiteStore.open(path)
    try:
        return bool(await store.active())
    finally:
        await store.close()


def copied(path: Path, folder: Path) -> Path:
    """The store as the killed process has left it."""
    folder.mkdir()
    for file in path.parent.glob("store.db*"):
        if file.is_file():
            shutil.copy(file, folder / file.name)
        else:
            shutil.copytree(file, folder / file.name)
    return folder / path.name


@pytest.mark.timeout(180)
async def test_a_run_outlives_being_killed_while_its_states_are_kept(tmp_path: Path) -> None:
    """004-W2, 004-W12"""
    await survive(tmp_path, 1, 2)


@pytest.mark.prove
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", range(2, 10))
async def test_a_run_outlives_many_kills(tmp_path: Path, seed: int) -> None:
    await survive(tmp_path, seed, 12)


async def damaged(folder: Path, seed: int) -> None:
    """A run with broken rows goes on as if they were not there."""
    chance, store = random.Random(seed), folder / f"damaged {seed}" / "store.db"
    store.parent.mkdir()
    assert run_and_kill(store, chance)
    with closing(sqlite3.connect(store)) as connection:
        sql = chance.choice(DAMAGE).format(rows=chance.choice(ROWS))
        connection.execute(sql)
        connection.commit()
    opened = await SQLiteStore.open(store)
    try:
        [run] = await opened.active()
        found = untouched((await load(opened, run, page=PAGE)).state)
        assert found == untouched(ExecutionMachine.replay(await read_all(opened, run)).state), sql
        await opened.checkpoints.listed(run)
    finally:
        await opened.close()
    assert await finish(store) == TURNS + 1


@pytest.mark.timeout(180)
async def test_damage_to_what_was_kept_is_no_error_of_the_run(tmp_path: Path) -> None:
    """004-50, 004-W12"""
    await damaged(tmp_path, 1)


@pytest.mark.prove
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", range(2, 30))
async def test_no_damage_is_an_error(tmp_path: Path, seed: int) -> None:
    await damaged(tmp_path, seed)
