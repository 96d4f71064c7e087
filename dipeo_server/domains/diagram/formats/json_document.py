"""JSON text to plain values, with the place of every key and item; the untrusted door.

An own scanner with an explicit stack: the one of the standard library knows no places, takes NaN
and duplicate keys, and recurses.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final, NoReturn

from dipeo_server.domains.diagram.formats.json_values import (
    DEPTH_MAX,
    DOCUMENT_BYTES_MAX,
    INTEGER_MAX,
    INTEGER_MIN,
    NUMBER_CHARACTERS_MAX,
    is_text,
)
from dipeo_server.domains.diagram.model import Location
from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem, Severity

_STRING_BODY: Final = r'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
_TOKEN: Final = re.compile(
    r"[ \t\n\r]*+(?:"
    r"(?P<mark>[{}\[\]:,])"
    rf'|(?P<text>"{_STRING_BODY}")'
    r"|(?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
    r"|(?P<word>-?[A-Za-z_][A-Za-z_0-9]*+)"
    r")"
)
_SPACE: Final = re.compile(r"[ \t\n\r]*+")
_BROKEN_TEXT: Final = re.compile(rf'"{_STRING_BODY}')
_WORDS: Final = {"null": None, "true": True, "false": False}
_NUMBER_WORDS: Final = frozenset({"nan", "infinity", "-infinity", "inf", "-inf", "-nan"})
_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")
_SHOWN_CHARACTERS_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """Plain JSON values (maps in document order) and where each was written."""

    data: Any
    root: Location
    _places: dict[int, dict[Any, int]] = field(repr=False)
    _lines: Lines = field(repr=False)

    def location(self, *path: str | int) -> Location:
        """The place of a key or item; of the nearest thing around it where there is none."""
        found, value = self.root, self.data
        for step in path:
            offset = self._places.get(id(value), {}).get(step)
            if offset is None:
                return found
            found, value = self._lines.location(offset), value[step]
        return found


class Lines:
    """Where the lines of a text begin."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def location(self, offset: int) -> Location:
        """Line and column of the character at `offset`."""
        line = bisect_right(self._starts, offset)
        return Location(line, offset - self._starts[line - 1] + 1)


def parse_json(text: str) -> JsonDocument:
    """The document in `text`. Raises DiagramInvalid with one problem that says what and where."""
    if len(text) > DOCUMENT_BYTES_MAX or len(text.encode(errors="replace")) > DOCUMENT_BYTES_MAX:
        _refuse(
            "DOCUMENT_TOO_LARGE",
            f"The document is larger than {DOCUMENT_BYTES_MAX // 1024} KiB.",
            None,
            "Move long texts into prompt files or split the diagram into sub-diagrams.",
        )
    lines = Lines(text)
    builder = _Builder(lines)
    half = _HALF_PAIR.search(text)
    if half is not None:
        builder.refuse_half_pair(half.start())
    for kind, token, offset in _tokens(text, lines):
        builder.take(kind, token, offset)
    if builder.expects is not _Expects.NOTHING:
        _refuse_end(builder, lines.location(len(text)))
    return JsonDocument(builder.root, lines.location(builder.begin), builder.places, lines)


def _tokens(text: str, lines: Lines) -> Iterator[tuple[str, str, int]]:
    offset, end = (1 if text.startswith("\ufeff") else 0), len(text)
    while (match := _TOKEN.match(text, offset)) is not None:
        kind = match.lastgroup or ""
        yield kind, match.group(kind), match.start(kind)
        offset = match.end()
    space = _SPACE.match(text, offset)
    offset = space.end() if space else offset
    if offset < end:
        _refuse_character(text, offset, lines)


# --- building -----------------------------------------------------------------------------------


class _Expects(Enum):
    VALUE = auto()
    VALUE_OR_END = auto()
    KEY = auto()
    KEY_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()
    NOTHING = auto()


_WANTED: Final = {
    _Expects.VALUE: "a value",
    _Expects.VALUE_OR_END: "a value or `]`",
    _Expects.KEY: "a key in double quotes",
    _Expects.KEY_OR_END: "a key in double quotes or `}`",
    _Expects.COLON: "a colon",
    _Expects.NOTHING: "the end of the document",
}
_CLOSING: Final = {"}": dict, "]": list}


@dataclass(slots=True)
class _Open:
    """A map or list that has begun and not ended; `key` is set while its value is awaited."""

    value: Any
    places: dict[Any, int]
    key: str = ""
    key_offset: int = 0


class _Builder:
    """Takes tokens one by one and builds values and places."""

    def __init__(self, lines: Lines) -> None:
        self.root: Any = None
        self.begin = 0
        self.places: dict[int, dict[Any, int]] = {}
        self.expects = _Expects.VALUE
        self._open: list[_Open] = []
        self._lines = lines

    def take(self, kind: str, token: str, offset: int) -> None:
        if kind == "mark":
            self._mark(token, offset)
        elif kind == "text" and self.expects in (_Expects.KEY, _Expects.KEY_OR_END):
            self._key(self._text(token, offset), offset)
        elif self.expects in (_Expects.VALUE, _Expects.VALUE_OR_END):
            self._place(self._scalar(kind, token, offset), offset)
        else:
            self._refuse_token(token, offset)

    def wanted(self) -> str:
        """What may come next, in words."""
        if self.expects is _Expects.COMMA_OR_END:
            return "a comma or `}`" if isinstance(self._open[-1].value, dict) else "a comma or `]`"
        return _WANTED[self.expects]

    def _mark(self, mark: str, offset: int) -> None:
        is_value = self.expects in (_Expects.VALUE, _Expects.VALUE_OR_END)
        if mark in "{[" and is_value:
            self._begin({} if mark == "{" else [], offset)
        elif mark == ":" and self.expects is _Expects.COLON:
            self.expects = _Expects.VALUE
        elif mark == "," and self.expects is _Expects.COMMA_OR_END:
            is_map = isinstance(self._open[-1].value, dict)
            self.expects = _Expects.KEY if is_map else _Expects.VALUE
        elif mark in _CLOSING and self._may_close(mark):
            self._open.pop()
            self.expects = _Expects.COMMA_OR_END if self._open else _Expects.NOTHING
        else:
            self._refuse_token(mark, offset)

    def _may_close(self, mark: str) -> bool:
        may_end = (_Expects.COMMA_OR_END, _Expects.VALUE_OR_END, _Expects.KEY_OR_END)
        return self.expects in may_end and isinstance(self._open[-1].value, _CLOSING[mark])

    def _begin(self, value: Any, offset: int) -> None:
        if len(self._open) >= DEPTH_MAX:
            message = f"The document is nested more than {DEPTH_MAX} levels deep."
            _refuse("DOCUMENT_TOO_DEEP", message, self._lines.location(offset), None)
        self._place(value, offset)
        places: dict[Any, int] = {}
        self.places[id(value)] = places
        self._open.append(_Open(value, places))
        self.expects = _Expects.KEY_OR_END if isinstance(value, dict) else _Expects.VALUE_OR_END

    def _key(self, key: str, offset: int) -> None:
        around = self._open[-1]
        first = around.places.get(key)
        if first is not None:
            here, before = self._lines.location(offset), self._lines.location(first)
            _refuse(
                "JSON_DUPLICATE_KEY",
                f"The key {_short(key)} is written twice: first in line {before.line}, "
                f"again in line {here.line}.",
                here,
                "Remove or rename one of them.",
            )
        around.key = key
        around.places[key] = offset
        self.expects = _Expects.COLON

    def _place(self, value: Any, offset: int) -> None:
        if not self._open:
            self.root, self.begin, self.expects = value, offset, _Expects.NOTHING
            return
        around = self._open[-1]
        if isinstance(around.value, list):
            around.places[len(around.value)] = offset
            around.value.append(value)
        else:
            around.value[around.key] = value
        self.expects = _Expects.COMMA_OR_END

    # --- scalars --------------------------------------------------------------------------------

    def _scalar(self, kind: str, token: str, offset: int) -> Any:
        if kind == "text":
            return self._text(token, offset)
        if kind == "number":
            return self._number(token, offset)
        if token in _WORDS:
            return _WORDS[token]
        if token.lower() in _NUMBER_WORDS:
            self._refuse_number("is no finite number", token, offset)
        return self._refuse_token(token, offset)

    def _text(self, token: str, offset: int) -> str:
        if "\\" not in token:
            return token[1:-1]
        text: str = json.loads(token)
        if not is_text(text):
            self.refuse_half_pair(offset)
        return text

    def _number(self, token: str, offset: int) -> int | float:
        is_integer = token.lstrip("-").isdigit()
        value: int | float = math.nan
        if len(token) <= NUMBER_CHARACTERS_MAX:
            value = int(token) if is_integer else float(token)
        if is_integer and not INTEGER_MIN <= value <= INTEGER_MAX:
            self._refuse_number("is no integer of 64 bits", token, offset)
        if not math.isfinite(value):
            self._refuse_number("is no finite number", token, offset)
        return value

    # --- refusals -------------------------------------------------------------------------------

    def refuse_half_pair(self, offset: int) -> NoReturn:
        _refuse(
            "JSON_SYNTAX",
            "A text holds half of a surrogate pair.",
            self._lines.location(offset),
            "Write the character itself.",
        )

    def _refuse_number(self, reason: str, token: str, offset: int) -> NoReturn:
        _refuse(
            "JSON_NUMBER",
            f"{_short(token)} {reason}.",
            self._lines.location(offset),
            "Put it in quotes if it is meant as a text.",
        )

    def _refuse_token(self, token: str, offset: int) -> NoReturn:
        after_comma = token in _CLOSING and self.expects in (_Expects.KEY, _Expects.VALUE)
        _refuse(
            "JSON_SYNTAX",
            f"JSON: expected {self.wanted()}, found {_short(token)}.",
            self._lines.location(offset),
            "Remove the comma before it." if after_comma else None,
        )


def _refuse_end(builder: _Builder, place: Location) -> NoReturn:
    if builder.root is None:
        _refuse("DOCUMENT_EMPTY", "The document is empty.", place, None)
    message = f"JSON: expected {builder.wanted()}, found the end of the document."
    _refuse("JSON_SYNTAX", message, place, "Is a part of it missing?")


_CHARACTER_HINTS: Final = {
    "'": "Texts and keys need double quotes.",
    "#": "JSON has no comments.",
    "/": "JSON has no comments.",
}


def _refuse_character(text: str, offset: int, lines: Lines) -> NoReturn:
    broken = _BROKEN_TEXT.match(text, offset)
    if broken is None:
        hint = _CHARACTER_HINTS.get(text[offset])
        message = f"JSON: the character {text[offset]!r} may not stand here."
        _refuse("JSON_SYNTAX", message, lines.location(offset), hint)
    offset = broken.end()
    if offset == len(text):
        message, hint = "JSON: a text does not end.", "Close it with a double quote."
        _refuse("JSON_SYNTAX", message, lines.location(broken.start()), hint)
    message = f"JSON: a text holds {text[offset : offset + 2]!r}, which it may not."
    hint = "Write a line break as \\n, a tab as \\t and a backslash as \\\\."
    _refuse("JSON_SYNTAX", message, lines.location(offset), hint)


def _short(text: str) -> str:
    cut = text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}…"
    return repr(cut)


def _refuse(code: str, message: str, location: Location | None, hint: str | None) -> NoReturn:
    problem = DiagramProblem(Severity.ERROR, code, message, hint=hint, location=location)
    raise DiagramInvalid([problem])
