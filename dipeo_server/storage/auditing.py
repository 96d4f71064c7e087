"""The audit's chain: entries as rows, each with a hash over the one before it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

from dipeo_server.domains.access.audit import Attempt, AuditEntry
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import Idempotency, KeyedAnswer
from dipeo_server.errors import StorageError
from dipeo_server.storage.chain import HASH_BYTES, START
from dipeo_server.storage.codec import json_bytes, stamp, unstamp
from dipeo_server.storage.refusals import in_use
from dipeo_server.storage.rows import Row, answer_row

_COLUMNS: Final = "position, at, principal, token_id, operation, target, request_id, key, outcome"
_CHAIN: Final = f"SELECT {_COLUMNS}, hash FROM audit ORDER BY position"  # noqa: S608 - constants alone.
_COUNT: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'audit'"


@dataclass(frozen=True, slots=True)
class KeyedRow:
    """The record of an idempotency key as a row, and the entry that tells what was done."""

    columns: Row
    entry: AuditEntry | None

    def insert(self, connection: sqlite3.Connection, sql: Mapping[str, str], now: str) -> None:
        """Write both; keys that expired before `now` are free. Raises IdempotencyMismatch."""
        if not connection.execute(sql["insert_key"], (*self.columns, now)).fetchall():
            raise in_use(self.columns[1])
        if self.entry is not None:
            insert_entry(connection, sql, self.entry)


def keyed_row(execution_id: ExecutionID, keyed: KeyedAnswer, target: str | None = None) -> KeyedRow:
    """The rows of an idempotency key that is used; `target` is what is changed, else the run."""
    entry = entry_about(keyed.idempotency, target or execution_id)
    return KeyedRow(answer_row(execution_id, keyed), entry)


def counted(keyed: KeyedAnswer, deleted: int) -> KeyedAnswer:
    """The answer of a deletion, now that it is known how much was deleted."""
    return replace(keyed, answer={**keyed.answer, "deleted": deleted})


def entry_about(used: Idempotency, target: str | None) -> AuditEntry | None:
    """What the audit tells of a mutation; it was about `target` where it named nothing."""
    entry = used.entry
    if entry is None or entry.attempt.target is not None:
        return entry
    return replace(entry, attempt=replace(entry.attempt, target=target))


def insert_entry(connection: sqlite3.Connection, sql: Mapping[str, str], entry: AuditEntry) -> None:
    """Write the next entry, in the transaction that is under way."""
    end = connection.execute(sql["audit_end"]).fetchone()
    position, previous = (0, START) if end is None else (int(end[0]), bytes(end[1]))
    row = (position + 1, *entry_row(entry))
    connection.execute(sql["insert_entry"], (*row, entry_hash(previous, row)))


def entry_row(entry: AuditEntry) -> Row:
    """The columns of an entry but its position and its hash."""
    attempt = entry.attempt
    return (
        stamp(entry.at),
        attempt.principal,
        attempt.token_id,
        attempt.operation,
        attempt.target,
        attempt.request_id,
        attempt.key,
        entry.outcome,
    )


def entry_of(row: Sequence[Any]) -> AuditEntry:
    """The entry that a row holds, its position first."""
    position, at, principal, token_id, operation, target, request_id, key, outcome = row
    attempt = Attempt(principal, token_id, operation, request_id, target, key)
    return AuditEntry(attempt, unstamp(at), outcome, position)


def entry_hash(previous: bytes, row: Row) -> bytes:
    """The hash of an entry (its position and its columns) behind the one with that hash."""
    return blake2b(previous + b"\n" + json_bytes(row), digest_size=HASH_BYTES).digest()


def broken_links(connection: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with the audit of a store, in words. Raises sqlite3.Error."""
    expected, previous = 1, START
    for *row, own in connection.execute(_CHAIN):
        if row[0] != expected:
            yield f"Entry {expected} of the audit is missing."
        elif not _is_linked(previous, tuple(row), own):
            yield f"Entry {row[0]} of the audit is not what was written."
        expected, previous = row[0] + 1, own
    counted = connection.execute(_COUNT).fetchone()
    if counted is not None and counted[0] >= expected:
        yield f"Entry {expected} of the audit is missing; {counted[0]} would be the last."


def _is_linked(previous: Any, row: Row, own: Any) -> bool:
    """Damaged rows hold values of any type."""
    try:
        return bool(entry_hash(previous, row) == own)
    except (TypeError, StorageError):
        return False
