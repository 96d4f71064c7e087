"""SQLiteStore: the event log of one machine, durable before anybody is told."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import structlog
from aiosqlite import Connection

from dipeo_server.domains.execution.checkpoint import TakenCheckpoint
from dipeo_server.domains.execution.checkpoint_store import CheckpointChoice
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
from dipeo_server.errors import DamagedLog, DipeoError, StorageError
from dipeo_server.storage.access import SQLiteAccess
from dipeo_server.storage.appending import Append
from dipeo_server.storage.auditing import keyed_row
from dipeo_server.storage.blobs import FileBlobs, blobs_folder
from dipeo_server.storage.chain import EventRow
from dipeo_server.storage.checkpoints import SQLiteCheckpoints, checkpoint_row
from dipeo_server.storage.codec import EventCodec, stamp
from dipeo_server.storage.damage import Quarantine, damage_of, damaged_ends, decoded, is_damage
from dipeo_server.storage.database import make_private, open_for_reading, open_for_writing
from dipeo_server.storage.deleting import CheckpointDeletion, Deletion
from dipeo_server.storage.diagrams import SQLiteDiagrams
from dipeo_server.storage.line_buffer import LineBuffer
from dipeo_server.storage.lineage import Lineage, lineage_of
from dipeo_server.storage.listing import ExecutionList
from dipeo_server.storage.lock import StoreLock
from dipeo_server.storage.queries import load_migrations, load_queries
from dipeo_server.storage.refusals import check_append, closed
from dipeo_server.storage.rows import (
    answer_of,
    is_sound,
    log_record,
    log_row,
    origin_row,
    summary_of,
    summary_row,
)
from dipeo_server.storage.writer import Writer, storage_error

KEYED_APPENDS_PER_SWEEP: Final = 256
LINEAGES_MAX: Final = 4_096

log = structlog.get_logger(__name__)


class SQLiteStore:
    """Executions in one SQLite file; one process opens it, one task writes it."""

    def __init__(
        self,
        path: Path,
        writer: Writer,
        readers: tuple[Connection, Connection],
        opened: AsyncExitStack,
    ) -> None:
        """Use `open`; `opened` releases whatever that opened."""
        self.blobs = FileBlobs(blobs_folder(path))
        self._writer = writer
        self._reader, lister = readers
        self._opened = opened
        self._codec = EventCodec()
        self._sql = load_queries() | load_queries("checkpoints.sql")
        self._lines = LineBuffer(writer, self._sql["insert_log_line"])
        # Lists have a reader of their own: one that walks a million rows must not hold up logs.
        self._list = ExecutionList(partial(self._fetch_by, lister), self._sql)
        self.diagrams = SQLiteDiagrams(writer, self._fetch)
        self.access = SQLiteAccess(writer, self._fetch)
        self.checkpoints = SQLiteCheckpoints(writer, self._fetch, self._lineage)
        self._lineages: OrderedDict[ExecutionID, Lineage] = OrderedDict()
        self._keyed_appends = 0
        self._quarantine = Quarantine()
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open or create the store. Raises StoreLocked, StorageError."""
        path = make_private(path)
        opened = AsyncExitStack()
        try:
            opened.callback(StoreLock(path).release)
            write, raw = await open_for_writing(path, opened, load_migrations())
            readers = await open_for_reading(path, opened), await open_for_reading(path, opened)
            opened.push_async_callback(_checkpoint, write)
            writer = Writer(write, raw)
            opened.push_async_callback(writer.close)
            store = cls(path, writer, readers, opened)
            await store._check_ends()
        except BaseException as error:
            await opened.aclose()
            if isinstance(error, sqlite3.Error):
                raise StorageError(f"{path} cannot be opened as a store: {error}.") from error
            raise
        return store

    async def _check_ends(self) -> None:
        """Keep what still runs from going on where its log has lost its end."""
        for damage in await self._damaged_ends():
            log.error("log_damaged", execution_id=damage.execution_id, error=damage.message)
            self._quarantine.add(damage)

    async def _damaged_ends(self) -> list[DamagedLog]:
        try:
            return list(damaged_ends(await self._fetch(self._sql["live_ends"], ())))
        except StorageError as error:
            if not is_damage(error):
                raise
        found: list[DamagedLog] = []
        for execution_id in await self.active():  # Whose page is it that cannot be read?
            try:
                ends = await self._fetch(self._sql["live_end"], (execution_id,))
                found += damaged_ends(ends)
            except StorageError as error:
                found.append(damage_of(error, execution_id, Seq(0)))
        return found

    @property
    def commits(self) -> int:
        """How many transactions have been committed since it was opened."""
        return self._writer.commits

    @property
    def problem(self) -> DipeoError | None:
        """What keeps events from being stored at present; None if nothing does."""
        return self._writer.problem

    async def close(self) -> None:
        """Commit what is queued, then release everything; goes on even if its caller does not."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._release(), name="store close")
        await asyncio.shield(self._closing)

    async def _release(self) -> None:
        async with self._opened:
            await self._lines.flush()

    def _check_open(self) -> None:
        if self._closing is not None:
            raise closed()

    # --- writing --------------------------------------------------------------------------------

    async def append(
        self,
        execution_id: ExecutionID,
        events: Sequence[Recorded],
        *,
        after: Seq,
        summary: ExecutionSummary,
        answers: Sequence[KeyedAnswer] = (),
        checkpoints: Sequence[TakenCheckpoint] = (),
    ) -> None:
        """Commit everything together. Raises DamagedLog."""
        self._check_open()
        self._quarantine.check(execution_id)
        check_append(execution_id, events, after, summary)
        # Encoded here, not in the writer's thread, which everybody shares: what cannot be encoded
        # is its caller's matter alone.
        append = Append(
            execution_id,
            after,
            summary_row(summary),
            self._event_rows(events),
            [keyed_row(execution_id, keyed) for keyed in answers],
            origin_row(summary),
            [checkpoint_row(taken) for taken in checkpoints],
        )
        if answers:
            now = stamp(events[-1].at) if events else ""
            is_sweeping = self._keyed_appends % KEYED_APPENDS_PER_SWEEP == 0
            append = replace(append, now=now, is_sweeping=is_sweeping)
            self._keyed_appends += 1
        self._lines.ride_along()
        await self._writer.commit(partial(append.run, self._sql))

    def _event_rows(self, events: Sequence[Recorded]) -> list[EventRow]:
        rows: list[EventRow] = []
        at, stamped = None, ""
        for recorded in events:
            if recorded.at is not at:  # What one signal led to has one time.
                at, stamped = recorded.at, stamp(recorded.at)
            event = recorded.event
            kind = event.kind
            version = self._codec.version_of(kind)
            rows.append((recorded.seq, stamped, kind, version, self._codec.encode(event)))
        return rows

    async def delete(
        self, execution_id: ExecutionID, *, now: datetime, answer: KeyedAnswer | None = None
    ) -> Sequence[ExecutionID]:
        """Forget an execution that has ended and all that ran below it; gives who is gone."""
        self._check_open()
        row = None if answer is None else keyed_row(execution_id, answer)
        deletion = Deletion(execution_id, row, self._sql, stamp(now))
        await self._lines.flush()
        await self._writer.commit(deletion.run)
        for gone in deletion.gone:
            self._lineages.pop(gone, None)
        return deletion.gone

    async def delete_checkpoints(
        self,
        execution_id: ExecutionID,
        choice: CheckpointChoice,
        *,
        now: datetime,
        answer: KeyedAnswer | None = None,
    ) -> int:
        """Forget checkpoints, and keep the answer in the same transaction; gives how many."""
        self._check_open()
        deletion = CheckpointDeletion(execution_id, choice, answer, self._sql, stamp(now))
        await self._writer.commit(deletion.run)
        return deletion.deleted

    async def append_logs(self, execution_id: ExecutionID, lines: Sequence[LogRecord]) -> None:
        """Take log lines; they are written with the next commit, or soon."""
        self._check_open()
        rows = [log_row(execution_id, line) for line in lines]
        await self._lines.add(rows, sum(len(line.text) for line in lines))

    # --- reading --------------------------------------------------------------------------------

    async def read(
        self, execution_id: ExecutionID, *, after: Seq = Seq(0), limit: int = 256
    ) -> Sequence[Recorded]:
        """At most `limit` committed events behind `after`. Raises DamagedLog."""
        self._quarantine.check_read(execution_id, after, limit)
        try:
            rows = await self._read(execution_id, after, limit)
            return decoded(rows, execution_id, after, self._codec)
        except StorageError as error:
            if not is_damage(error):
                raise
            damage = damage_of(error, execution_id, after)
            self._quarantine.add(damage)
            raise damage from error.__cause__

    async def _read(self, execution_id: ExecutionID, after: Seq, limit: int) -> list[sqlite3.Row]:
        """The rows behind `after`, and that of `after` itself, of whatever execution has them."""
        rows: list[sqlite3.Row] = []
        size = limit + (after > 0)
        for stretch in await self._lineage(execution_id):
            if stretch.last >= after and len(rows) < size:
                first = max(after, stretch.first)
                values = (stretch.execution_id, first, stretch.last, size - len(rows), after)
                rows += await self._fetch(self._sql["read_events"], values)
        return rows

    async def _lineage(self, execution_id: ExecutionID) -> Lineage:
        """Whose events make up its log; kept, since it never changes."""
        known = self._lineages.get(execution_id)
        if known is None:
            known = lineage_of(await self._fetch(self._sql["lineage"], (execution_id,)))
            if known:
                self._lineages[execution_id] = known
        while len(self._lineages) > LINEAGES_MAX:
            self._lineages.popitem(last=False)
        return known

    async def summary(self, execution_id: ExecutionID) -> ExecutionSummary | None:
        """The execution's row, or None. Raises DamagedLog."""
        rows = await self._fetch(self._sql["summary"], (execution_id,))
        if rows and not is_sound(rows[0]):
            message = f"The row of {execution_id} is not what was written."
            raise DamagedLog(message, execution_id=execution_id, seq=0)
        return summary_of(rows[0]) if rows else None

    async def active(self) -> Sequence[ExecutionID]:
        """Ids of all executions that have not ended, oldest first."""
        rows = await self._fetch(self._sql["active"], ())
        return [ExecutionID(row["id"]) for row in rows]

    async def list_executions(self, query: ExecutionQuery) -> ExecutionPage:
        """A page of the list, newest first."""
        return await self._list.page(query)

    async def find_answer(
        self, principal: str, key: str, *, now: datetime
    ) -> IdempotentAnswer | None:
        """The stored answer of that key, unless it has expired."""
        rows = await self._fetch(self._sql["find_key"], (principal, key, stamp(now)))
        return answer_of(rows[0]) if rows else None

    async def read_logs(
        self,
        execution_id: ExecutionID,
        *,
        after: int = 0,
        limit: int = 100,
        node: str | None = None,
    ) -> Sequence[LogRecord]:
        """Log lines behind the cursor, all that were appended before included."""
        self._check_open()
        await self._lines.flush()
        if node is None:
            rows = await self._fetch(self._sql["read_logs"], (execution_id, after, limit))
        else:
            values = (execution_id, after, node, limit)
            rows = await self._fetch(self._sql["read_node_logs"], values)
        return [log_record(row) for row in rows]

    async def _fetch(self, sql: str, values: Sequence[Any]) -> list[sqlite3.Row]:
        return await self._fetch_by(self._reader, sql, values)

    async def _fetch_by(
        self, reader: Connection, sql: str, values: Sequence[Any]
    ) -> list[sqlite3.Row]:
        """All rows at once: a cursor that is read slowly would keep the log from being trimmed."""
        self._check_open()
        try:
            return list(await reader.execute_fetchall(sql, values))
        except sqlite3.Error as error:
            raise storage_error(error) from error


async def _checkpoint(connection: Connection) -> None:
    """Leave one file instead of three; if that fails, the next opening does it."""
    with suppress(sqlite3.Error):
        await connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
