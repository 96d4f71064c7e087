"""AccessKeeper: the tokens of a server, and the audit of what is done with them.

All tokens are in memory: the process that has the store open is the only one that changes them, so
that to know somebody costs no look into the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Self

import structlog

from dipeo_server.domains.access.audit import Attempt, AuditEntry
from dipeo_server.domains.access.ports import AccessStore, KeptToken
from dipeo_server.domains.access.tokens import (
    ALPHABET,
    ID_CHARACTERS,
    SECRET_CHARACTERS,
    NewToken,
    Token,
    TokenDraft,
    digest_of,
    id_of,
    is_text_of,
    token_text,
)
from dipeo_server.domains.execution.ports import Clock
from dipeo_server.errors import IdempotencyMismatch, NotFound

USE_IS_NOTED_EVERY: Final = timedelta(minutes=1)
LOOK_AGAIN_SECONDS: Final = 86_400.0
"""Timers of the event loop are not meant for longer."""

_NOBODY: Final = bytes(32)

log = structlog.get_logger(__name__)


class AccessKeeper:
    """Knows who shows a token, makes and revokes them, and writes down what was done."""

    def __init__(self, store: AccessStore, clock: Clock, kept: Sequence[KeptToken]) -> None:
        """Use `open`."""
        self._store = store
        self._clock = clock
        self._kept = {each.token.id: each for each in kept}
        self._lock = asyncio.Lock()
        self._calls: dict[str, set[_Call]] = {}
        self._uses: set[asyncio.Future[None]] = set()

    @classmethod
    async def open(cls, store: AccessStore, clock: Clock) -> Self:
        """The keeper of the tokens that are in the store. Raises StorageError."""
        return cls(store, clock, await store.tokens())

    async def close(self) -> None:
        """Forget all timers, and wait for what is being stored."""
        for calls in self._calls.values():
            for call in calls:
                call.cancel()
        self._calls.clear()
        if self._uses:
            await asyncio.wait(self._uses)

    # --- who is who -----------------------------------------------------------------------------

    def token_of(self, text: str) -> Token | None:
        """The valid token with that text; anything else is None. Notes that it was used."""
        kept = self._kept.get(id_of(text) or "")
        # A token that is not there takes as long as one whose secret is wrong.
        is_right = is_text_of(text, _NOBODY if kept is None else kept.digest)
        now = self._clock.now()
        if kept is None or not is_right or not kept.token.is_valid(now):
            return None
        self._used(kept, now)
        return kept.token

    def has_known(self, token_id: str) -> bool:
        """Was there ever a token with that id?"""
        return token_id in self._kept

    def is_valid(self, token_id: str) -> bool:
        """Is the token there, and neither revoked nor expired?"""
        kept = self._kept.get(token_id)
        return kept is not None and kept.token.is_valid(self._clock.now())

    def all_tokens(self) -> Sequence[Token]:
        """All that were ever made, the oldest first."""
        return [kept.token for kept in self._kept.values()]

    def when_over(self, token_id: str, call: Callable[[], None]) -> Callable[[], None]:
        """Call once the token is revoked or expires; what comes back takes the wish back."""
        wish = _Call(call)
        calls = self._calls.setdefault(token_id, set())
        calls.add(wish)
        self._look(token_id, wish)

        def take_back() -> None:
            wish.cancel()
            calls.discard(wish)
            if not calls and self._calls.get(token_id) is calls:
                del self._calls[token_id]

        return take_back

    def _look(self, token_id: str, wish: _Call) -> None:
        """Tell if it is over; else look again when it may have expired."""
        kept = self._kept.get(token_id)
        now = self._clock.now()
        if kept is None or not kept.token.is_valid(now):
            wish.call()
        elif kept.token.expires_at is not None:
            left = (kept.token.expires_at - now).total_seconds()
            wait = min(max(left, 0.001), LOOK_AGAIN_SECONDS)
            loop = asyncio.get_running_loop()
            wish.timer = loop.call_later(wait, self._look, token_id, wish)

    def _used(self, kept: KeptToken, now: datetime) -> None:
        last = kept.token.last_used_at
        if last is not None and now - last < USE_IS_NOTED_EVERY:
            return
        changed = replace(kept, token=replace(kept.token, last_used_at=now))
        self._kept[kept.token.id] = changed
        noting = asyncio.ensure_future(self._store.keep(changed, None))
        self._uses.add(noting)
        noting.add_done_callback(self._use_noted)

    def _use_noted(self, noting: asyncio.Future[None]) -> None:
        self._uses.discard(noting)
        if not noting.cancelled() and noting.exception() is not None:
            log.warning("token_use_not_noted", error=str(noting.exception()))

    # --- making and revoking --------------------------------------------------------------------

    async def create(
        self, draft: TokenDraft, attempt: Attempt, key: str | None = None
    ) -> NewToken | Token:
        """Make a token; for a key that was used before the token it made, without its text.

        Raises InvalidInput, IdempotencyMismatch, StorageError.
        """
        now = self._clock.now()
        draft.check(now)
        async with self._lock:
            token_id = _letters(ID_CHARACTERS) if key is None else _id_for(attempt.principal, key)
            known = self._kept.get(token_id)
            if known is not None:
                return _same(known.token, draft)
            text = token_text(token_id + _letters(SECRET_CHARACTERS))
            token = Token(
                id=token_id,
                name=draft.name,
                role=draft.role,
                is_approver=draft.is_approver,
                created_at=now,
                created_by=attempt.principal,
                expires_at=draft.expires_at,
            )
            await self._keep(KeptToken(token, digest_of(text)), attempt, now)
        return NewToken(token, text)

    async def revoke(self, token_id: str, attempt: Attempt) -> Token:
        """Make a token worthless at once; one that is stays so. Raises NotFound, StorageError."""
        now = self._clock.now()
        async with self._lock:
            kept = self._kept.get(token_id)
            if kept is None:
                raise NotFound(f"There is no token {token_id!r}.")
            if kept.token.revoked_at is None:
                kept = replace(kept, token=replace(kept.token, revoked_at=now))
                await self._keep(kept, attempt, now)
        for wish in self._calls.pop(token_id, set()):
            wish.call()
        return kept.token

    async def _keep(self, kept: KeptToken, attempt: Attempt, now: datetime) -> None:
        about = replace(attempt, target=kept.token.id)
        await self._store.keep(kept, AuditEntry(about, now))
        self._kept[kept.token.id] = kept

    # --- the audit ------------------------------------------------------------------------------

    def note(self, attempt: Attempt, outcome: str) -> Awaitable[None]:
        """Write down what came of an attempt."""
        return self._store.note(AuditEntry(attempt, self._clock.now(), outcome))

    async def entries(self, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """A page of the audit, the newest first."""
        return await self._store.entries(before=before, limit=limit)


class _Call:
    """A wish to be told once, and the timer that looks whether it is time."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.timer: asyncio.TimerHandle | None = None
        self._call: Callable[[], None] | None = call

    def call(self) -> None:
        call, self._call = self._call, None
        self.cancel()
        if call is not None:
            call()

    def cancel(self) -> None:
        self._call = None
        if self.timer is not None:
            self.timer.cancel()


def _letters(count: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(count))


def _id_for(principal: str, key: str) -> str:
    """The id of the token that a key makes: asking twice makes one."""
    number = int.from_bytes(hashlib.sha256(f"{principal}\0{key}".encode()).digest())
    letters = []
    for _ in range(ID_CHARACTERS):
        number, place = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[place])
    return "".join(letters)


def _same(known: Token, draft: TokenDraft) -> Token:
    """The token that the key made before. Raises IdempotencyMismatch for another wish."""
    made = (known.name, known.role, known.is_approver)
    if made != (draft.name, draft.role, draft.is_approver):
        raise IdempotencyMismatch("The idempotency key was used for another token.")
    return known
