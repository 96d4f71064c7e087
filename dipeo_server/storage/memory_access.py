"""MemoryAccess: tokens and the audit of a store that nothing outlives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from dipeo_server.domains.access.audit import AuditEntry
from dipeo_server.domains.access.ports import KeptToken


class MemoryAccess:
    """Lists with the promises of the real one, but for durability."""

    def __init__(self, check_open: Callable[[], None]) -> None:
        self._check_open = check_open
        self._tokens: dict[str, KeptToken] = {}
        self._entries: list[AuditEntry] = []

    async def tokens(self) -> Sequence[KeptToken]:
        """All that were ever made, the oldest first."""
        self._check_open()
        return list(self._tokens.values())

    async def keep(self, kept: KeptToken, entry: AuditEntry | None) -> None:
        """Keep a token, new or changed, and what led to it."""
        self._check_open()
        await asyncio.sleep(0)
        self._tokens[kept.token.id] = kept
        if entry is not None:
            self.append(entry)

    def note(self, entry: AuditEntry) -> Awaitable[None]:
        """Keep an entry."""
        self._check_open()
        self.append(entry)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stored.set_result(None)
        return stored

    async def entries(self, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """At most `limit` entries with positions below `before`, the newest first."""
        self._check_open()
        end = len(self._entries) if before is None else min(before - 1, len(self._entries))
        return list(reversed(self._entries[max(0, end - limit) : max(0, end)]))

    def append(self, entry: AuditEntry) -> None:
        """Keep the next entry."""
        self._entries.append(replace(entry, position=len(self._entries) + 1))
