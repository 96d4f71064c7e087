"""The SQLite file: who may read it, how it is opened, and how older ones are brought up to date."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiosqlite

from dipeo_server.errors import StorageError
from dipeo_server.storage.chain import ChainEnd, add_functions
from dipeo_server.storage.writer import BatchConnection

APPLICATION_ID: Final = 0x44695045
"""Marks a file as a store of ours ("DiPE")."""

SQLITE_MIN: Final = (3, 37)
"""The first with STRICT tables."""

_ANOTHER_PATH: Final = "Give another path with --store."

# recursive_triggers: without it INSERT OR REPLACE would delete rows behind the triggers' back.
WRITE_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA recursive_triggers = ON",
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
    "PRAGMA cell_size_check = ON",
    "PRAGMA temp_store = MEMORY",
)


def make_private(path: Path) -> Path:
    """Make the file and its folders where there are none; what we make nobody else may read.

    Gives the path without links: a store has one name, and so one lock. Raises StorageError.
    """
    try:
        place = path.resolve()
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        for folder in reversed(place.parents):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        make_file(place)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle.
        reason = getattr(error, "strerror", None) or error
        message = f"{path} cannot be opened as a store: {reason}."
        raise StorageError(message, hint=_ANOTHER_PATH) from error
    return place


def make_file(path: Path) -> None:
    """An empty file, unless there is one.

    One that is there is not even opened: closing it would drop the locks that this process may
    hold on it, and let others change the store under us.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


async def open_for_writing(
    path: Path, stack: AsyncExitStack, migrations: Sequence[str]
) -> tuple[aiosqlite.Connection, BatchConnection]:
    """A connection of aiosqlite (which owns the thread), and the object whose commits it runs.

    The n-th migration brings the file to version n. Raises StorageError, sqlite3.Error.
    """
    made: list[BatchConnection] = []

    def make(*arguments: Any, **options: Any) -> BatchConnection:
        raw = BatchConnection(*arguments, **options)
        raw.chain = ChainEnd()
        add_functions(raw, raw.chain)
        made.append(raw)
        return raw

    connection = await aiosqlite.connect(path, factory=make, isolation_level=None)
    stack.push_async_callback(connection.close)
    # Before anything changes a file that is not ours.
    version = await _check(connection, path, newest=len(migrations))
    rows = list(await connection.execute_fetchall("PRAGMA journal_mode = WAL"))
    if rows[0][0] != "wal":
        message = f"{path} cannot be kept with a write-ahead log (a network file system?)."
        raise StorageError(message, hint=_ANOTHER_PATH)
    await _apply(connection, WRITE_PRAGMAS)
    await _migrate(connection, path, version, migrations)
    return connection, made[0]


async def open_for_reading(path: Path, stack: AsyncExitStack) -> aiosqlite.Connection:
    """A connection that cannot write. Raises sqlite3.Error."""
    connection = await aiosqlite.connect(path, isolation_level=None)
    stack.push_async_callback(connection.close)
    connection.row_factory = sqlite3.Row
    # Damaged text is found to be that by its checksum; refusing to read it hides all around it.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    await _apply(connection, _READ_PRAGMAS)
    return connection


async def _check(connection: aiosqlite.Connection, path: Path, *, newest: int) -> int:
    """The version of the store; 0 = an empty file. Raises StorageError for what is none of ours."""
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        needed = ".".join(map(str, SQLITE_MIN))
        raise StorageError(f"SQLite {needed} is needed; this is {sqlite3.sqlite_version}.")
    version = await _value(connection, "PRAGMA user_version")
    if await _value(connection, "PRAGMA application_id") != APPLICATION_ID:
        if version or await _value(connection, "SELECT count(*) FROM sqlite_master"):
            message = f"{path} is a SQLite file, but no store of this server."
            raise StorageError(message, hint=_ANOTHER_PATH)
        return 0
    if version > newest:
        message = f"{path} was written by a newer version (its store version is {version})."
        raise StorageError(message, hint="Run that version, or give another --store.")
    return version


async def _migrate(
    connection: aiosqlite.Connection, path: Path, version: int, migrations: Sequence[str]
) -> None:
    """Bring the store to the newest version; each step is one transaction, behind a backup."""
    if 0 < version < len(migrations):
        backup = path.with_name(f"{path.name}.version-{version}")
        backup.unlink(missing_ok=True)  # Half of one, if the process died while it was written.
        make_file(backup)
        await connection.execute_fetchall("VACUUM INTO ?", (str(backup),))
    for number in range(version, len(migrations)):
        await connection.executescript(
            f"BEGIN IMMEDIATE;\n{migrations[number]}\n"
            f"PRAGMA application_id = {APPLICATION_ID};\n"
            f"PRAGMA user_version = {number + 1};\nCOMMIT;"
        )


async def _apply(connection: aiosqlite.Connection, pragmas: Iterable[str]) -> None:
    for pragma in pragmas:
        await connection.execute_fetchall(pragma)


async def _value(connection: aiosqlite.Connection, sql: str) -> int:
    rows = list(await connection.execute_fetchall(sql))
    return int(rows[0][0])
