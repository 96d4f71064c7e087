"""Group commit: one owner of the write connection, many units in one transaction.

Callers hand in units and await their fate; whatever has queued while one commit ran is the next
batch. A unit is a savepoint of its own, so one that fails takes no other with it. No caller's
await falls between BEGIN and COMMIT, and a cancelled caller does not cancel its unit.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiosqlite

from dipeo_server.errors import DipeoError, StorageError, StorageFull
from dipeo_server.storage.chain import ChainEnd
from dipeo_server.storage.refusals import closed

BATCH_UNITS_MAX: Final = 512
FREE_BYTES_MIN: Final = 1024 * 1024
"""With less than that, a disk that was full still is."""
PROBE_SECONDS: Final = 1.0
"""After a commit that failed: how long until it is tried whether the disk takes anything again."""

Work = Callable[["BatchConnection"], None]
"""Runs in the connection's thread, inside a savepoint; what it raises undoes it, and it alone."""


@dataclass(slots=True, eq=False)
class Unit:
    """Something to commit as a whole, and who waits for it."""

    work: Work
    done: asyncio.Future[None]
    error: Exception | None = None


class BatchConnection(sqlite3.Connection):
    """A connection whose `commit` runs a batch of units as one transaction: one thread hop.

    `batch` is set before each commit, by the one task that commits; `chain` hashes events.
    """

    batch: tuple[Unit, ...] = ()
    chain: ChainEnd

    def commit(self) -> None:
        """Run the batch. Raises whatever kept all of it from being committed."""
        batch, self.batch = self.batch, ()
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
        except Exception as error:
            if _concerns_the_store(error) or not self.in_transaction:
                raise
            unit.error = error
            self.execute("ROLLBACK TO unit")
        self.execute("RELEASE unit")


def _concerns_the_store(error: Exception) -> bool:
    """A full disk, an I/O error, damage: what no other unit of the batch would survive either."""
    return isinstance(error, MemoryError | sqlite3.OperationalError | sqlite3.InternalError) or (
        type(error) is sqlite3.DatabaseError
    )


class Writer:
    """Owns the write connection; one task commits batch after batch.

    `problem` is what kept the last batch from being committed, None if nothing did.
    """

    def __init__(self, connection: aiosqlite.Connection, raw: BatchConnection) -> None:
        self._connection = connection
        self._raw = raw
        self._queue: deque[Unit] = deque()
        self._wake = asyncio.Event()
        self._is_closing = False
        self.commits = 0
        self.problem: DipeoError | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(self._serve(), name="store writer")

    def put(self, work: Work) -> asyncio.Future[None]:
        """Queue the work for the next transaction; the future tells its fate once it is durable.

        Cancelling the future does not cancel the work. Raises StorageError behind `close`.
        """
        if self._is_closing or self._task.done():
            raise closed()
        unit = Unit(work, asyncio.get_running_loop().create_future())
        self._queue.append(unit)
        self._wake.set()
        return unit.done

    async def commit(self, work: Work) -> None:
        """Run the work in the next transaction; returns when that is durable.

        Raises what the work raised, StorageFull, StorageError; then nothing of it was committed.
        """
        await self.put(work)

    async def close(self) -> None:
        """Commit what is queued, then stop."""
        self._is_closing = True
        self._wake.set()
        if self._probe is not None:
            self._probe.cancel()
        await asyncio.wait([self._task])
        while self._queue:  # Only if the loop itself is being torn down.
            _tell(self._queue.popleft(), closed())

    async def _serve(self) -> None:
        while True:
            while not self._queue and not self._is_closing:
                self._wake.clear()
                await self._wake.wait()
            if not self._queue:
                return
            size = min(BATCH_UNITS_MAX, len(self._queue))
            await self._commit(tuple(self._queue.popleft() for _ in range(size)))

    async def _commit(self, batch: tuple[Unit, ...]) -> None:
        self._raw.batch = batch
        try:
            await self._connection.commit()
        except asyncio.CancelledError:  # The loop is being torn down: what came of it is unknown.
            for unit in batch:
                unit.done.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, those who wait must learn of it.
            self._note(storage_error(error))
            for unit in batch:
                _tell(unit, error)
            return
        self.commits += 1
        refused = (unit.error for unit in batch if isinstance(unit.error, StorageFull))
        self.problem = next(refused, None)
        for unit in batch:
            _tell(unit, unit.error)

    def _note(self, problem: DipeoError) -> None:
        """Remember what is wrong; find out soon whether it still is, even if nobody else tries."""
        self.problem = problem
        if self._probe is not None:
            self._probe.cancel()
        if not self._is_closing:
            self._probe = asyncio.get_running_loop().call_later(PROBE_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._probe = None
        if self.problem is not None and not self._is_closing:
            self.put(_write_something).add_done_callback(self._conclude)

    def _conclude(self, tried: asyncio.Future[None]) -> None:
        error = None if tried.cancelled() else tried.exception()
        if isinstance(error, DipeoError):
            self._note(error)


def _write_something(connection: BatchConnection) -> None:
    """Writes a page as it is, since a commit of nothing would always go well.

    A page may find room where a whole append would not: raises StorageFull where there is none.
    """
    _, _, file = connection.execute("PRAGMA database_list").fetchone()
    disk = os.statvfs(file)
    if disk.f_bavail * disk.f_frsize < FREE_BYTES_MIN:
        raise _full()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version}")


def _tell(unit: Unit, error: Exception | None) -> None:
    if unit.done.done():
        return  # Its caller went away; that changes nothing for the unit.
    if error is None:
        unit.done.set_result(None)
    else:
        unit.done.set_exception(storage_error(error))


def _full() -> StorageFull:
    return StorageFull("The disk that holds the store is full.")


def storage_error(error: Exception) -> DipeoError:
    """What an error on the way to the disk is to the rest of the program."""
    if isinstance(error, DipeoError):
        return error
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return _full()
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    failure = StorageError(f"The store failed: {error} ({name}).")
    failure.__cause__ = error
    return failure
