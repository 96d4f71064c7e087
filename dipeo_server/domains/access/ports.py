"""What keeps tokens and the audit, and what offers them to the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dipeo_server.domains.access.audit import Attempt, AuditEntry
from dipeo_server.domains.access.tokens import NewToken, Token, TokenDraft


@dataclass(frozen=True, slots=True)
class KeptToken:
    """A token and the digest of its text."""

    token: Token
    digest: bytes


class AccessStore(Protocol):
    """Tokens, and the audit: a chain of entries that only ever grows."""

    async def tokens(self) -> Sequence[KeptToken]:
        """All that were ever made, the oldest first."""
        ...

    async def keep(self, kept: KeptToken, entry: AuditEntry | None) -> None:
        """Store a token, new or changed, and what led to it, together."""
        ...

    def note(self, entry: AuditEntry) -> Awaitable[None]:
        """Store an entry; what comes back tells when it is durable, and need not be awaited."""
        ...

    async def entries(self, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """At most `limit` entries with positions below `before`, the newest first."""
        ...


class Access(Protocol):
    """Who is who, what they did, and who decides on that."""

    def token_of(self, text: str) -> Token | None:
        """The valid token with that text; anything else is None. Notes that it was used."""
        ...

    def has_known(self, token_id: str) -> bool:
        """Was there ever a token with that id?"""
        ...

    def is_valid(self, token_id: str) -> bool:
        """Is the token there, and neither revoked nor expired?"""
        ...

    def when_over(self, token_id: str, call: Callable[[], None]) -> Callable[[], None]:
        """Call once the token is revoked or expires; what comes back takes the wish back."""
        ...

    def all_tokens(self) -> Sequence[Token]:
        """All that were ever made, the oldest first."""
        ...

    async def create(
        self, draft: TokenDraft, attempt: Attempt, key: str | None = None
    ) -> NewToken | Token:
        """Make a token; for a key that was used before the token it made, without its text.

        Raises InvalidInput, IdempotencyMismatch, StorageError.
        """
        ...

    async def revoke(self, token_id: str, attempt: Attempt) -> Token:
        """Make a token worthless at once; one that is stays so. Raises NotFound, StorageError."""
        ...

    def note(self, attempt: Attempt, outcome: str) -> Awaitable[None]:
        """Write down what came of an attempt."""
        ...

    async def entries(self, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """A page of the audit, the newest first."""
        ...
