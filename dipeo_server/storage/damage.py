"""Logs that are damaged: found link by link while they are read, and kept from growing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.errors import DamagedLog, StorageError
from dipeo_server.storage.chain import START, is_linked
from dipeo_server.storage.codec import EventCodec, UnreadableEvent, unstamp


def damaged(execution_id: str, seq: int, why: str) -> DamagedLog:
    """The error that names an execution, the event at which its log is damaged, and how."""
    message = f"The log of {execution_id} is damaged at event {seq}: {why}."
    return DamagedLog(message, execution_id=execution_id, seq=seq)


class Quarantine:
    """Executions with damaged logs: what is whole can be read, nothing is added."""

    def __init__(self) -> None:
        self._found: dict[str, DamagedLog] = {}

    def add(self, damage: DamagedLog) -> None:
        """Keep the execution from growing; the first damage found is the one that is told."""
        self._found.setdefault(damage.execution_id, damage)

    def check_read(self, execution_id: ExecutionID, after: Seq, limit: int) -> None:
        """Raises DamagedLog where the damage lies among the `limit` events behind `after`.

        A log that has lost its end would read well, and look shorter than it was.
        """
        known = self._found.get(execution_id)
        if known is not None and after < known.seq <= after + limit:
            raise DamagedLog(known.message, execution_id=known.execution_id, seq=known.seq)

    def check(self, execution_id: ExecutionID) -> None:
        """Raises DamagedLog for an execution that is in here."""
        known = self._found.get(execution_id)
        if known is not None:
            message = f"{known.message} Nothing is added to it."
            raise DamagedLog(message, execution_id=known.execution_id, seq=known.seq)


def decoded(
    rows: Sequence[sqlite3.Row], execution_id: ExecutionID, after: Seq, codec: EventCodec
) -> list[Recorded]:
    """The events of rows behind `after`; the first row is that of `after` unless that is 0.

    Each row begins with the execution that has it of its own: this one, or one it is a fork of.
    Raises DamagedLog at the first gap, and at the first row that is not what was written.
    """
    previous, place = START, int(after)
    if after and rows:
        first, rows = rows[0], rows[1:]
        previous = first["hash"]
        if first["seq"] != after:
            raise damaged(execution_id, after, "it is missing")
    found = []
    for row in rows:
        owner, seq, at, kind, version, own, payload = row
        place += 1
        if seq != place:
            raise damaged(execution_id, place, "it is missing")
        if not is_linked(previous, owner, (seq, at, kind, version, payload), own):
            raise damaged(execution_id, seq, "it is not what was written")
        try:
            event = codec.decode(kind, payload, version)
        except UnreadableEvent as error:
            raise _named(error, execution_id, seq) from error
        found.append(Recorded(Seq(seq), unstamp(at), event))
        previous = own
    return found


def _named(error: UnreadableEvent, execution_id: ExecutionID, seq: int) -> UnreadableEvent:
    message = f"Event {seq} of {execution_id}: {error.message}"
    return UnreadableEvent(message, hint=error.hint)


def is_damage(error: StorageError) -> bool:
    """Does it tell of damage, and not of a disk that is full or a store that is closed?"""
    code = getattr(error.__cause__, "sqlite_errorcode", 0)
    # The upper bits of the code say which kind of corruption.
    return isinstance(error, DamagedLog) or code & 0xFF == sqlite3.SQLITE_CORRUPT


def damage_of(error: StorageError, execution_id: ExecutionID, after: Seq) -> DamagedLog:
    """The damage that a read behind `after` met."""
    if isinstance(error, DamagedLog):
        return error
    return damaged(execution_id, after + 1, f"it or a later one is unreadable ({error.__cause__})")


def damaged_ends(rows: Iterable[sqlite3.Row]) -> Iterable[DamagedLog]:
    """Which of the executions of the query `live_ends` do not end as their logs do."""
    for row in rows:
        last = row["last_seq"]
        if (row["tail"] or 0) != last:
            why = f"the log should end at {last}, and ends at {row['tail'] or 0}"
            yield damaged(row["id"], min(last, row["tail"] or 0) + 1, why)
        elif last and row["hash"] != row["head_hash"]:
            yield damaged(row["id"], last, "it is not the last one that was written")
