"""Tokens and the audit in every store: kept with what they tell of, and never changed unnoticed."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dipeo_server.domains.access.audit import Attempt, AuditEntry
from dipeo_server.domains.access.ports import KeptToken
from dipeo_server.domains.access.roles import Role
from dipeo_server.domains.access.tokens import Token, digest_of
from dipeo_server.domains.execution.ports import KeyedAnswer
from dipeo_server.errors import ConcurrentAppend, IdempotencyMismatch, StorageError
from dipeo_server.storage.backup import back_up
from dipeo_server.storage.opening import Store, open_store
from dipeo_server.storage.verification import verify_store
from tests.storage.records import NOON, ONE, TWO, extend, keyed
from tests.storage.runs import CHAIN, Run
from tests.storage.test_chain import tamper

TOKEN = Token("tokenid00001", "ann", Role.AUTHOR, True, NOON, "root")  # noqa: FBT003 - its fields
KEPT = KeptToken(TOKEN, digest_of("text"))


def entry(operation: str, **about: str) -> AuditEntry:
    return AuditEntry(Attempt("ann", TOKEN.id, operation, "req_1", **about), NOON)


def with_entry(key: str, operation: str) -> KeyedAnswer:
    plain = keyed(key)
    noted = replace(plain.idempotency, entry=entry(operation, key=key))
    return replace(plain, idempotency=noted)


@pytest.fixture(params=["memory:", "sqlite:"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = request.param if request.param == "memory:" else f"sqlite:{tmp_path / 'store.db'}"
    opened = await open_store(url)
    yield opened
    await opened.close()


async def told(store: Store) -> list[tuple[int, str, str | None]]:
    found = await store.access.entries(before=None, limit=100)
    return [(each.position, each.attempt.operation, each.attempt.target) for each in found]


# --- every store --------------------------------------------------------------------------------


async def test_a_token_is_kept_as_it_is(store: Store) -> None:
    later = NOON + timedelta(days=90)
    other = KeptToken(replace(TOKEN, id="tokenid00002", expires_at=later), digest_of("other"))
    await store.access.keep(KEPT, entry("createToken"))
    await store.access.keep(other, None)
    assert list(await store.access.tokens()) == [KEPT, other]
    revoked = KeptToken(replace(TOKEN, revoked_at=later, last_used_at=later), KEPT.digest)
    await store.access.keep(revoked, entry("revokeToken"))
    assert list(await store.access.tokens()) == [revoked, other]


async def test_what_is_done_is_written_down_with_its_effect(store: Store) -> None:
    await extend(store, ONE, keys=[with_entry("a", "runDiagram")])
    await extend(store, ONE, after=1, keys=[keyed("b")])
    assert await told(store) == [(1, "runDiagram", ONE)]


async def test_what_is_not_done_is_not_written_down(store: Store) -> None:
    await extend(store, ONE, keys=[with_entry("a", "runDiagram")])
    with pytest.raises(ConcurrentAppend):
        await extend(store, ONE, after=7, keys=[with_entry("b", "pauseExecution")])
    with pytest.raises(IdempotencyMismatch):
        await extend(store, TWO, keys=[with_entry("a", "runDiagram")])
    assert await told(store) == [(1, "runDiagram", ONE)]


async def test_entries_are_numbered_and_read_backwards(store: Store) -> None:
    for number in range(1, 6):
        await store.access.note(entry(f"number {number}"))
    newest = await store.access.entries(before=None, limit=2)
    assert [each.position for each in newest] == [5, 4]
    older = await store.access.entries(before=4, limit=10)
    assert [each.position for each in older] == [3, 2, 1]
    assert older[-1] == replace(entry("number 1"), position=1)
    assert list(await store.access.entries(before=1, limit=10)) == []


async def test_a_store_that_is_closed_keeps_nothing_more(tmp_path: Path) -> None:
    for url in ("memory:", f"sqlite:{tmp_path / 'store.db'}"):
        opened = await open_store(url)
        await opened.close()
        with pytest.raises(StorageError):
            await opened.access.keep(KEPT, None)
        with pytest.raises(StorageError):
            await opened.access.tokens()
        with pytest.raises(StorageError):
            await opened.access.note(entry("late"))


# --- on disk ------------------------------------------------------------------------------------


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with a token and five entries."""
    file = tmp_path / "store.db"
    opened = await open_store(f"sqlite:{file}")
    await opened.access.keep(KEPT, entry("createToken", target=TOKEN.id))
    await Run(ONE, text=CHAIN).write(opened, [with_entry("a", "runDiagram")])
    for number in range(3):
        await opened.access.note(entry(f"number {number}"))
    await opened.close()
    return file


def damage(path: Path) -> list[str]:
    return [found.message for found in verify_store(path).damage]


async def test_a_sound_audit_is_found_to_be_sound(path: Path) -> None:
    assert damage(path) == []


@pytest.mark.parametrize(
    "statement, expected",
    [
        ("UPDATE audit SET outcome = 'DONE!' WHERE position = 3", "Entry 3 of the audit is not"),
        ("UPDATE audit SET principal = 'eve' WHERE position = 5", "Entry 5 of the audit is not"),
        ("UPDATE audit SET at = NULL || at", "SQLite"),
        ("DELETE FROM audit WHERE position = 2", "Entry 2 of the audit is missing"),
        ("DELETE FROM audit WHERE position = 5", "Entry 5 of the audit is missing; 5 would be"),
        ("DELETE FROM audit", "Entry 1 of the audit is missing; 5 would be"),
        ("UPDATE tokens SET role = 'admin'", "The token 'tokenid00001' is not"),
        ("UPDATE tokens SET revoked_at = NULL, expires_at = ''", "The token 'tokenid00001' is not"),
    ],
)
async def test_whatever_was_changed_is_told(path: Path, statement: str, expected: str) -> None:
    if expected == "SQLite":
        with pytest.raises(sqlite3.IntegrityError):
            tamper(path, statement)
        return
    tamper(path, statement)
    assert [message for message in damage(path) if expected in message]


async def test_an_entry_that_is_put_in_between_is_told(path: Path) -> None:
    tamper(
        path,
        "UPDATE audit SET position = position + 1 WHERE position = 5",
        "INSERT INTO audit SELECT 5, at, 'eve', token_id, operation, target, request_id, key, "
        "outcome, hash FROM audit WHERE position = 4",
    )
    assert [message for message in damage(path) if "Entry 5 of the audit is not" in message]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET outcome = 'x' WHERE position = 1",
        "DELETE FROM audit WHERE position = 5",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE position = 1",
        "DELETE FROM tokens",
        "UPDATE tokens SET role = 'admin'",
        "UPDATE tokens SET digest = zeroblob(32)",
    ],
)
async def test_the_store_itself_refuses_changes(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA recursive_triggers = ON")
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            connection.execute(statement)


async def test_a_token_that_was_changed_lets_nobody_in(path: Path) -> None:
    tamper(path, "UPDATE tokens SET role = 'admin'")
    opened = await open_store(f"sqlite:{path}")
    with pytest.raises(StorageError, match="not what was written"):
        await opened.access.tokens()
    await opened.close()


async def test_a_backup_has_the_tokens_and_the_audit(path: Path, tmp_path: Path) -> None:
    back_up(path, tmp_path / "copy.db")
    opened = await open_store(f"sqlite:{tmp_path / 'copy.db'}")
    assert list(await opened.access.tokens()) == [KEPT]
    await opened.access.note(entry("after the backup"))
    assert [position for position, *_ in await told(opened)] == [6, 5, 4, 3, 2, 1]
    await opened.close()
    assert damage(tmp_path / "copy.db") == []
