"""The keeper of tokens: who is known, until when, and who is told of the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from dipeo_server.domains.access.audit import Attempt
from dipeo_server.domains.access.roles import Role
from dipeo_server.domains.access.tokens import NewToken, TokenDraft
from dipeo_server.errors import IdempotencyMismatch, InvalidInput, NotFound
from dipeo_server.runtime.access import AccessKeeper
from dipeo_server.storage.memory import MemoryStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BY_ROOT = Attempt("root", None, "createToken", "req")


class HandClock:
    """Time that goes on where a test says so."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    opened = MemoryStore()
    yield opened
    await opened.close()


@pytest.fixture
async def keeper(store: MemoryStore, clock: HandClock) -> AsyncIterator[AccessKeeper]:
    opened = await AccessKeeper.open(store.access, clock)
    yield opened
    await opened.close()


async def made(keeper: AccessKeeper, expires_at: datetime | None = None) -> NewToken:
    draft = TokenDraft("ann", Role.VIEWER, expires_at=expires_at)
    found = await keeper.create(draft, BY_ROOT)
    assert isinstance(found, NewToken)
    return found


async def test_a_token_is_known_until_it_expires(keeper: AccessKeeper, clock: HandClock) -> None:
    new = await made(keeper, NOW + timedelta(hours=1))
    assert keeper.token_of(new.text) is not None
    clock.at += timedelta(hours=1)
    assert keeper.token_of(new.text) is None
    assert not keeper.is_valid(new.token.id)
    assert keeper.has_known(new.token.id)


async def test_a_token_that_would_have_expired_is_not_made(
    keeper: AccessKeeper, clock: HandClock
) -> None:
    with pytest.raises(InvalidInput):
        await made(keeper, NOW)
    assert keeper.all_tokens() == []


async def test_tokens_outlive_the_keeper(
    keeper: AccessKeeper, store: MemoryStore, clock: HandClock
) -> None:
    kept, revoked = await made(keeper), await made(keeper)
    await keeper.revoke(revoked.token.id, BY_ROOT)
    later = await AccessKeeper.open(store.access, clock)
    assert later.token_of(kept.text) is not None
    assert later.token_of(revoked.text) is None
    await later.close()


async def test_whoever_waits_is_told_when_a_token_is_revoked(keeper: AccessKeeper) -> None:
    new, other = await made(keeper), await made(keeper)
    told: list[str] = []
    keeper.when_over(new.token.id, lambda: told.append("new"))
    keeper.when_over(other.token.id, lambda: told.append("other"))
    keeper.when_over(new.token.id, lambda: told.append("nobody"))()
    await keeper.revoke(new.token.id, BY_ROOT)
    await keeper.revoke(new.token.id, BY_ROOT)
    assert told == ["new"]


async def test_whoever_waits_is_told_when_a_token_expires(
    keeper: AccessKeeper, clock: HandClock
) -> None:
    new = await made(keeper, NOW + timedelta(milliseconds=20))
    told = asyncio.Event()
    keeper.when_over(new.token.id, told.set)
    await asyncio.sleep(0.05)  # By the clock no time has passed, so nobody is told.
    assert not told.is_set()
    clock.at += timedelta(seconds=1)
    await told.wait()


async def test_a_token_that_is_over_is_told_at_once(keeper: AccessKeeper, clock: HandClock) -> None:
    new = await made(keeper, NOW + timedelta(hours=1))
    clock.at += timedelta(hours=2)
    told: list[str] = []
    keeper.when_over(new.token.id, lambda: told.append("over"))
    assert told == ["over"]


async def test_the_last_use_is_noted_to_the_minute(
    keeper: AccessKeeper, store: MemoryStore, clock: HandClock
) -> None:
    new = await made(keeper)
    for _ in range(3):
        keeper.token_of(new.text)
        clock.at += timedelta(seconds=25)
    [token] = keeper.all_tokens()
    assert token.last_used_at == NOW
    keeper.token_of(new.text)
    [token] = keeper.all_tokens()
    assert token.last_used_at == NOW + timedelta(seconds=75)
    await keeper.close()
    [kept] = await store.access.tokens()
    assert kept.token.last_used_at == token.last_used_at


async def test_a_key_makes_one_token_for_each_name(keeper: AccessKeeper) -> None:
    draft = TokenDraft("ci", Role.OPERATOR)
    first = await keeper.create(draft, BY_ROOT, "key")
    assert isinstance(first, NewToken)
    assert await keeper.create(draft, BY_ROOT, "key") == first.token
    with pytest.raises(IdempotencyMismatch):
        await keeper.create(TokenDraft("ci", Role.ADMIN), BY_ROOT, "key")
    other = Attempt("eve", None, "createToken", "req")
    assert isinstance(await keeper.create(draft, other, "key"), NewToken)


async def test_what_is_not_there_cannot_be_revoked(keeper: AccessKeeper) -> None:
    with pytest.raises(NotFound):
        await keeper.revoke("x", BY_ROOT)


async def test_making_and_revoking_is_in_the_audit(
    keeper: AccessKeeper, store: MemoryStore
) -> None:
    new = await made(keeper)
    await keeper.revoke(new.token.id, Attempt("root", None, "revokeToken", "req"))
    found = await store.access.entries(before=None, limit=10)
    told = [(each.attempt.operation, each.attempt.target, each.position) for each in found]
    assert told == [("revokeToken", new.token.id, 2), ("createToken", new.token.id, 1)]
