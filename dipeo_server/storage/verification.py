"""Verifying a whole store: its pages, what it declares, every log, every row and every blob."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dipeo_server.domains.execution.blobs import BlobRef
from dipeo_server.domains.execution.snapshot import document_of
from dipeo_server.errors import DamagedCheckpoint, StorageError
from dipeo_server.storage.access import is_sound_token
from dipeo_server.storage.auditing import broken_links
from dipeo_server.storage.blobs import FileBlobs, blobs_folder
from dipeo_server.storage.chain import is_checksum
from dipeo_server.storage.checkpoints import checkpoint_of
from dipeo_server.storage.diagram_rules import digest_of
from dipeo_server.storage.inspection import UNREADABLE, NoStore, check_mark, looking_into
from dipeo_server.storage.log_verification import Damage, LogVerifier

Tell = Callable[[str, int, int], None]
"""Is told what is being verified, how many of it are done, and of how many (0 = not known)."""

PAGE: Final = 1_000
PAGE_PROBLEMS_MAX: Final = 1_000

_NO_INDEX: Final = re.compile(r"row (\d+) missing from index sqlite_autoindex_events_1")
_REFERENCE: Final = re.compile(rb'\{"hash":"([0-9a-f]{64})","size":(\d+)\}')
_ANSWERS: Final = (
    "SELECT principal, key, mutation, request_hash, execution_id, answer, expires_at, checksum "
    "FROM idempotency"
)
_CHECKPOINTS: Final = (
    "SELECT x.id AS execution_id, c.* FROM checkpoints AS c "
    "JOIN executions AS x ON x.position = c.execution ORDER BY c.execution, c.at"
)
_COUNTS: Final = (
    "SELECT status, executions, (SELECT count(*) FROM executions AS x WHERE x.status = c.status) "
    "FROM execution_counts AS c"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How much was verified, and all that is not what was written."""

    executions: int
    events: int
    blobs: int
    damage: tuple[Damage, ...]

    @property
    def is_sound(self) -> bool:
        """Is everything what was written?"""
        return not self.damage


def verify_store(path: Path, tell: Tell = lambda *_: None) -> Verdict:
    """Verify everything, also while a server has the store open; changes nothing.

    Damage never raises. Raises NoStore where there is no store that could be verified.
    """
    found: list[Damage] = []
    executions = events = blobs = 0
    try:
        with looking_into(path) as connection:
            found += map(Damage, check_mark(connection, path))
            tell("pages", 0, 0)
            found += _guarded("the pages", _pages(connection))
            logs = LogVerifier(connection)
            found += _logs(connection, logs, tell)
            executions, events = logs.executions, logs.events
            for what, check in (
                ("answers", _answers),
                ("counts", _counts),
                ("diagrams", _texts),
                ("checkpoints", _checkpoints),
                ("tokens", _tokens),
                ("audit", _audit),
            ):
                tell(what, 0, 0)
                found += _guarded(f"the {what}", check(connection))
            blobs, damage = _blobs(path, connection, tell)
            found += damage
    except NoStore:
        raise
    except UNREADABLE as error:
        found.append(Damage(f"{path} cannot be read as a store: {error}."))
    return Verdict(executions, events, blobs, tuple(found))


def _guarded(what: str, found: Iterator[Damage]) -> Iterator[Damage]:
    """What is found; a check that meets unreadable pages has found that."""
    try:
        yield from found
    except UNREADABLE as error:
        yield Damage(f"Of {what} not all can be read: {error}.")


def _pages(connection: sqlite3.Connection) -> Iterator[Damage]:
    """SQLite's own checks: pages, indexes, types and references."""
    for (text,) in connection.execute(f"PRAGMA integrity_check({PAGE_PROBLEMS_MAX})"):
        for line in text.splitlines():
            if line != "ok" and not line.startswith("***"):
                yield _placed(connection, line)
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield Damage(f"Row {row} of {table} refers to a row of {parent} that is not there.")


def _placed(connection: sqlite3.Connection, line: str) -> Damage:
    """A finding of SQLite, with the event it concerns where it says which row that is."""
    missing = _NO_INDEX.fullmatch(line)
    if missing is not None:
        rows = connection.execute(
            "SELECT x.id, e.seq FROM events AS e NOT INDEXED "
            "JOIN executions AS x ON x.position = e.execution WHERE e.rowid = ?",
            (int(missing[1]),),
        ).fetchall()
        for execution_id, seq in rows:
            message = f"Event {seq} of {execution_id} is not where its index has it."
            return Damage(message, execution_id, seq)
    return Damage(f"SQLite finds: {line}.")


def _logs(connection: sqlite3.Connection, logs: LogVerifier, tell: Tell) -> Iterator[Damage]:
    position = 0
    try:
        total = connection.execute("SELECT count(*) FROM executions").fetchone()[0]
        while positions := connection.execute(
            "SELECT position FROM executions NOT INDEXED WHERE position > ? "
            "ORDER BY position LIMIT ?",
            (position, PAGE),
        ).fetchall():
            for (position,) in positions:
                yield from logs.verify(position)
                tell("executions", logs.executions, total)
    except UNREADABLE as error:
        yield Damage(f"Behind position {position} no execution can be listed: {error}.")


def _answers(connection: sqlite3.Connection) -> Iterator[Damage]:
    for *columns, own in connection.execute(_ANSWERS):
        if not is_checksum(own, columns):
            yield Damage(f"The answer to the key {columns[1]!r} is not what was written.")


def _counts(connection: sqlite3.Connection) -> Iterator[Damage]:
    for status, kept, counted in connection.execute(_COUNTS):
        if kept != counted:
            yield Damage(f"The store counts {kept} executions that are {status}; it has {counted}.")


def _texts(connection: sqlite3.Connection) -> Iterator[Damage]:
    for digest, text in connection.execute("SELECT digest, text FROM diagram_documents"):
        if not isinstance(text, str) or digest_of(text) != digest:
            yield Damage(f"The document {digest} of a diagram is not what was written.")


def _checkpoints(connection: sqlite3.Connection) -> Iterator[Damage]:
    """Row by row, and whether what they are made up from is what it was."""
    parts: list[bytes] = []
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    for row in cursor.execute(_CHECKPOINTS):
        parts = [*(parts if row["base"] < row["at"] else ()), row["payload"]]
        try:
            known = checkpoint_of(row)
            document_of(parts, known.content_hash)
        except DamagedCheckpoint as error:
            message = f"{error.message} It is only a cache: the log is read in its place."
            yield Damage(message, row["execution_id"], row["at"])


def _tokens(connection: sqlite3.Connection) -> Iterator[Damage]:
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    for row in cursor.execute("SELECT * FROM tokens ORDER BY position"):
        if not is_sound_token(row):
            yield Damage(f"The token {row['id']!r} is not what was written.")


def _audit(connection: sqlite3.Connection) -> Iterator[Damage]:
    yield from map(Damage, broken_links(connection))


def _blobs(path: Path, connection: sqlite3.Connection, tell: Tell) -> tuple[int, list[Damage]]:
    """How many blobs there are, and which of them are damaged or missing."""
    blobs = FileBlobs(blobs_folder(path))
    names = list(blobs.names())
    found = []
    for done, name in enumerate(names, 1):
        try:
            file = blobs.path_of(name)
            blobs.read(BlobRef(name, file.stat().st_size))
        except (StorageError, OSError) as error:
            found.append(Damage(str(error)))
        tell("blobs", done, len(names))
    tell("references", 0, 0)
    found += _guarded("the references to blobs", _missing(blobs, connection, frozenset(names)))
    return len(names), found


def _missing(
    blobs: FileBlobs, connection: sqlite3.Connection, names: frozenset[str]
) -> Iterator[Damage]:
    rows = connection.execute(
        "SELECT x.id, e.seq, e.payload FROM events AS e "
        "JOIN executions AS x ON x.position = e.execution "
        'WHERE instr(e.payload, CAST(\'","size":\' AS BLOB)) > 0'
    )
    for execution_id, seq, payload in rows:
        for match in _REFERENCE.finditer(payload):
            name, size = match[1].decode(), int(match[2])
            if name not in names:
                why = "is not there"
            elif blobs.path_of(name).stat().st_size != size:
                why = f"has not the {size} bytes it should have"
            else:
                continue
            message = f"Event {seq} of {execution_id} refers to the blob {name}, which {why}."
            yield Damage(message, execution_id, seq)
