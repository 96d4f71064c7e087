"""The second line of defence: known secrets are taken out of whatever nodes print and give."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, TypeVar
from urllib.parse import quote, quote_plus

import orjson

SHORTEST: Final = 8
"""Characters; what is shorter would be found everywhere."""

T = TypeVar("T")


class Redactor:
    """Replaces the values of known secrets, and usual ways to write them, by `[secret NAME]`.

    Found are exact values, single lines of values with several, and both of these in base64 (at
    any place within it), hexadecimal, percent-encoded, and with the escapes of JSON, HTML and
    Python. What is cut into pieces or ciphered is not found.
    """

    def __init__(self) -> None:
        self._forms: list[tuple[str, str]] = []
        self._encoded: tuple[bytes, ...] = ()

    def learn(self, name: str, value: str) -> None:
        """Take that value out from now on. One with less than 8 characters cannot be."""
        known = {form for form, _ in self._forms}
        new = {form for form in _forms(value) if len(form) >= SHORTEST} - known
        self._forms += [(form, f"[secret {name}]") for form in new]
        # The longest first: what is left of it would not be found any more.
        self._forms.sort(key=lambda each: (-len(each[0]), each[0]))
        self._encoded = tuple(orjson.dumps(form)[1:-1] for form, _ in self._forms)

    def text(self, text: str) -> str:
        """The text without secrets."""
        for form, shown in self._forms:
            if form in text:
                text = text.replace(form, shown)
        return text

    def json(self, value: Any) -> Any:
        """The JSON value without secrets; the value itself where there are none in it."""
        if not self._forms:
            return value
        try:
            encoded = orjson.dumps(value, default=_plainer, option=orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError:
            return self._walk(value)
        return self._walk(value) if any(form in encoded for form in self._encoded) else value

    def parts(self, value: T) -> T:
        """As `json`, for frozen dataclasses too: results, messages, failures within one another."""
        if not self._forms or not is_dataclass(value) or isinstance(value, type):
            return value
        changed: dict[str, Any] = {}
        for each in fields(value):
            old = getattr(value, each.name)
            new = self._part(old)
            if new is not old:
                changed[each.name] = new
        return replace(value, **changed) if changed else value

    def _part(self, value: Any) -> Any:
        if isinstance(value, tuple):
            new = tuple(self._part(each) for each in value)
            return new if any(a is not b for a, b in zip(new, value, strict=True)) else value
        if is_dataclass(value):
            return self.parts(value)
        if type(value) is str:
            shown = self.text(value)
            return value if shown == value else shown
        return self.json(value) if isinstance(value, Mapping | list) else value

    def _walk(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._walk(key): self._walk(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._walk(each) for each in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            written = str(value)
            shown = self.text(written)
            return value if shown == written else shown
        return value


def _forms(value: str) -> Iterator[str]:
    """The ways to write a value, and each line of it."""
    for text in {value, value.strip(), *(line.strip() for line in value.splitlines())}:
        if len(text) >= SHORTEST:
            yield text
            yield from _escaped(text)
            yield from _encoded(text.encode("utf-8", "surrogatepass"))


def _escaped(text: str) -> Iterator[str]:
    for is_ascii in (True, False):
        once = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
        yield once
        yield json.dumps(once, ensure_ascii=is_ascii)[1:-1]
    yield repr(text)[1:-1]
    yield html.escape(text)
    whole = text.encode("utf-8", "surrogatepass")
    for percent in (quote(whole, safe=""), quote(whole), quote_plus(whole)):
        yield percent
        yield _with_small_digits(percent)


def _with_small_digits(percent: str) -> str:
    first, *rest = percent.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)])


def _encoded(data: bytes) -> Iterator[str]:
    yield data.hex()
    yield data.hex().upper()
    for before in range(3):
        # Three bytes are four characters: those that hold bits of other bytes are left out.
        start = (before * 8 + 5) // 6
        end = (before + len(data)) * 8 // 6
        padded = bytes(before) + data
        yield base64.b64encode(padded).decode()[start:end]
        yield base64.urlsafe_b64encode(padded).decode()[start:end]


def _plainer(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)
