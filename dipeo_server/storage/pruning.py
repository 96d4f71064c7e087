"""Pruning a store that nobody has open: old executions that have ended, whole and with children."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import StorageError
from dipeo_server.storage.blobs import FileBlobs, blobs_folder
from dipeo_server.storage.codec import stamp
from dipeo_server.storage.database import WRITE_PRAGMAS
from dipeo_server.storage.inspection import check_mark, check_there, looking_into
from dipeo_server.storage.lock import StoreLock
from dipeo_server.storage.queries import load_queries
from dipeo_server.storage.writer import storage_error

EVENTS_PER_TRANSACTION: Final = 10_000
BLOB_AGE_MIN: Final = timedelta(hours=1)
"""Younger ones may be about to be referred to."""

ENDED: Final = frozenset(status for status in ExecutionStatus if status.is_terminal)

_HASH: Final = re.compile(rb"(?=([0-9a-f]{64}))")

Family = tuple[list[int], int]
"""Positions of an execution and all below it, itself first, and how many events they have."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to prune: executions that ended before a time, with one of these statuses."""

    before: datetime
    statuses: frozenset[ExecutionStatus] = ENDED
    is_dry_run: bool = False
    is_compacting: bool = False


@dataclass(frozen=True, slots=True)
class Pruned:
    """What is gone, or would be.

    `kept` are old runs below which something still runs, `forked` those that forks go on from
    which are kept.
    """

    executions: int = 0
    events: int = 0
    kept: int = 0
    forked: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    free_bytes: int = 0


def prune_store(
    path: Path, choice: Choice, *, now: datetime, tell: Callable[[int, int], None]
) -> Pruned:
    """Delete what was chosen; `tell` hears how many executions of how many are done.

    Raises NoStore, StoreLocked if a process has the store open, StorageError; whatever was deleted
    before is whole executions, and asking again deletes the rest.
    """
    check_there(path)
    path = path.resolve()
    lock = StoreLock(path)
    try:
        return _Pruning(path, choice, now, tell).run()
    except sqlite3.Error as error:
        raise storage_error(error) from error
    finally:
        lock.release()


class _Pruning:
    def __init__(
        self, path: Path, choice: Choice, now: datetime, tell: Callable[[int, int], None]
    ) -> None:
        self._path = path
        self._choice = choice
        self._now = now
        self._tell = tell
        self._sql = load_queries("pruning.sql")

    def run(self) -> Pruned:
        with looking_into(self._path) as connection:
            wrong = check_mark(connection, self._path)
            if wrong:
                raise StorageError(wrong[0], hint="See `dipeo-server verify` before anything else.")
            families, kept = self._families(connection)
            families, forked = without_origins(families, connection.execute(self._sql["forks"]))
            doomed = {position for family, _ in families for position in family}
            if not self._choice.is_dry_run:
                self._prepare(connection)
                self._delete(connection, families)
            blobs, size = self._prune_blobs(connection, doomed)
            if self._choice.is_compacting and not self._choice.is_dry_run:
                connection.execute("VACUUM")
            free = connection.execute("PRAGMA freelist_count").fetchone()[0]
            page = connection.execute("PRAGMA page_size").fetchone()[0]
        events = sum(count for _, count in families)
        return Pruned(len(doomed), events, kept, forked, blobs, size, free * page)

    def _families(self, connection: sqlite3.Connection) -> tuple[list[Family], int]:
        """Whole families that have ended, and how many have not."""
        found: list[Family] = []
        kept = 0
        before = stamp(self._choice.before)
        for status in sorted(self._choice.statuses):
            roots = connection.execute(self._sql["roots"], (status.value, before)).fetchall()
            for root in roots:
                members = connection.execute(self._sql["family"], root).fetchall()
                if all(ExecutionStatus(status) in ENDED for _, status, _ in members):
                    positions = [position for position, _, _ in members]
                    found.append((positions, sum(events for _, _, events in members)))
                else:
                    kept += 1
        return found, kept

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = OFF")
        for pragma in WRITE_PRAGMAS:
            connection.execute(pragma)
        # Who prunes wants what was printed and answered to be gone, and not only to be forgotten.
        connection.execute("PRAGMA secure_delete = ON")

    def _delete(self, connection: sqlite3.Connection, families: list[Family]) -> None:
        total = sum(len(positions) for positions, _ in families)
        done = 0
        for batch in batches(families):
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(self._sql["mark"], [(position,) for position in batch])
                connection.execute(self._sql["delete_lines"])
                connection.execute(self._sql["delete_keys"], (stamp(self._now),))
                for name in ("delete_checkpoints", "delete_events", "delete_executions", "unmark"):
                    connection.execute(self._sql[name])
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            done += len(batch)
            self._tell(done, total)

    def _prune_blobs(
        self, connection: sqlite3.Connection, doomed: Collection[int]
    ) -> tuple[int, int]:
        """Delete blobs that no event refers to, and what writers left that died."""
        blobs = FileBlobs(blobs_folder(self._path))
        unused = set(blobs.names())
        if unused:
            unused -= _referred_to(connection, doomed)
        files = [*map(blobs.path_of, sorted(unused)), *blobs.partials()]
        oldest = (self._now - BLOB_AGE_MIN).timestamp()
        count = size = 0
        for file in files:
            status = file.stat()
            if status.st_mtime <= oldest:
                count, size = count + 1, size + status.st_size
                if not self._choice.is_dry_run:
                    file.unlink()
        return count, size


def without_origins(
    families: list[Family], forks: Iterable[tuple[int, int]]
) -> tuple[list[Family], int]:
    """Those that no fork goes on from which is kept, and how many others there are.

    `forks` are pairs of positions: an origin and a fork of it. Forks come before their origins,
    so that none is without its origin if deleting ends halfway.
    """
    pairs = list(forks)
    left = sorted(families, key=lambda family: family[0][0], reverse=True)
    while True:
        doomed = {position for positions, _ in left for position in positions}
        needed = {origin for origin, fork in pairs if fork not in doomed}
        free = [family for family in left if needed.isdisjoint(family[0])]
        if len(free) == len(left):
            return free, len(families) - len(free)
        left = free


def batches(families: list[Family]) -> Iterator[list[int]]:
    """Families together, up to so many events; one that has more is alone."""
    batch: list[int] = []
    size = 0
    for positions, events in families:
        if batch and size + events > EVENTS_PER_TRANSACTION:
            yield batch
            batch, size = [], 0
        batch += positions
        size += events
    if batch:
        yield batch


def _referred_to(connection: sqlite3.Connection, doomed: Collection[int]) -> set[str]:
    """Everything in the log that could be the name of a blob: rather one too many."""
    found: set[str] = set()
    for execution, payload in connection.execute("SELECT execution, payload FROM events"):
        if execution not in doomed:
            found.update(match[1].decode() for match in _HASH.finditer(payload))
    return found
