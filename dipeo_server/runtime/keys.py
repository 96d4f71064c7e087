"""Idempotency keys: one mutation per key at a time, and the answer of a key used before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.ports import (
    Clock,
    Idempotency,
    IdempotentAnswer,
    KeyedAnswer,
    StateStore,
)
from dipeo_server.domains.execution.runner import Accepted, IdempotencyKey
from dipeo_server.errors import IdempotencyMismatch

KEY_HOURS = 24


@dataclass(slots=True)
class _KeyLock:
    """Who holds an idempotency key, and how many hold or want it."""

    lock: asyncio.Lock
    users: int = 0


class IdempotencyKeys:
    """The keys that clients gave their mutations."""

    def __init__(self, store: StateStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._locks: dict[tuple[str, str], _KeyLock] = {}

    @asynccontextmanager
    async def once(self, key: IdempotencyKey | None) -> AsyncIterator[Accepted | None]:
        """Hold the key; gives the stored answer of one used before.

        Raises IdempotencyMismatch where it was used for another request.
        """
        if key is None:
            yield None
            return
        name = (key.principal, key.key)
        held = self._locks.setdefault(name, _KeyLock(asyncio.Lock()))
        held.users += 1
        try:
            async with held.lock:
                yield await self._known_answer(key)
        finally:
            held.users -= 1
            if not held.users:
                del self._locks[name]

    async def _known_answer(self, key: IdempotencyKey) -> Accepted | None:
        stored = await self._store.find_answer(key.principal, key.key, now=self._clock.now())
        if stored is None:
            return None
        check_same_request(stored, key)
        return Accepted(stored.execution_id, Seq(int(stored.answer["sequence"])), is_repeat=True)


def check_same_request(stored: IdempotentAnswer, key: IdempotencyKey) -> None:
    """Was the key used for this very request? Raises IdempotencyMismatch."""
    if (stored.mutation, stored.request_hash) != (key.mutation, key.request_hash):
        message = f"Idempotency key {key.key!r} was used for another request."
        raise IdempotencyMismatch(message)


def keyed_answer(key: IdempotencyKey, sequence: Seq, now: datetime) -> KeyedAnswer:
    """What is kept under the key of a mutation, for a day."""
    return KeyedAnswer(record_of(key, now), {"sequence": int(sequence)})


def record_of(key: IdempotencyKey, now: datetime) -> Idempotency:
    """The key as it is stored; it can be used again after a day."""
    return Idempotency(
        principal=key.principal,
        key=key.key,
        mutation=key.mutation,
        request_hash=key.request_hash,
        expires_at=now + timedelta(hours=KEY_HOURS),
    )
