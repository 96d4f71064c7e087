"""References to secrets: `secret://name` stands for a value that no diagram and no log holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn

_NAME: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_REFERENCE: Final = re.compile(f"secret://({_NAME})")

Reveal = Callable[[str], str]
"""Gives the value of the secret with that name."""


class SecretText:
    """A text that shows itself to nobody by accident: `reveal` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "SecretText(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is never copied out of the process.")


def referenced(value: object) -> str | None:
    """The secret's name, if the value is a reference and nothing else."""
    match = _REFERENCE.fullmatch(value.strip()) if isinstance(value, str) else None
    return match[1] if match else None


def references_in(value: Any) -> Iterator[str]:
    """Names of all secrets that the texts of a JSON value are references to, maps' keys aside."""
    name = referenced(value)
    if name is not None:
        yield name
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from references_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from references_in(each)


def with_values(value: Any, reveal: Reveal, granted: frozenset[str]) -> Any:
    """The JSON value with what the granted references stand for; others stay as they are."""
    name = referenced(value)
    if name is not None:
        return reveal(name) if name in granted else value
    if isinstance(value, Mapping):
        return {key: with_values(each, reveal, granted) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [with_values(each, reveal, granted) for each in value]
    return value


def filled(text: str, reveal: Reveal) -> SecretText:
    """The text with every reference in it replaced, such as `Bearer secret://token`."""
    return SecretText(_REFERENCE.sub(lambda match: reveal(match[1]), text))
