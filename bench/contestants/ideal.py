"""The engine one would write for these workloads alone: what a durable engine can hope for.

A ready queue with in-degrees counted beforehand, a task per ready node, one thread that writes
SQLite with group commit. Strict: what depends on a node starts once its end is durable. Ahead: at
once, and the end waits for the disk.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from bench.contestants.raw import add
from bench.engine import Concurrently, Prepare
from bench.shapes import Workload

Row = tuple[int, int, str]
_INSERT = "INSERT INTO events (execution, seq, payload) VALUES (?, ?, ?)"


@asynccontextmanager
async def opened(mode: str, folder: Path) -> AsyncIterator[Prepare]:
    """A writer on a fresh file; `mode` is "strict" or "ahead"."""
    writer = GroupCommit(folder / "ideal.db")
    ids = itertools.count(1)

    async def once(workload: Workload) -> int:
        kind = Loop if workload.turns else Graph
        return await kind(workload, next(ids), writer, is_strict=mode == "strict").run()

    try:
        yield lambda workload: Concurrently(workload, lambda: once(workload))
    finally:
        await writer.close()


class GroupCommit:
    """Whatever queued while the last commit ran is the next one."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._waiting: list[tuple[list[Row], Callable[[], None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._connection = self._thread.submit(_connected, path).result()

    def put(self, rows: list[Row], done: Callable[[], None]) -> None:
        """Write the rows; call `done` when they are durable."""
        self._waiting.append((rows, done))
        if self._task is None:
            self._task = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await loop.run_in_executor(self._thread, self._commit, batch)
            for _, done in batch:
                done()
        self._task = None

    def _commit(self, batch: list[tuple[list[Row], Callable[[], None]]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(_INSERT, [row for rows, _ in batch for row in rows])
        self._connection.execute("COMMIT")

    async def close(self) -> None:
        """Commit what is queued."""
        if self._task is not None:
            await self._task
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE events (execution INTEGER, seq INTEGER, payload TEXT,"
        " PRIMARY KEY (execution, seq)) WITHOUT ROWID"
    )
    return connection


class Graph:
    """One execution of a graph."""

    def __init__(
        self, workload: Workload, number: int, writer: GroupCommit, *, is_strict: bool
    ) -> None:
        self._parents = workload.parents
        self._number, self._writer, self._is_strict = number, writer, is_strict
        self._missing = [len(sources) for sources in self._parents]
        self._children: list[list[int]] = [[] for _ in self._parents]
        for node, sources in enumerate(self._parents):
            for source in sources:
                self._children[source].append(node)
        self._values = [0] * len(self._parents)
        self._undurable = len(self._parents)
        self._seq = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        """Run all nodes; gives the last one's result when all of them are durable."""
        for node, missing in enumerate(self._missing):
            if not missing:
                self._start(node)
        await self._ended
        return self._values[-1]

    def _start(self, node: int) -> None:
        task = asyncio.create_task(self._perform(node))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _perform(self, node: int) -> None:
        value = await add([self._values[source] for source in self._parents[node]])
        self._values[node] = value
        rows = [self._row("started", node), self._row("completed", node, value)]
        self._writer.put(rows, lambda: self._durable(node))
        if not self._is_strict:
            self._release(node)

    def _row(self, kind: str, node: int, value: int | None = None) -> Row:
        return self._number, next(self._seq), json.dumps([kind, node, value])

    def _durable(self, node: int) -> None:
        self._undurable -= 1
        if self._is_strict:
            self._release(node)
        if not self._undurable:
            self._ended.set_result(None)

    def _release(self, node: int) -> None:
        for child in self._children[node]:
            self._missing[child] -= 1
            if not self._missing[child]:
                self._start(child)


class Loop:
    """One execution of a loop."""

    def __init__(
        self, workload: Workload, number: int, writer: GroupCommit, *, is_strict: bool
    ) -> None:
        self._turns = workload.turns
        self._number, self._writer, self._is_strict = number, writer, is_strict
        self._seq = itertools.count(1)
        self._last = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        """Turn it to its end; gives the last body's result when all of it is durable."""
        value, again = 1, True
        while again:
            value = await asyncio.create_task(add([value]))
            await self._record("body", value)
            again = await asyncio.create_task(self._is_due(value))
            await self._record("until", again)
        await self._last
        return value

    async def _is_due(self, value: int) -> bool:
        return value <= self._turns

    async def _record(self, node: str, value: int) -> None:
        kinds = (["started", node, None], ["completed", node, value])
        rows = [(self._number, next(self._seq), json.dumps(kind)) for kind in kinds]
        self._last = asyncio.get_running_loop().create_future()
        done = self._last
        self._writer.put(rows, lambda: done.set_result(None))
        if self._is_strict:
            await done
