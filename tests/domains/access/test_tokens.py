"""Tokens as texts, and when they are valid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dipeo_server.domains.access.roles import Role
from dipeo_server.domains.access.tokens import (
    ALPHABET,
    ID_CHARACTERS,
    SECRET_CHARACTERS,
    Token,
    digest_of,
    id_of,
    is_text_of,
    token_text,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LETTERS = (ALPHABET * 2)[: ID_CHARACTERS + SECRET_CHARACTERS]


def token(**changes: datetime) -> Token:
    return Token("x", "ann", Role.VIEWER, False, NOW, "root", **changes)  # noqa: FBT003 - its fields


def test_the_text_of_a_token_tells_its_id() -> None:
    text = token_text(LETTERS)
    assert text == f"dip_{LETTERS[:12]}_{LETTERS[12:]}"
    assert id_of(text) == LETTERS[:12]


def test_a_secret_has_no_less_chance_than_32_bytes() -> None:
    assert len(ALPHABET) ** SECRET_CHARACTERS > 2 ** (8 * 32)
    assert len(set(ALPHABET)) == len(ALPHABET) == 62


@pytest.mark.parametrize(
    "text", ["", "dip_", token_text(LETTERS)[:-1], token_text(LETTERS) + "A", "x" * 60]
)
def test_what_is_no_token_has_no_id(text: str) -> None:
    assert id_of(text) is None


def test_only_its_own_text_has_a_digest() -> None:
    text = token_text(LETTERS)
    assert is_text_of(text, digest_of(text))
    assert not is_text_of(text[:-1] + "!", digest_of(text))
    assert text.encode() not in digest_of(text)


def test_a_token_is_valid_until_it_is_revoked_or_expires() -> None:
    later = NOW + timedelta(hours=1)
    assert token().is_valid(later)
    assert token(expires_at=later).is_valid(NOW)
    assert not token(expires_at=later).is_valid(later)
    assert not token(revoked_at=NOW).is_valid(NOW)
