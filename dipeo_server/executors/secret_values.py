"""Values that functions may use and nobody may keep: handed over by reference, masked on exit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dipeo_server.runtime.plain_json import plain_json
from dipeo_server.runtime.redaction import SHORTEST, Redactor

MASKED_CHARACTERS_MIN: Final = 4
"""A shorter text occurs everywhere by chance, so it cannot be told from what it hides."""


class Secrets(Mapping[str, Any]):
    """Secrets by name, as functions see them: they can be used, and cannot be printed as a whole.

    What leaves a function goes through `masked`.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._redactor = Redactor()
        self._short: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        for name, text in _texts(values):
            self.texts.setdefault(name, text)
            self._redactor.learn(name, text)
            if MASKED_CHARACTERS_MIN <= len(text) < SHORTEST:
                self._short[text] = f"[secret {name}]"

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<secrets: {', '.join(map(str, self._values)) or 'none'}>"

    def masked(self, value: Any) -> Any:
        """The value as plain JSON, with every secret text in it replaced, in keys as well.

        Raises NotPlain.
        """
        plain = self._redactor.json(plain_json(value))
        return self._without_short(plain) if self._short else plain

    def masked_text(self, text: str) -> str:
        """The text with every secret in it replaced."""
        for short, shown in self._short.items():
            text = text.replace(short, shown)
        return self._redactor.text(text)

    def _without_short(self, value: Any) -> Any:
        match value:
            case str():
                return self.masked_text(value)
            case dict():
                return {
                    self.masked_text(key): self._without_short(each) for key, each in value.items()
                }
            case list():
                return [self._without_short(each) for each in value]
            case _:
                return value


def _texts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text among the values, by the name of what holds it."""
    for name, value in values.items():
        pending = [value]
        while pending:
            each = pending.pop()
            if isinstance(each, str):
                yield name, each
            elif isinstance(each, bytes):
                yield name, each.decode(errors="replace")
            elif isinstance(each, Mapping):
                pending.extend(each.values())
            elif isinstance(each, list | tuple):
                pending.extend(each)
