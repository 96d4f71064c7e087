"""Deletions as units of work: an execution that has ended and all below it, or checkpoints."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dipeo_server.domains.execution.checkpoint_store import CheckpointChoice
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import KeyedAnswer
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.storage.auditing import KeyedRow, counted, keyed_row
from dipeo_server.storage.queries import load_queries
from dipeo_server.storage.refusals import Kin, check_deletable
from dipeo_server.storage.writer import BatchConnection


@dataclass(slots=True)
class Deletion:
    """Rows that go together or not at all; keys of mutations stay until they expire.

    `answer` is the idempotency record of the deletion itself, `now` the time it is made at. `gone`
    is filled by `run`.
    """

    execution_id: ExecutionID
    answer: KeyedRow | None
    sql: Mapping[str, str]
    now: str
    gone: list[ExecutionID] = field(default_factory=list)

    def run(self, connection: BatchConnection) -> None:
        """Delete everything. Raises NotFound, InvalidState, IdempotencyMismatch, sqlite3.Error."""
        sql = load_queries("deleting.sql")
        rows = connection.execute(sql["family"], (self.execution_id,)).fetchall()
        family = [Kin(row[1], ExecutionStatus(row[2]), row[3]) for row in rows]
        check_deletable(self.execution_id, family, _forks(connection, sql["forks_of"], family))
        if self.answer is not None:
            self.answer.insert(connection, self.sql, self.now)
        for position, execution_id, *_ in rows:
            connection.execute(sql["mark"], (position,))
            connection.execute(sql["delete_lines"], (execution_id,))
            for name in ("delete_checkpoints", "delete_events", "delete_execution"):
                connection.execute(sql[name], (position,))
        connection.execute(sql["unmark"])
        self.gone = [ExecutionID(kin.id) for kin in family]


@dataclass(slots=True)
class CheckpointDeletion:
    """Checkpoints that go together or not at all, with the answer that tells how many those were.

    `sql` has the queries of checkpoints and of keys; `deleted` is filled by `run`.
    """

    execution_id: ExecutionID
    choice: CheckpointChoice
    answer: KeyedAnswer | None
    sql: Mapping[str, str]
    now: str
    deleted: int = 0

    def run(self, connection: BatchConnection) -> None:
        """Forget them. Raises IdempotencyMismatch, sqlite3.Error."""
        rows: list[sqlite3.Row] = []
        if self.choice.places is None:
            values = (self.execution_id, self.choice.keep)
            rows += connection.execute(self.sql["forget_checkpoints"], values)
        for at in self.choice.places or ():
            rows += connection.execute(self.sql["forget_checkpoint"], (self.execution_id, at))
        connection.execute(self.sql["delete_checkpoints"], (self.execution_id,))
        self.deleted = len(rows)
        if self.answer is not None:
            told = counted(self.answer, self.deleted)
            keyed_row(self.execution_id, told).insert(connection, self.sql, self.now)


def _forks(connection: sqlite3.Connection, query: str, family: Sequence[Kin]) -> list[str]:
    return [row[0] for kin in family for row in connection.execute(query, (kin.id,))]
