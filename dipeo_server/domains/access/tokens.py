"""Tokens: `dip_<id>_<secret>`. The id finds the token; of the secret only the hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dipeo_server.domains.access.principal import ANONYMOUS_NAME, Principal
from dipeo_server.domains.access.roles import Role
from dipeo_server.errors import InvalidInput

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_CHARACTERS: Final = 12
SECRET_CHARACTERS: Final = 43
"""In 62 characters: as many secrets as 32 random bytes have, and some more."""

NAME_CHARACTERS_MAX: Final = 80
_FORM: Final = re.compile(
    rf"dip_([0-9A-Za-z]{{{ID_CHARACTERS}}})_([0-9A-Za-z]{{{SECRET_CHARACTERS}}})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token: whose it is, what it allows, and since and until when.

    `last_used_at` may lag a minute behind.
    """

    id: str
    name: str
    role: Role
    is_approver: bool
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    @property
    def principal(self) -> Principal:
        """Whoever shows it."""
        return Principal(self.name, self.role, self.is_approver, self.id)

    def is_valid(self, now: datetime) -> bool:
        """Does it still open anything?"""
        is_over = self.expires_at is not None and now >= self.expires_at
        return self.revoked_at is None and not is_over


@dataclass(frozen=True, slots=True)
class TokenDraft:
    """A wish for a token."""

    name: str
    role: Role
    is_approver: bool = False
    expires_at: datetime | None = None

    def check(self, now: datetime) -> None:
        """Raises InvalidInput for a name that is none, and for an expiry that is over."""
        name = self.name
        if not (
            1 <= len(name) <= NAME_CHARACTERS_MAX and name.isprintable() and name == name.strip()
        ):
            message = (
                f"The name of a token must have 1 to {NAME_CHARACTERS_MAX} printable characters, "
                "and no spaces around them."
            )
            raise InvalidInput(message, field=("input", "name"))
        if name.casefold() == ANONYMOUS_NAME:
            message = f"{name!r} is what everybody is called where nobody is asked."
            raise InvalidInput(message, field=("input", "name"))
        if self.expires_at is not None and self.expires_at <= now:
            raise InvalidInput(
                "The token would have expired already.", field=("input", "expiresIn")
            )


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token with its text, which is told once and kept nowhere."""

    token: Token
    text: str


def token_text(letters: Sequence[str]) -> str:
    """The text of a token made of random characters: those of its id, then those of its secret."""
    text = "".join(letters)
    return f"dip_{text[:ID_CHARACTERS]}_{text[ID_CHARACTERS:]}"


def id_of(text: str) -> str | None:
    """The id in the text of a token; None for what is no token."""
    found = _FORM.fullmatch(text)
    return None if found is None else found[1]


def digest_of(text: str) -> bytes:
    """What is kept in place of the text. 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(text.encode()).digest()


def is_text_of(text: str, digest: bytes) -> bool:
    """Is it the text with that digest? Takes as long for any text."""
    return hmac.compare_digest(digest_of(text), digest)
