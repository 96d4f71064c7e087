"""Deletions as units of work: an execution that has ended and all below it, or checkpoints."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dipeo_server.domains.execution.checkpoint_store import CheckpointChoice
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import KeyedAnswer
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.storage.auditing import KeyedRow, counted, keyed_row
from dipeo_server.storage.queries import load_queries
from dipeo_server.storage.refusals import Kin, check_deletable
from dipeo_server.storage.writer import BatchConnection

_DELETING: Final = (
    "delete_lines",
    "delete_checkpoints",
    "delete_events",
    "delete_executions",
    "unmark",
)
_SQL: Final = {**load_queries("pruning.sql"), **load_queries("deleting.sql")}


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
        rows = connection.execute(_SQL["family_of"], (self.execution_id,)).fetchall()
        family = [Kin(row[1], ExecutionStatus(row[2]), row[3]) for row in rows]
        check_deletable(self.execution_id, family, _forks(connection, family))
        if self.answer is not None:
            self.answer.insert(connection, self.sql, self.now)
        connection.executemany(_SQL["mark"], [(row[0],) for row in rows])
        for name in _DELETING:
            connection.execute(_SQL[name])
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


def _forks(connection: sqlite3.Connection, family: Sequence[Kin]) -> list[str]:
    return [row[0] for kin in family for row in connection.execute(_SQL["forks_of"], (kin.id,))]
