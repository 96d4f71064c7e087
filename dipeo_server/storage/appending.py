"""One append as a unit of work: an execution's row, its events, and what comes with them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dipeo_server.domains.execution.checkpoint_store import KEPT_MAX
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.storage.auditing import KeyedRow
from dipeo_server.storage.chain import START, EventRow
from dipeo_server.storage.lineage import lineage_of
from dipeo_server.storage.refusals import no_origin, not_the_tail
from dipeo_server.storage.rows import Row
from dipeo_server.storage.writer import BatchConnection


@dataclass(frozen=True, slots=True)
class Append:
    """Rows that are committed together or not at all, encoded beforehand.

    `columns` are those of the execution without its id; `origin` is what it is a fork of, and from
    where on. An event's row lacks its execution and its hash. `now` is the time of the newest event
    ("" if there is none): keys that expired before may be used again, and are swept where
    `is_sweeping` says so.
    """

    execution_id: ExecutionID
    after: Seq
    columns: Row
    events: Sequence[EventRow]
    answers: Sequence[KeyedRow]
    origin: Row = (None, None)
    checkpoints: Sequence[Row] = ()
    now: str = ""
    is_sweeping: bool = False

    def run(self, sql: Mapping[str, str], connection: BatchConnection) -> None:
        """Write everything. Raises ConcurrentAppend, IdempotencyMismatch, sqlite3.Error."""
        chain = connection.chain
        chain.expect(self.execution_id, self.events)
        position = self._extend(sql, connection)
        rows = zip(self.events, chain.hashes, strict=True)
        connection.executemany(sql["insert_event"], [(position, *row, own) for row, own in rows])
        if self.checkpoints:
            rows_of_states = [(position, *row) for row in self.checkpoints]
            connection.executemany(sql["insert_checkpoint"], rows_of_states)
            if any(at == base for at, base, *_ in self.checkpoints):
                values = (position, KEPT_MAX)
                if connection.execute(sql["forget_old_checkpoints"], values).fetchall():
                    connection.execute(sql["delete_checkpoints"], (self.execution_id,))
        for answer in self.answers:
            answer.insert(connection, sql, self.now)
        if self.is_sweeping:
            connection.execute(sql["sweep_keys"], (self.now,))

    def _extend(self, sql: Mapping[str, str], connection: sqlite3.Connection) -> int:
        """Move the execution's row on; gives its position."""
        place = (*self.columns, self.execution_id, *self.origin)
        fork_of, forked_at = self.origin
        if self.after == (forked_at or 0):
            start = START if fork_of is None else self._hash_of_origin(sql, connection)
            rows = connection.execute(sql["insert_execution"], (*place, start)).fetchall()
        else:
            rows = connection.execute(sql["extend_execution"], (*place, self.after)).fetchall()
        if rows:
            return int(rows[0][0])
        tail = connection.execute(sql["tail"], (self.execution_id,)).fetchone()
        raise not_the_tail(self.execution_id, tail[0] if tail else 0, self.after)

    def _hash_of_origin(self, sql: Mapping[str, str], connection: sqlite3.Connection) -> bytes:
        """The hash of the event that a fork goes on behind. Raises StorageError."""
        fork_of, forked_at = self.origin
        for stretch in lineage_of(connection.execute(sql["lineage"], (fork_of,)).fetchall()):
            if stretch.first <= forked_at <= stretch.last:
                values = (stretch.execution_id, forked_at)
                row = connection.execute(sql["hash_at"], values).fetchone()
                if row is not None:
                    return bytes(row[0])
        raise no_origin(self.execution_id, fork_of, forked_at)
