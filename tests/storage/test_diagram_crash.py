"""A process is killed while it changes diagrams: nothing acknowledged is lost, nothing torn."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

import pytest

from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.diagram_conformance import diagram
from tests.storage.keeper import DIAGRAMS, keep_until_killed
from tests.storage.records import NOON

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.storage.keeper"])


def keep_and_kill(path: Path, changes: int) -> dict[int, int]:
    """Kill the process behind so many changes; gives the newest one of each that was told."""
    acked: dict[int, int] = {}
    heard, told = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=keep_until_killed, args=(path, told))
    process.start()
    told.close()
    with heard:
        for _ in range(changes):
            number, acked[number] = heard.recv()
        process.kill()
        process.join()
        process.close()
        try:
            while True:
                number, acked[number] = heard.recv()
        except EOFError:
            return acked


async def check(path: Path, acked: dict[int, int]) -> int:
    """Is all of it there, and whole? Gives how many revisions there are."""
    store = await SQLiteStore.open(path)
    total = 0
    for number in range(DIAGRAMS):
        found = await store.diagrams.find(diagram(number))
        newest = found.head.number if found else 0
        assert newest >= acked.get(number, 0), "an acknowledged change is lost"
        for each in range(1, newest + 2):
            revision = await store.diagrams.revision(diagram(number), each)
            answer = await store.find_answer("anna", f"{number}/{each}", now=NOON)
            assert (revision is None) == (answer is None) == (each > newest), "a change is torn"
            if revision is not None:
                assert await store.diagrams.text(revision) == f"{number}/{each}"
        total += newest
    await store.close()
    return total


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.prove)])
async def test_no_change_of_a_diagram_is_lost_or_torn_by_kills(tmp_path: Path, kills: int) -> None:
    chance = random.Random(8412)
    path = tmp_path / "store.db"
    revisions = 0
    for _ in range(kills):
        acked = keep_and_kill(path, chance.randint(1, 40))
        found = await check(path, acked)
        assert found >= revisions + 1
        revisions = found
