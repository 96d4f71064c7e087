"""One server under a mixed load, for a quarter of an hour or SOAK_SECONDS: nothing in it grows."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import statistics
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.cli.processes import dipeo
from tests.proofs.load import Load, client, fill, write_files
from tests.proofs.probe import Probe, Sample, growth, probed, table

SECONDS = float(os.environ.get("SOAK_SECONDS", "900"))
CLIENTS = 4
SAMPLES = 180
ROWS = 30
WARM_UP = 0.25
"""The part of the time that is not judged: threads are made, the allocator finds its level."""
GROWTH_MAX = {
    "memory": 16 * 1024,
    "heap": 8 * 1024,
    "files": 4,
    "threads": 2,
    "wal": 8 * 1024,
}
"""Under load, from the end of the warm-up to the end, by the median slope; sizes in KiB."""
LEFT_MAX = {"memory": 48 * 1024, "heap": 8 * 1024, "files": 1, "threads": 4, "tasks": 0}
"""Without load, from the beginning (with full caches) to the end."""
OBJECTS_LEFT_MAX = 0.02
WAL_MAX = 72 * 1024
"""The limit that the store sets for its log, and a commit more."""
HEAP_MAX = 128 * 1024
"""Twice what a server keeps of large bodies."""
QUIET_SECONDS = 90


async def soak(probe: Probe, load: Load, begin: float) -> list[Sample]:
    """Load the server and look at it again and again."""
    until = time.monotonic() + SECONDS
    clients = [
        asyncio.create_task(client(load, lambda: time.monotonic() > until)) for _ in range(CLIENTS)
    ]
    samples: list[Sample] = []
    while not all(each.done() for each in clients):
        await asyncio.wait(clients, timeout=SECONDS / SAMPLES)
        seconds = time.monotonic() - begin
        samples.append(await asyncio.to_thread(probe.sample, seconds, len(load.expected)))
    await asyncio.gather(*clients)
    return samples


async def quiet(probe: Probe, load: Load, begin: float) -> tuple[Sample, Counter[str]]:
    """Wait until every run has ended; what the server holds then, with nothing to collect."""
    deadline = time.monotonic() + QUIET_SECONDS
    query = "{ executions(filter: {isActive: true}) { totalCount nodes { id status } } }"
    await load.settled()
    while (found := (await load.ask(query))["executions"])["totalCount"]:
        assert time.monotonic() < deadline, f"these do not end: {found}"
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)  # Sockets that were cut are noticed, and closed.
    types = await asyncio.to_thread(probe.types)
    seconds = time.monotonic() - begin
    return await asyncio.to_thread(probe.sample, seconds, len(load.expected)), types


def check_ends(store: Path, load: Load) -> None:
    """Every run ended as it must; none is there that nobody started."""
    with closing(sqlite3.connect(store)) as connection:
        query = "SELECT id, status FROM executions WHERE parent_id IS NULL"
        found = dict(connection.execute(query).fetchall())
    assert found == load.expected


def check_growth(samples: list[Sample]) -> None:
    """Behind the warm-up everything stays as it is."""
    begin = samples[0].seconds + WARM_UP * SECONDS
    judged = [each for each in samples if each.seconds > begin]
    grown = {name: round(growth(judged, name)) for name in GROWTH_MAX}
    print("growth behind the warm-up:", grown)
    assert all(grown[name] <= most for name, most in GROWTH_MAX.items()), grown
    assert max(each.wal for each in samples) <= WAL_MAX
    # Not the largest: a sample may catch a large output on its way.
    assert statistics.median(each.heap for each in samples) <= HEAP_MAX


def check_left(before: Sample, after: Sample, more: Counter[str]) -> None:
    """Without load it holds no more than before; `more` says of which types there are more."""
    allowed = LEFT_MAX | {"objects": OBJECTS_LEFT_MAX * before.objects}
    left = {name: getattr(after, name) - getattr(before, name) for name in allowed}
    print("left, without load:", left)
    assert all(left[name] <= most for name, most in allowed.items()), (left, more)


@pytest.mark.prove
@pytest.mark.timeout(SECONDS * 1.5 + 300)
async def test_under_a_mixed_load_nothing_grows(tmp_path: Path) -> None:
    base, store = tmp_path / "base", tmp_path / "store.db"
    write_files(base)
    begin = time.monotonic()
    with probed(store, base, tmp_path / "server.log") as probe:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            load = Load(probe.url, http, random.Random(1))
            await fill(load)
            before, types_before = await quiet(probe, load, begin)
            samples = await soak(probe, load, begin)
            after, types_after = await quiet(probe, load, begin)
    print(table([before, *samples[:: max(1, len(samples) // ROWS)], after]))
    print("pieces of the load:", json.dumps(load.done))
    check_ends(store, load)
    verified = await asyncio.to_thread(dipeo, "verify", "--store", store)
    assert verified.code == 0, verified.out
    check_growth(samples)
    check_left(before, after, types_after - types_before)
