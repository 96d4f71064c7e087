"""Verifying executions one by one: hashes, gaps, rows, and the fold of what is whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.storage.chain import START, EventRow, link
from dipeo_server.storage.codec import EventCodec, UnreadableEvent, unstamp
from dipeo_server.storage.inspection import UNREADABLE
from dipeo_server.storage.lineage import Stretch, lineage_of
from dipeo_server.storage.queries import load_queries
from dipeo_server.storage.rows import SUMMARY_COLUMNS, is_sound_row, origin_row, summary_row

_COLUMNS: Final = ", ".join(
    (*SUMMARY_COLUMNS, "id", "fork_of", "forked_at", "checksum", "head_hash")
)
_EXECUTION: Final = f"SELECT {_COLUMNS} FROM executions WHERE position = ?"  # noqa: S608 - constants alone.
_EVENTS: Final = (
    "SELECT seq, at, kind, version, payload, hash FROM events "
    "WHERE execution = (SELECT position FROM executions WHERE id = ?) "
    "AND seq BETWEEN ? AND ? ORDER BY seq"
)
DAMAGE_PER_LOG_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not what was written: where, as far as that can be told, and in words."""

    message: str
    execution_id: str | None = None
    seq: int | None = None


@dataclass(slots=True, eq=False)
class _Log:
    """How far a log has been verified, and what was found in it.

    `owner` has the next events of its own: the execution, or one that it is a fork of.
    """

    execution_id: str
    owner: str
    found: list[Damage]
    last: int = 0
    heads: tuple[bytes, ...] = (START,)
    is_torn: bool = False

    def tell(self, seq: int, why: str) -> None:
        message = f"Event {seq} of {self.execution_id} {why}."
        if len(self.found) < DAMAGE_PER_LOG_MAX:
            self.found.append(Damage(message, self.execution_id, seq))


class LogVerifier:
    """Verifies logs over one connection, each in a transaction of its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._codec = EventCodec()
        self._lineage = load_queries()["lineage"]
        self.executions = 0
        self.events = 0

    def verify(self, position: int) -> list[Damage]:
        """What is wrong with the execution at that position, and with its log."""
        self.executions += 1
        self._connection.execute("BEGIN")
        try:
            return self._verify(position)
        except UNREADABLE as error:
            return [Damage(f"The execution at position {position} cannot be read: {error}.")]
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _verify(self, position: int) -> list[Damage]:
        row = self._connection.execute(_EXECUTION, (position,)).fetchone()
        if row is None:
            return []  # It was pruned meanwhile.
        *columns, execution_id, fork_of, forked_at, own, head = row
        log = _Log(execution_id, execution_id, [])
        if not is_sound_row(columns, (fork_of, forked_at), execution_id, own):
            message = f"The row of {execution_id} is not what was written."
            log.found.append(Damage(message, execution_id))
        events = self._walk(log)
        machine = _folded(events, log)
        for _ in events:
            pass  # All of it is read, even where nothing can be folded any more.
        _check_end(log, columns[4], head)
        if machine is not None and not log.found:
            log.found.extend(_compared(machine, [*columns, fork_of, forked_at]))
        return log.found

    def _walk(self, log: _Log) -> Iterator[Recorded]:
        """The events up to the first damage; whatever is wrong, there and behind, is told.

        A fork begins with the events of its origins: its own rest on those.
        """
        lineage = lineage_of(
            self._connection.execute(self._lineage, (log.execution_id,)).fetchall()
        )
        for stretch in lineage:
            log.owner = stretch.execution_id
            if not log.is_torn:
                yield from self._walk_along(stretch, log)

    def _walk_along(self, stretch: Stretch, log: _Log) -> Iterator[Recorded]:
        values = (stretch.execution_id, stretch.first, stretch.last)
        rows = self._connection.execute(_EVENTS, values)
        while True:
            try:
                row = rows.fetchone()
            except UNREADABLE as error:
                log.tell(log.last + 1, f"or a later one cannot be read: {error}")
                log.is_torn = True
                return
            if row is None:
                return
            self.events += log.owner == log.execution_id
            if self._is_linked(row, log):
                try:
                    event = self._codec.decode(row[2], row[4], row[3])
                except UnreadableEvent as error:
                    log.tell(row[0], f"cannot be read: {error.message.rstrip('.')}")
                else:
                    if not log.found:
                        yield Recorded(Seq(row[0]), unstamp(row[1]), event)

    def _is_linked(self, row: tuple[Any, ...], log: _Log) -> bool:
        """Is it what follows? Behind damage, what comes next is judged by itself."""
        seq, at, kind, version, payload, own = row
        if not _is_event(row):
            log.tell(log.last + 1, "is not what was written")
            log.last, log.heads = log.last + 1, ()
            return False
        if seq != log.last + 1:
            log.tell(log.last + 1, "is missing")
            log.heads = ()
        event: EventRow = (seq, at, kind, version, payload)
        hashes = [link(head, log.owner, event) for head in log.heads]
        is_sound = own in hashes or not hashes
        if not is_sound:
            log.tell(seq, "is not what was written")
        # Either the event or its hash has changed: the next one tells by which of them it holds on.
        log.last, log.heads = seq, (own,) if is_sound else (own, *hashes)
        return is_sound


def _folded(events: Iterator[Recorded], log: _Log) -> ExecutionMachine | None:
    """The machine behind the events; None if there are none, or they do not follow one another."""
    try:
        machine = ExecutionMachine.replay(events)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and others go on.
        log.tell(log.last, f"cannot follow what is before it: {error}")
        return None
    return machine if machine.last_seq else None


def _is_event(row: tuple[Any, ...]) -> bool:
    """Are at least the types of its columns what they are by the schema?"""
    return tuple(map(type, row)) == (int, str, str, int, bytes, bytes)


def _check_end(log: _Log, last_seq: Any, head: Any) -> None:
    if not isinstance(last_seq, int):
        return  # The row's checksum has told so.
    if log.last < last_seq and not log.is_torn:
        log.tell(log.last + 1, f"is missing, as is all behind it; {last_seq} would be the last")
    elif log.last > last_seq:
        log.tell(last_seq + 1, "lies behind the end that its execution's row tells")
    elif log.last == last_seq and log.heads and head not in log.heads:
        log.tell(last_seq, "is not the last one that was written")


def _compared(machine: ExecutionMachine, columns: list[Any]) -> Iterator[Damage]:
    """Does the row say what follows from the log?"""
    summary = summary_of(machine.state)
    expected = (*summary_row(summary)[:-1], *origin_row(summary))
    names = (*SUMMARY_COLUMNS, "fork_of", "forked_at")
    compared = zip(names, expected, columns, strict=True)
    odd = [name for name, ours, theirs in compared if ours != theirs]
    if odd:
        execution_id = summary.id
        message = f"The row of {execution_id} does not follow from its log: {', '.join(odd)}."
        yield Damage(message, execution_id)
