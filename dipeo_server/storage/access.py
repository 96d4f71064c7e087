"""SQLiteAccess: tokens and the audit, through the store's one writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from dipeo_server.domains.access.audit import AuditEntry
from dipeo_server.domains.access.ports import KeptToken
from dipeo_server.domains.access.roles import Role
from dipeo_server.domains.access.tokens import Token
from dipeo_server.errors import StorageError
from dipeo_server.storage.auditing import entry_of, insert_entry
from dipeo_server.storage.chain import checksum, is_checksum
from dipeo_server.storage.codec import stamp, unstamp
from dipeo_server.storage.listing import Fetch
from dipeo_server.storage.queries import load_queries
from dipeo_server.storage.rows import Row
from dipeo_server.storage.writer import Writer

POSITION_MAX: Final = 2**63 - 1


class SQLiteAccess:
    """Tokens and the audit in the tables of the store that has the writer and the readers."""

    def __init__(self, writer: Writer, fetch: Fetch) -> None:
        self._writer = writer
        self._fetch = fetch
        self._sql = load_queries() | load_queries("access.sql")

    async def tokens(self) -> Sequence[KeptToken]:
        """All that were ever made, the oldest first. Raises StorageError for a damaged one."""
        return [kept_of(row) for row in await self._fetch(self._sql["tokens"], ())]

    async def keep(self, kept: KeptToken, entry: AuditEntry | None) -> None:
        """Store a token, new or changed, and what led to it, together."""
        row = token_row(kept)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(self._sql["keep_token"], row)
            if entry is not None:
                insert_entry(connection, self._sql, entry)

        await self._writer.commit(work)

    def note(self, entry: AuditEntry) -> Awaitable[None]:
        """Store an entry with the next commit; what comes back tells when it is durable."""
        return self._writer.put(lambda connection: insert_entry(connection, self._sql, entry))

    async def entries(self, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """At most `limit` entries with positions below `before`, the newest first."""
        values = (POSITION_MAX if before is None else before, limit)
        rows = await self._fetch(self._sql["newest_entries"], values)
        return [entry_of(row) for row in rows]


def token_row(kept: KeptToken) -> Row:
    """The columns of a token, its checksum last, which covers all but its last use."""
    token = kept.token
    fixed = (
        token.id,
        token.name,
        token.role.value,
        int(token.is_approver),
        kept.digest,
        stamp(token.created_at),
        token.created_by,
        None if token.expires_at is None else stamp(token.expires_at),
        None if token.revoked_at is None else stamp(token.revoked_at),
    )
    used = None if token.last_used_at is None else stamp(token.last_used_at)
    return (*fixed, used, _checksum(fixed))


def kept_of(row: sqlite3.Row) -> KeptToken:
    """The token that a row holds. Raises StorageError where that is not what was written."""
    if not is_sound_token(row):
        raise StorageError("A token in the store is not what was written.", hint=_VERIFY)
    token = Token(
        id=row["id"],
        name=row["name"],
        role=Role(row["role"]),
        is_approver=bool(row["is_approver"]),
        created_at=unstamp(row["created_at"]),
        created_by=row["created_by"],
        expires_at=None if row["expires_at"] is None else unstamp(row["expires_at"]),
        revoked_at=None if row["revoked_at"] is None else unstamp(row["revoked_at"]),
        last_used_at=None if row["last_used_at"] is None else unstamp(row["last_used_at"]),
    )
    return KeptToken(token, row["digest"])


def is_sound_token(row: sqlite3.Row) -> bool:
    """Is the row of a token what was written?"""
    fixed = [row[name] for name in _FIXED]
    if not isinstance(row["digest"], bytes):
        return False
    return is_checksum(row["checksum"], _plain(fixed))


def _checksum(fixed: Sequence[Any]) -> bytes:
    return checksum(_plain(fixed))


def _plain(fixed: Sequence[Any]) -> list[Any]:
    """The digest as text, since a checksum is one over text and numbers."""
    return [value.hex() if isinstance(value, bytes) else value for value in fixed]


_FIXED: Final = (
    "id",
    "name",
    "role",
    "is_approver",
    "digest",
    "created_at",
    "created_by",
    "expires_at",
    "revoked_at",
)
_VERIFY: Final = "`dipeo-server verify` tells all damage; a backup has what was lost."
