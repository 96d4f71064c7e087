"""Group commit: one owner of the write connection, many units in one transaction.

Callers hand in units and await their fate; whatever has queued while one commit ran is the next
batch. A unit is a savepoint of its own, so one that fails takes no other with it. No caller's
await falls between BEGIN and COMMIT, and a cancelled caller does not cancel its unit.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiosqlite

from dipeo_server.errors import DipeoError, StorageError, StorageFull

BATCH_UNITS_MAX: Final = 512

Work = Callable[[sqlite3.Connection], None]
"""Runs in the connection's thread, inside a savepoint; raises DipeoError to be undone."""


@dataclass(slots=True, eq=False)
class Unit:
    """Something to commit as a whole, and who waits for it."""

    work: Work
    done: asyncio.Future[None]
    error: Exception | None = None


class BatchConnection(sqlite3.Connection):
    """A connection whose `commit` runs a batch of units as one transaction: one thread hop."""

    batch: list[Unit]

    def commit(self) -> None:
        """Run the batch. Raises sqlite3.Error if nothing of it was committed."""
        batch, self.batch = self.batch, []
        if not batch:
            return
        self.execute("BEGIN IMMEDIATE")
        try:
            for unit in batch:
                self._run(unit)
            self.execute("COMMIT")
        except BaseException:
            # Some errors (a full disk) have already rolled the transaction back.
            if self.in_transaction:
                self.execute("ROLLBACK")
            raise

    def _run(self, unit: Unit) -> None:
        self.execute("SAVEPOINT unit")
        try:
            unit.work(self)
        except DipeoError as error:
            unit.error = error
            self.execute("ROLLBACK TO unit")
        self.execute("RELEASE unit")


class Writer:
    """Owns the write connection; one task commits batch after batch."""

    def __init__(self, connection: aiosqlite.Connection, raw: BatchConnection) -> None:
        self._connection = connection
        self._raw = raw
        self._queue: deque[Unit] = deque()
        self._wake = asyncio.Event()
        self._is_closing = False
        self.commits = 0
        self._task = asyncio.create_task(self._serve(), name="store writer")

    async def commit(self, work: Work) -> None:
        """Run the work in the next transaction; returns when that is durable.

        Raises what the work raised, StorageFull, StorageError; then nothing of it was committed.
        """
        if self._is_closing:
            raise StorageError("The store is closed.")
        unit = Unit(work, asyncio.get_running_loop().create_future())
        self._queue.append(unit)
        self._wake.set()
        await unit.done

    async def close(self) -> None:
        """Commit what is queued, then stop."""
        self._is_closing = True
        self._wake.set()
        await self._task

    async def _serve(self) -> None:
        while True:
            while not self._queue and not self._is_closing:
                self._wake.clear()
                await self._wake.wait()
            if not self._queue:
                return
            batch = [self._queue.popleft() for _ in range(min(BATCH_UNITS_MAX, len(self._queue)))]
            await self._commit(batch)

    async def _commit(self, batch: list[Unit]) -> None:
        self._raw.batch = batch
        failure: Exception | None = None
        try:
            await self._connection.commit()
            self.commits += 1
        except sqlite3.Error as error:
            failure = storage_error(error)
        for unit in batch:
            outcome = failure or unit.error
            if unit.done.done():
                continue  # Its caller went away; the unit was committed all the same.
            if outcome is None:
                unit.done.set_result(None)
            else:
                unit.done.set_exception(outcome)


def storage_error(error: sqlite3.Error) -> StorageError:
    """What an error of SQLite is to the rest of the program."""
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL:
        return StorageFull("The disk that holds the store is full.")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StorageError(f"The store failed: {error} ({name}).")


async def open_connection(path: Path) -> tuple[aiosqlite.Connection, BatchConnection]:
    """A connection of aiosqlite (which owns the thread), and the object whose commits it runs."""
    made: list[BatchConnection] = []

    def make(*arguments: Any, **options: Any) -> BatchConnection:
        connection = BatchConnection(*arguments, **options)
        connection.batch = []
        made.append(connection)
        return connection

    connection = await aiosqlite.connect(path, factory=make, isolation_level=None)
    return connection, made[0]
