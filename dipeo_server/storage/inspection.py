"""Looking at a store's file beside its owner, or without one: a connection that changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from dipeo_server.errors import StorageError
from dipeo_server.storage.chain import ChainEnd, add_functions
from dipeo_server.storage.database import APPLICATION_ID
from dipeo_server.storage.queries import load_migrations

UNREADABLE: Final = (sqlite3.Error, MemoryError, OverflowError, ValueError, TypeError)
"""What reading damaged pages ends in: wrong lengths and types, text that is none."""

Schema = frozenset[tuple[str, ...]]
"""Type, name, table and SQL of everything in a store."""

_PRAGMAS: Final = (
    "PRAGMA query_only = ON",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA temp_store = MEMORY",
)
_SCHEMA: Final = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master"


class NoStore(StorageError):
    """There is no store at that path, or none that this version can look into."""


def check_there(path: Path) -> None:
    """Raises NoStore where there is no file."""
    if not path.is_file():
        raise NoStore(f"There is no store at {path}.", hint="Name it with --store.")


@contextmanager
def looking_into(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for reading. Raises NoStore, sqlite3.Error.

    Not opened read-only: the last connection to a store puts its write-ahead log away, and one that
    may not do that would leave two more files behind.
    """
    check_there(path)
    uri = f"file:{quote(str(path.resolve()))}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        # Text whose bits have changed is compared like any other, and found to be different.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        yield connection


def schema_of(connection: sqlite3.Connection) -> Schema:
    """Everything that the store declares. Raises sqlite3.Error."""
    return frozenset(connection.execute(_SCHEMA).fetchall())


@cache
def expected_schema() -> Schema:
    """What a store of this version declares."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        add_functions(connection, ChainEnd())
        for migration in load_migrations():
            connection.executescript(migration)
        return schema_of(connection)


def check_mark(connection: sqlite3.Connection, path: Path) -> list[str]:
    """What is wrong with how the file is marked and what it declares, in words.

    Raises NoStore for files of others and of other versions, sqlite3.Error for damaged ones.
    """
    newest = len(load_migrations())
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    schema = schema_of(connection)
    is_ours = schema == expected_schema()
    if mark != APPLICATION_ID and not ({"events", "executions"} & {name for _, name, *_ in schema}):
        raise NoStore(f"{path} is a SQLite file, but no store of this server.")
    if mark == APPLICATION_ID and version != newest and not is_ours:
        age = "a newer" if version > newest else "an older"
        hint = "Let this version open it once (`dipeo-server serve`)." if version < newest else None
        message = f"{path} was written by {age} version (its store version is {version})."
        raise NoStore(message, hint=hint)
    wrong = []
    if mark != APPLICATION_ID:
        wrong.append(f"The file is marked as {mark:#x}, not as a store ({APPLICATION_ID:#x}).")
    if version != newest:
        wrong.append(f"The file says it is of version {version}, but it is of version {newest}.")
    if not is_ours:
        odd = sorted({name for _, name, *_ in schema ^ expected_schema()})
        wrong.append(f"What the file declares is not what it should be: {', '.join(odd)}.")
    return wrong
