"""YAML text to plain JSON values, with the place of every key and item; the untrusted door.

Built from parser events with an explicit stack: nothing is composed or constructed by the YAML
library, so aliases, tags and depth are refused before they can cost anything.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import yaml
from yaml.constructor import SafeConstructor
from yaml.reader import Reader

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

_TAG: Final = "tag:yaml.org,2002:"
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_IMPLICIT: Final[dict[str | None, list[Any]]] = yaml.SafeLoader.yaml_implicit_resolvers
_CONSTRUCTOR: Final = SafeConstructor()
_COLUMN_BITS: Final = 24


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """Plain JSON values (maps with text keys, in document order) and where each was written."""

    data: Any
    root: Location
    _places: dict[int, dict[Any, int]] = field(repr=False)

    def location(self, *path: str | int) -> Location:
        """The place of a key or item; of the nearest thing around it where there is none."""
        found, value = self.root, self.data
        for step in path:
            packed = self._places.get(id(value), {}).get(step)
            if packed is None:
                return found
            found, value = _unpacked(packed), value[step]
        return found


def parse_yaml(text: str, *, without_libyaml: bool = False) -> YamlDocument:
    """The document in `text`. Raises DiagramInvalid with one problem that says what and where.

    libyaml is used where PyYAML was built with it; it is several times as quick.
    """
    if len(text) > DOCUMENT_BYTES_MAX or len(text.encode(errors="replace")) > DOCUMENT_BYTES_MAX:
        _refuse(
            "DOCUMENT_TOO_LARGE",
            f"The document is larger than {DOCUMENT_BYTES_MAX // 1024} KiB.",
            None,
            "Move long texts into prompt files or split the diagram into sub-diagrams.",
        )
    _check_characters(text)
    builder = _Builder()
    for event in _events(text, yaml.SafeLoader if without_libyaml else _LOADER):
        builder.take(event)
    return YamlDocument(builder.root, builder.root_location, builder.places)


def _check_characters(text: str) -> None:
    found = Reader.NON_PRINTABLE.search(text)
    if found is not None:
        before = text[: found.start()]
        line = before.count("\n")
        column = len(before) - (before.rfind("\n") + 1)
        _refuse(
            "YAML_SYNTAX",
            f"The character U+{ord(found.group()):04X} may not stand in a YAML document.",
            Location(line + 1, column + 1),
            "Remove it, or write it as an escape in double quotes.",
        )


def _events(text: str, loader: Any) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.YAMLError as error:
        what = getattr(error, "problem", None) or str(error)
        context = getattr(error, "context", None)
        message = f"YAML: {what} {context}." if context else f"YAML: {what}."
        _refuse("YAML_SYNTAX", message, _location(getattr(error, "problem_mark", None)), None)


@dataclass(slots=True)
class _Open:
    """A map or list that has begun and not ended; `key` is set while its value is awaited."""

    value: Any
    places: dict[Any, int]
    key: str | None = None

    @property
    def awaits_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is None


class _Builder:
    """Takes parser events one by one and builds values and places."""

    def __init__(self) -> None:
        self.root: Any = None
        self.root_location = Location(1, 1)
        self.places: dict[int, dict[Any, int]] = {}
        self._open: list[_Open] = []
        self._documents = 0

    def take(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self._refuse_marks(event)
                _refuse_half_pair(event)
                self._scalar(event)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._refuse_marks(event)
                self._begin(event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._open.pop()
            case yaml.AliasEvent(anchor=anchor):
                _refuse(
                    "YAML_ALIAS",
                    f"The alias *{anchor} is not allowed.",
                    _location(event.start_mark),
                    "Write the value out where it is needed.",
                )
            case yaml.DocumentStartEvent():
                self._count_document(event)
            case _:
                pass

    def _count_document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            _refuse(
                "YAML_SYNTAX",
                "The text holds more than one YAML document.",
                _location(event.start_mark),
                "Keep one diagram per file: remove the line `---` and what follows it.",
            )

    def _refuse_marks(self, event: Any) -> None:
        if event.anchor is not None:
            _refuse(
                "YAML_ANCHOR",
                f"The anchor &{event.anchor} is not allowed.",
                _location(event.start_mark),
                "Write the value out where it is needed.",
            )
        if event.tag is not None:
            _refuse(
                "YAML_TAG",
                f"The tag {event.tag} is not allowed.",
                _location(event.start_mark),
                "Only plain values may be used: texts, numbers, true, false, null, lists, maps.",
            )

    def _begin(self, event: Any) -> None:
        if self._open and self._open[-1].awaits_key:
            _refuse(
                "YAML_KEY",
                "A key must be a text, not a list or a map.",
                _location(event.start_mark),
                "If this was meant as a template such as {{name}}, put it in quotes.",
            )
        if len(self._open) >= DEPTH_MAX:
            _refuse(
                "DOCUMENT_TOO_DEEP",
                f"The document is nested more than {DEPTH_MAX} levels deep.",
                _location(event.start_mark),
                None,
            )
        value: Any = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        self._place(value, event.start_mark)
        places: dict[Any, int] = {}
        self.places[id(value)] = places
        self._open.append(_Open(value, places))

    def _scalar(self, event: Any) -> None:
        around = self._open[-1] if self._open else None
        if around is not None and around.awaits_key:
            self._key(around, event)
        else:
            self._place(_scalar_value(event), event.start_mark)

    def _key(self, around: _Open, event: Any) -> None:
        # The text as written: `on`, `1` or `2025-01-11` are fine names for a field or a person.
        key = event.value
        if key == "<<" and event.implicit[0]:
            _refuse(
                "YAML_MERGE_KEY",
                "The merge key << is not allowed.",
                _location(event.start_mark),
                "Write the fields out.",
            )
        first = around.places.get(key)
        if first is not None:
            here = _location(event.start_mark)
            _refuse(
                "YAML_DUPLICATE_KEY",
                f"The key {_short(key)} is written twice: first in line {_unpacked(first).line}, "
                f"again in line {here.line if here else '?'}.",
                here,
                "Remove or rename one of them.",
            )
        around.key = key
        around.places[key] = _packed(event.start_mark)

    def _place(self, value: Any, mark: Any) -> None:
        if not self._open:
            self.root = value
            self.root_location = _location(mark) or self.root_location
            return
        around = self._open[-1]
        if isinstance(around.value, list):
            around.places[len(around.value)] = _packed(mark)
            around.value.append(value)
        else:
            around.value[around.key] = value
            around.key = None


def _refuse_half_pair(event: Any) -> None:
    # Only the loader without libyaml lets an escape such as \\ud800 through.
    if not is_text(event.value):
        _refuse(
            "YAML_SYNTAX",
            "A text holds half of a surrogate pair.",
            _location(event.start_mark),
            "Write the character itself.",
        )


# --- scalars ------------------------------------------------------------------------------------


def _scalar_value(event: Any) -> Any:
    text: str = event.value
    if not event.implicit[0]:
        return text
    match _implicit_type(text):
        case "null":
            return None
        case "bool":
            return text.lower() in {"yes", "true", "on"}
        case "int":
            return _integer(text, event.start_mark)
        case "float":
            return _float(text, event.start_mark)
        case "timestamp":
            return _timestamp(text)
        case _:
            return text


def _implicit_type(text: str) -> str:
    for tag, pattern in _IMPLICIT.get(text[0] if text else "", ()):
        if pattern.match(text):
            return str(tag).removeprefix(_TAG)
    return "str"


def _integer(text: str, mark: Any) -> int:
    value: int | None = None
    if len(text) <= NUMBER_CHARACTERS_MAX:
        try:
            value = _CONSTRUCTOR.construct_yaml_int(yaml.ScalarNode(f"{_TAG}int", text))
        except ValueError:
            value = None
    if value is None or not INTEGER_MIN <= value <= INTEGER_MAX:
        _refuse_number("is no integer of 64 bits", text, mark)
    return value


def _float(text: str, mark: Any) -> float:
    value = math.nan
    if len(text) <= NUMBER_CHARACTERS_MAX:
        value = _CONSTRUCTOR.construct_yaml_float(yaml.ScalarNode(f"{_TAG}float", text))
    if not math.isfinite(value):
        _refuse_number("is no finite number", text, mark)
    return value


def _refuse_number(reason: str, text: str, mark: Any) -> NoReturn:
    _refuse(
        "YAML_NUMBER",
        f"{_short(text)} {reason}.",
        _location(mark),
        "Put it in quotes if it is meant as a text.",
    )


def _timestamp(text: str) -> str:
    try:
        moment = _CONSTRUCTOR.construct_yaml_timestamp(yaml.ScalarNode(f"{_TAG}timestamp", text))
    except ValueError:
        return text
    return moment.isoformat() if isinstance(moment, datetime.date) else text


# --- places -------------------------------------------------------------------------------------


def _packed(mark: Any) -> int:
    """Line and column in one integer: a document of 1 MiB may have half a million places."""
    return int(mark.line) << _COLUMN_BITS | int(mark.column)


def _unpacked(packed: int) -> Location:
    return Location((packed >> _COLUMN_BITS) + 1, (packed & ((1 << _COLUMN_BITS) - 1)) + 1)


def _location(mark: Any) -> Location | None:
    return None if mark is None else Location(mark.line + 1, mark.column + 1)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _refuse(code: str, message: str, location: Location | None, hint: str | None) -> NoReturn:
    problem = DiagramProblem(Severity.ERROR, code, message, hint=hint, location=location)
    raise DiagramInvalid([problem]) from None
