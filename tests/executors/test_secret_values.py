"""What functions may know and nobody may keep is found in whatever leaves them."""

from __future__ import annotations

from typing import Any

import pytest

from dipeo_server.executors.secret_values import Secrets

SECRETS = Secrets(
    {
        "password": "correct-horse",
        "pin": "73915",
        "tiny": "ab",
        "login": {"user": ["root-of-all"], "raw": b"bytes-are-texts"},
        "count": 12345678,
    }
)


def test_they_can_be_used_and_not_be_printed() -> None:
    assert SECRETS["password"] == "correct-horse"
    assert len(SECRETS) == 5
    assert repr(SECRETS) == "<secrets: password, pin, tiny, login, count>"
    assert repr(Secrets({})) == "<secrets: none>"


@pytest.mark.parametrize(
    "value, masked",
    [
        ("my correct-horse!", "my [secret password]!"),
        (["73915", 73915, None], ["[secret pin]", 73915, None]),
        ({"correct-horse": {"x": ("73915",)}}, {"[secret password]": {"x": ["[secret pin]"]}}),
        ("root-of-all bytes-are-texts", "[secret login] [secret login]"),
        ("about", "about"),
        ({1: True}, {"1": True}),
    ],
)
def test_they_are_found_wherever_they_are(value: Any, masked: Any) -> None:
    assert SECRETS.masked(value) == masked


def test_without_secrets_a_value_only_becomes_plain() -> None:
    assert Secrets({}).masked({"a": (1, 2)}) == {"a": [1, 2]}
