"""Idempotency keys: one mutation per key at a time, and the answer of a key used before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from dipeo_server.domains.access.audit import AuditEntry
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
        self._running: set[asyncio.Future[Accepted]] = set()

    async def answer(
        self, key: IdempotencyKey | None, do: Callable[[], Awaitable[Accepted]]
    ) -> Accepted:
        """What `do` gives, or what the key was answered before.

        A caller that hangs up leaves `do` running, and the key held until it has ended: who comes
        again gets its answer. Raises what `do` raises, and IdempotencyMismatch for a key of
        another request.
        """
        return await do() if key is None else await self.finished(lambda: self._once(key, do))

    async def finished(self, do: Callable[[], Awaitable[Accepted]]) -> Accepted:
        """What `do` gives; a caller that hangs up leaves it running."""
        task = asyncio.ensure_future(do())
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for what still runs; to be called when nothing new can come, and all will end."""
        if self._running:
            await asyncio.wait(self._running)

    def _forget(self, task: asyncio.Future[Accepted]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # Perhaps its caller has left, so nobody else looks at it.

    async def _once(self, key: IdempotencyKey, do: Callable[[], Awaitable[Accepted]]) -> Accepted:
        async with self._held(key):
            return await self._known(key) or await do()

    async def answered(self, key: IdempotencyKey | None) -> Accepted | None:
        """What the key was answered before. Raises IdempotencyMismatch for another request."""
        if key is None:
            return None
        async with self._held(key):
            return await self._known(key)

    async def _known(self, key: IdempotencyKey) -> Accepted | None:
        stored = await self._store.find_answer(key.principal, key.key, now=self._clock.now())
        if stored is None:
            return None
        check_same_request(stored, key)
        sequence, deleted = stored.answer["sequence"], stored.answer.get("deleted", 0)
        return Accepted(
            stored.execution_id, Seq(int(sequence)), is_repeat=True, deleted=int(deleted)
        )

    @asynccontextmanager
    async def _held(self, key: IdempotencyKey) -> AsyncIterator[None]:
        """One mutation per key at a time."""
        name = (key.principal, key.key)
        held = self._locks.setdefault(name, _KeyLock(asyncio.Lock()))
        held.users += 1
        try:
            async with held.lock:
                yield
        finally:
            held.users -= 1
            if not held.users:
                del self._locks[name]


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
        entry=None if key.attempt is None else AuditEntry(key.attempt, now),
    )
