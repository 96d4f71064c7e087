"""The hash chain of the event log, and checksums for the rows that lie beside it.

Each event carries a hash over the one before it and its own columns, so that a change anywhere in a
log shows, and shows where. Disks do change bits: SQLite notices only what breaks its own pages.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from dipeo_server.errors import StorageError
from dipeo_server.storage.codec import json_bytes

HASH_BYTES: Final = 16

START: Final = b""
"""What stands before the first event of every execution."""

EventRow = tuple[int, str, str, int, bytes]
"""Sequence, time, kind, version and payload of an event, as they are stored."""


def link(previous: bytes, execution_id: str, event: EventRow) -> bytes:
    """The hash of an event behind the event that has the hash `previous`."""
    seq, at, kind, version, payload = event
    # None of these holds a line feed, and the payload comes last: no two events read alike.
    digest = blake2b(previous, digest_size=HASH_BYTES)
    digest.update(f"\n{execution_id}\n{seq}\n{at}\n{kind}\n{version}\n".encode())
    digest.update(payload)
    return digest.digest()


def checksum(values: Sequence[Any]) -> bytes:
    """The hash of a row's columns (text, whole numbers, null), in their order."""
    return blake2b(json_bytes(values), digest_size=HASH_BYTES).digest()


def is_linked(previous: Any, execution_id: str, event: Any, own: Any) -> bool:
    """Is `own` the hash of the event behind `previous`? Damaged rows hold values of any type."""
    try:
        return bool(link(previous, execution_id, event) == own)
    except (TypeError, UnicodeError):
        return False


def is_checksum(own: Any, values: Sequence[Any]) -> bool:
    """Is `own` the checksum of the columns? Damaged rows hold values of any type."""
    try:
        return bool(checksum(values) == own)
    except StorageError:
        return False


class ChainEnd:
    """Hashes the events of the append under way; SQL calls it where it moves an execution's row on.

    That statement alone knows the last hash: reading it beforehand would be one more query for each
    append, and keeping it in memory would be one more thing to be wrong after a failed commit.
    """

    def __init__(self) -> None:
        self.hashes: list[bytes] = []
        self._execution_id = ""
        self._events: Sequence[EventRow] = ()

    def expect(self, execution_id: str, events: Sequence[EventRow]) -> None:
        """These events come next; their `hashes` are there once SQL has called `extend`."""
        self._execution_id, self._events, self.hashes = execution_id, events, []

    def extend(self, last_hash: bytes) -> bytes:
        """The hash of the last event behind `last_hash`."""
        hashes = []
        for event in self._events:
            last_hash = link(last_hash, self._execution_id, event)
            hashes.append(last_hash)
        self.hashes = hashes
        return last_hash


def add_functions(connection: sqlite3.Connection, end: ChainEnd) -> None:
    """Teach a connection `extend_chain` for appends, `chain_link` and `checksum_of` for migrations.

    To be called in the connection's own thread.
    """
    connection.create_function("extend_chain", 1, end.extend)
    connection.create_function("chain_link", 7, _chain_link, deterministic=True)
    connection.create_function("checksum_of", -1, _checksum_of, deterministic=True)


def _chain_link(previous: bytes, execution_id: str, *event: Any) -> bytes:
    seq, at, kind, version, payload = event
    return link(previous, execution_id, (seq, at, kind, version, payload))


def _checksum_of(*values: Any) -> bytes:
    return checksum(values)
