"""SQLiteStore: the event log of one machine, durable before anybody is told."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import aiosqlite
import orjson

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import (
    ExecutionPage,
    ExecutionQuery,
    ExecutionSummary,
    IdempotentAnswer,
    KeyedAnswer,
    LogRecord,
)
from dipeo_server.errors import (
    ConcurrentAppend,
    IdempotencyMismatch,
    StorageError,
)
from dipeo_server.storage.codec import EventCodec, stamp, unstamp
from dipeo_server.storage.lock import StoreLock
from dipeo_server.storage.queries import load_migrations, load_queries
from dipeo_server.storage.rows import list_filter, log_record, log_row, summary_of, summary_row
from dipeo_server.storage.writer import Writer, open_connection, storage_error

APPLICATION_ID: Final = 0x44695045
"""Marks a file as a store of ours ("DiPE")."""

_WRITE_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA wal_autocheckpoint = 1000",
    "PRAGMA temp_store = MEMORY",
)
_READ_PRAGMAS: Final = (
    "PRAGMA query_only = ON",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA temp_store = MEMORY",
)


class SQLiteStore:
    """Executions in one SQLite file; one process opens it, one task writes it."""

    def __init__(
        self,
        lock: StoreLock,
        write: aiosqlite.Connection,
        read: aiosqlite.Connection,
        writer: Writer,
    ) -> None:
        self._lock = lock
        self._write = write
        self._read = read
        self._writer = writer
        self._codec = EventCodec()
        self._sql = load_queries()

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open or create the store. Raises StoreLocked, StorageError."""
        lock = StoreLock(_private_place(path))
        opened: list[aiosqlite.Connection] = []
        try:
            write, raw = await open_connection(path)
            opened.append(write)
            await _pragmas(write, _WRITE_PRAGMAS)
            await _migrate(write, path)
            read = await aiosqlite.connect(path, isolation_level=None)
            opened.append(read)
            read.row_factory = sqlite3.Row
            await _pragmas(read, _READ_PRAGMAS)
        except BaseException as error:
            for connection in opened:
                await connection.close()
            lock.release()
            if isinstance(error, sqlite3.Error):
                raise StorageError(f"{path} cannot be opened as a store: {error}.") from error
            raise
        return cls(lock, write, read, Writer(write, raw))

    @property
    def commits(self) -> int:
        """How many transactions have been committed since it was opened."""
        return self._writer.commits

    async def close(self) -> None:
        """Commit what is queued, then release everything."""
        await self._writer.close()
        await self._read.close()
        with suppress(sqlite3.Error):
            await self._write.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        await self._write.close()
        self._lock.release()

    # --- writing --------------------------------------------------------------------------------

    async def append(
        self,
        execution_id: ExecutionID,
        events: Sequence[Recorded],
        *,
        after: Seq,
        summary: ExecutionSummary,
        answers: Sequence[KeyedAnswer] = (),
    ) -> None:
        """Commit events, summary and idempotency records together."""
        rows = [self._event_row(recorded) for recorded in events]
        columns = summary_row(summary)

        def work(connection: sqlite3.Connection) -> None:
            position = self._extend(connection, execution_id, after, columns)
            connection.executemany(self._sql["insert_event"], ((position, *row) for row in rows))
            if answers:
                self._keep_answers(connection, execution_id, answers, events)

        await self._writer.commit(work)

    def _event_row(self, recorded: Recorded) -> tuple[int, str, str, int, bytes]:
        kind = recorded.event.kind
        payload = self._codec.encode(recorded.event)
        return (recorded.seq, stamp(recorded.at), kind, self._codec.version_of(kind), payload)

    def _extend(
        self,
        connection: sqlite3.Connection,
        execution_id: ExecutionID,
        after: Seq,
        columns: dict[str, Any],
    ) -> int:
        """Move the execution's row on; gives its position. Raises ConcurrentAppend."""
        row = connection.execute(self._sql["tail"], (execution_id,)).fetchone()
        position, tail = row if row is not None else (None, 0)
        if tail != after:
            message = f"The log of {execution_id} ends at {tail}, not at {after}."
            raise ConcurrentAppend(message)
        if position is None:
            cursor = connection.execute(self._sql["insert_execution"], columns)
            return int(cursor.lastrowid or 0)
        connection.execute(self._sql["update_execution"], {**columns, "position": position})
        return int(position)

    def _keep_answers(
        self,
        connection: sqlite3.Connection,
        execution_id: ExecutionID,
        answers: Iterable[KeyedAnswer],
        events: Sequence[Recorded],
    ) -> None:
        if events:
            connection.execute(self._sql["drop_expired_keys"], (stamp(events[-1].at),))
        for keyed in answers:
            used = keyed.idempotency
            values = (
                used.principal,
                used.key,
                used.mutation,
                used.request_hash,
                execution_id,
                orjson.dumps(keyed.answer).decode(),
                stamp(used.expires_at),
            )
            try:
                connection.execute(self._sql["insert_key"], values)
            except sqlite3.IntegrityError as error:
                message = f"Idempotency key {used.key!r} is in use already."
                raise IdempotencyMismatch(message) from error

    async def append_logs(self, execution_id: ExecutionID, lines: Sequence[LogRecord]) -> None:
        """Store log lines."""
        rows = [log_row(execution_id, line) for line in lines]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(self._sql["insert_log_line"], rows)

        await self._writer.commit(work)

    # --- reading --------------------------------------------------------------------------------

    async def read(
        self, execution_id: ExecutionID, *, after: Seq = Seq(0), limit: int = 256
    ) -> Sequence[Recorded]:
        """At most `limit` committed events behind `after`."""
        rows = await self._fetch(self._sql["read_events"], (execution_id, after, limit))
        return [
            Recorded(
                Seq(row["seq"]),
                unstamp(row["at"]),
                self._codec.decode(row["kind"], row["payload"], row["version"]),
            )
            for row in rows
        ]

    async def summary(self, execution_id: ExecutionID) -> ExecutionSummary | None:
        """The execution's row, or None."""
        rows = await self._fetch(self._sql["summary"], (execution_id,))
        return summary_of(rows[0]) if rows else None

    async def active(self) -> Sequence[ExecutionID]:
        """Ids of all executions that have not ended, oldest first."""
        rows = await self._fetch(self._sql["active"], ())
        return [ExecutionID(row["id"]) for row in rows]

    async def list_executions(self, query: ExecutionQuery) -> ExecutionPage:
        """A page of the list, newest first."""
        terms, values = list_filter(query)
        total = await self._count(terms, values)
        page, bounds = list(terms), list(values)
        for cursor, sign in ((query.after, "<"), (query.before, ">")):
            if cursor is not None:
                position = "(SELECT position FROM executions WHERE id = ?)"
                page.append(f"position {sign} {position}")
                bounds.append(cursor)
        is_backward = query.last is not None
        size = query.last if query.last is not None else query.first
        order = "ASC" if is_backward else "DESC"
        where = f"WHERE {' AND '.join(page)} " if page else ""
        rows = await self._fetch(
            f"SELECT * FROM executions {where}ORDER BY position {order} LIMIT ?",  # noqa: S608 - fixed terms, every value bound.
            (*bounds, size + 1),
        )
        items = [summary_of(row) for row in rows[:size]]
        has_more = len(rows) > size
        if is_backward:
            return ExecutionPage(tuple(reversed(items)), query.before is not None, has_more, total)
        return ExecutionPage(tuple(items), has_more, query.after is not None, total)

    async def _count(self, terms: list[str], values: list[Any]) -> int:
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        rows = await self._fetch(
            f"SELECT count(*) AS total FROM executions{where}",  # noqa: S608 - fixed terms, every value bound.
            values,
        )
        return int(rows[0]["total"])

    async def find_answer(
        self, principal: str, key: str, *, now: datetime
    ) -> IdempotentAnswer | None:
        """The stored answer of that key, unless it has expired."""
        rows = await self._fetch(self._sql["find_key"], (principal, key, stamp(now)))
        if not rows:
            return None
        row = rows[0]
        return IdempotentAnswer(
            row["request_hash"],
            row["mutation"],
            ExecutionID(row["execution_id"]),
            orjson.loads(row["answer"]),
        )

    async def read_logs(
        self,
        execution_id: ExecutionID,
        *,
        after: int = 0,
        limit: int = 100,
        node: str | None = None,
    ) -> Sequence[LogRecord]:
        """Log lines behind the cursor."""
        if node is None:
            rows = await self._fetch(self._sql["read_logs"], (execution_id, after, limit))
        else:
            values = (execution_id, after, node, limit)
            rows = await self._fetch(self._sql["read_node_logs"], values)
        return [log_record(row) for row in rows]

    async def _fetch(self, sql: str, values: Sequence[Any]) -> list[sqlite3.Row]:
        try:
            return list(await self._read.execute_fetchall(sql, values))
        except sqlite3.Error as error:
            raise storage_error(error) from error


def _private_place(path: Path) -> Path:
    """Make the folder; gives the lock file's path. Nobody else may read what we create."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return path.with_name(path.name + ".lock")


async def _pragmas(connection: aiosqlite.Connection, pragmas: Iterable[str]) -> None:
    for pragma in pragmas:
        await connection.execute_fetchall(pragma)


async def _migrate(connection: aiosqlite.Connection, path: Path) -> None:
    """Bring the store to the newest version; each step is one transaction."""
    migrations = load_migrations()
    version = await _value(connection, "PRAGMA user_version")
    owner = await _value(connection, "PRAGMA application_id")
    is_new = version == 0 and await _value(connection, "SELECT count(*) FROM sqlite_master") == 0
    if not is_new and owner != APPLICATION_ID:
        message = f"{path} is a SQLite file, but no store of this server."
        raise StorageError(message, hint="Give another path with --store.")
    if version > len(migrations):
        message = f"{path} was written by a newer version (store version {version})."
        raise StorageError(message, hint="Run that version, or give another --store.")
    if 0 < version < len(migrations):
        backup = path.with_name(f"{path.name}.before-{len(migrations)}")
        await connection.execute_fetchall("VACUUM INTO ?", (str(backup),))
    for number in range(version, len(migrations)):
        await connection.executescript(
            f"BEGIN IMMEDIATE;\n{migrations[number]}\n"
            f"PRAGMA application_id = {APPLICATION_ID};\n"
            f"PRAGMA user_version = {number + 1};\nCOMMIT;"
        )


async def _value(connection: aiosqlite.Connection, sql: str) -> int:
    rows = list(await connection.execute_fetchall(sql))
    return int(rows[0][0])
