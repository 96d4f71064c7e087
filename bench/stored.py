"""What a store of a million events costs a new run: `python -m bench.stored EVENTS`."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.contestants import ours
from bench.measure import child
from bench.shapes import workload
from dipeo_server.domains.execution.events import Durability
from dipeo_server.storage.sqlite import SQLiteStore

EVENTS: Final = 1_000_000
RUNS: Final = 20
PARTS: Final = ("opening", "starting", "running 10 nodes")


@dataclass(frozen=True, slots=True)
class BigStore:
    """Seconds by part, in an empty store and in one of so many events."""

    events: int
    empty: dict[str, float]
    full: dict[str, float]

    @property
    def ratios(self) -> dict[str, float]:
        """The full store against the empty one."""
        return {part: self.full[part] / self.empty[part] for part in PARTS}


def measure(rounds: int, events: int = EVENTS) -> BigStore:
    """The best of the rounds. Raises ChildFailed."""
    seen = [child(Path(sys.executable), "bench.stored", events) for _ in range(rounds)]
    empty = {part: min(each["empty"][part] for each in seen) for part in PARTS}
    full = {part: min(each["full"][part] for each in seen) for part in PARTS}
    return BigStore(events, empty, full)


async def compare(events: int) -> dict[str, Any]:
    """Both stores, one after the other in one process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        await timed(path)  # Whatever is only made once is made now.
        empty = await timed(path)
        fill(path, events)
        return {"empty": empty, "full": await timed(path)}


async def timed(path: Path) -> dict[str, float]:
    """Seconds to open the store, and for a run of 10 nodes: until accepted, and to its end."""
    types = ours.node_types(is_pure=True)
    diagram = ours.compiled(workload("chain", 10), types)
    began = time.perf_counter()
    store = await SQLiteStore.open(path)
    opening = time.perf_counter() - began
    starting: list[float] = []
    running: list[float] = []
    async with ours.runner(store, types) as runner:
        for _ in range(RUNS):
            began = time.perf_counter()
            accepted = await runner.start(ours.request(diagram, Durability.ADAPTIVE))
            starting.append(time.perf_counter() - began)
            began = time.perf_counter()
            await ours.end(runner, accepted)
            running.append(time.perf_counter() - began)
    return dict(zip(PARTS, (opening, min(starting), min(running)), strict=True))


def fill(path: Path, events: int) -> None:
    """Copy an execution that has ended until the store holds that many events."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        pattern = connection.execute("SELECT max(position) FROM executions").fetchone()[0]
        columns = _columns(connection, "executions", but=("position", "id"))
        each = connection.execute(
            "SELECT count(*) FROM events WHERE execution = ?", (pattern,)
        ).fetchone()[0]
        numbers = range(pattern + 1, pattern + 1 + events // each)
        connection.execute("BEGIN")
        connection.executemany(
            f"INSERT INTO executions (position, id, {columns})"  # noqa: S608 - names of its own
            f" SELECT ?, 'copy' || ?, {columns} FROM executions WHERE position = ?",
            ((number, number, pattern) for number in numbers),
        )
        columns = _columns(connection, "events", but=("execution",))
        connection.executemany(
            f"INSERT INTO events (execution, {columns})"  # noqa: S608 - names of its own
            f" SELECT ?, {columns} FROM events WHERE execution = ?",
            zip(numbers, itertools.repeat(pattern)),
        )
        connection.execute("COMMIT")
    finally:
        connection.close()


def _columns(connection: sqlite3.Connection, table: str, but: tuple[str, ...]) -> str:
    return ", ".join(name for name in _names(connection, table) if name not in but)


def _names(connection: sqlite3.Connection, table: str) -> Iterator[str]:
    yield from (row[1] for row in connection.execute(f"PRAGMA table_info({table})"))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(compare(int(sys.argv[1])))))
