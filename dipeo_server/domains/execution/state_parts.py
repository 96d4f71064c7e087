"""The fields of a state as JSON, each of which knows what it was like when it was last written.

Values of a state are replaced, never changed in place (but for the counters of turns, which are
compared): what is the same object as before has been written already, so that to write a state
once more costs what has changed since.
"""

from __future__ import annotations

import typing
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import compress
from operator import attrgetter, is_not, itemgetter, ne
from typing import Any, Final, Protocol

from dipeo_server.domains.execution.difference import delta
from dipeo_server.domains.execution.shapes import Encode, Shapes

GROUP: Final = 64
"""Entries of a list, or keys that are numbers, that are hashed together."""
_GROUPS_OF_NAMES: Final = 0xFF

Changes = dict[str, Any]
"""A difference as `difference.apply` takes it; empty = none."""

Uses = tuple[str, ...]
"""The keys of the envelopes that one entry mentions."""


class Writer(Protocol):
    """Writes values, and learns which envelopes they mention."""

    def write(self, encode: Encode, value: Any) -> tuple[Any, Uses]:
        """The value as JSON, and what it mentions."""
        ...

    def release(self, uses: Uses) -> None:
        """An entry that mentioned these is not there any more."""
        ...


def group_of(key: str) -> int:
    """Which entries of an object are hashed together with that key."""
    number = key.partition(".")[0]
    if number.isascii() and number.isdecimal():
        return int(number) // GROUP
    return zlib.crc32(key.encode()) & _GROUPS_OF_NAMES


View = tuple[Callable[[Any], Any] | None, Callable[[Any, Any], Any]]
"""What is looked at of each entry (None = itself), and what tells two of those apart."""

ITSELF: Final[tuple[View, ...]] = ((None, is_not),)
ITEMS: Final[tuple[View, ...]] = ((itemgetter(0), ne), (itemgetter(1), is_not))


class WrittenList:
    """A list, a tuple of any length, or the items of a mapping with other keys."""

    def __init__(self, encode: Encode, views: tuple[View, ...] = ITSELF) -> None:
        self._encode = encode
        self._views = views
        self._seen: list[list[Any]] = [[] for _ in views]
        self._uses: list[Uses] = []
        self.document: list[Any] = []
        self.dirty: set[int] = set()

    @property
    def is_there(self) -> bool:
        """Is anything written of it?"""
        return bool(self.document)

    def changes(self, given: Sequence[Any] | Mapping[Any, Any], writer: Writer) -> Changes:
        """Take in the values as they are now; gives what has changed."""
        values = list(given.items()) if isinstance(given, Mapping) else given
        # A list for each view: tuples for each entry would be looked for in cycles, time and again.
        seen = [list(values if look is None else map(look, values)) for look, _ in self._views]
        kept = min(len(values), len(self.document))
        changed: dict[str, Any] = {}
        for index in self._different(seen, kept):
            document, uses = writer.write(self._encode, values[index])
            writer.release(self._uses[index])
            self._uses[index] = uses
            difference = delta(self.document[index], document)
            if difference:
                changed[str(index)] = difference
                self.document[index] = document
                self.dirty.add(index // GROUP)
        found: Changes = {"n": kept} if kept < len(self.document) else {}
        if changed:
            found["+"] = changed
        self._cut(kept, writer)
        if kept < len(values):
            found["a"] = self._extend(values[kept:], writer)
        self._seen = seen
        return found

    def _different(self, seen: Sequence[list[Any]], kept: int) -> list[int]:
        """Which of the first so many entries are not as they were."""
        found: set[int] = set()
        for (_, differs), before, now in zip(self._views, self._seen, seen, strict=True):
            if differs is is_not or before != now:
                found.update(compress(range(kept), map(differs, before, now)))
        return sorted(found)

    def _cut(self, kept: int, writer: Writer) -> None:
        self.dirty.update(index // GROUP for index in range(kept, len(self.document)))
        for uses in self._uses[kept:]:
            writer.release(uses)
        del self.document[kept:], self._uses[kept:]

    def _extend(self, values: Iterable[Any], writer: Writer) -> list[Any]:
        first = len(self.document)
        for value in values:
            document, uses = writer.write(self._encode, value)
            self.document.append(document)
            self._uses.append(uses)
        self.dirty.update(index // GROUP for index in range(first, len(self.document)))
        return self.document[first:]

    def group(self, number: int) -> Any:
        """What is hashed together; empty = nothing."""
        return group_of_list(self.document, number)


class WrittenObject:
    """A mapping whose keys are text or whole numbers."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._seen: dict[Any, Any] = {}
        self._uses: dict[str, Uses] = {}
        self._groups: dict[int, dict[str, Any]] = {}
        self.document: dict[str, Any] = {}
        self.dirty: set[int] = set()

    @property
    def is_there(self) -> bool:
        """Is anything written of it?"""
        return bool(self.document)

    def changes(self, values: Mapping[Any, Any], writer: Writer) -> Changes:
        """Take in the values as they are now; gives what has changed."""
        now, before = list(values), list(self._seen)
        gone: list[Any] = []
        if now[: len(before)] != before:
            gone = [key for key in before if key not in values]
            before = [key for key in before if key in values]
        if now[: len(before)] == before:
            found = self._without(gone, writer) | self._grown(len(before), now, values, writer)
        else:
            found = self._reordered(values, writer)
        self._seen = dict(values)
        return found

    def _without(self, gone: list[Any], writer: Writer) -> Changes:
        names = [str(key) for key in gone]
        for key, name in zip(gone, names, strict=True):
            del self._seen[key]
            self._drop(name, writer)
            del self.document[name]
        return {"-": names} if names else {}

    def _grown(
        self, count: int, now: list[Any], values: Mapping[Any, Any], writer: Writer
    ) -> Changes:
        """The first so many keys are those that were there before."""
        changed: dict[str, Any] = {}
        for key in list(compress(now, map(is_not, self._seen.values(), values.values()))):
            name = str(key)
            old = self.document[name]
            new = self._written(name, values[key], writer)
            difference = delta(old, new)
            if difference:
                changed[name] = difference
                self._put(name, new)
        for key in now[count:]:
            name = str(key)
            self._put(name, self._written(name, values[key], writer))
            changed[name] = {"=": self.document[name]}
        return {"+": changed} if changed else {}

    def _reordered(self, values: Mapping[Any, Any], writer: Writer) -> Changes:
        """Keys stand in another order."""
        old, new = dict(self.document), {}
        for key, value in values.items():
            name = str(key)
            is_same = key in self._seen and self._seen[key] is value
            new[name] = old[name] if is_same else self._written(name, value, writer)
        found = dict(delta(old, new))
        for name in [name for name in old if name not in new]:
            self._drop(name, writer)
        self.document.clear()
        for name, document in new.items():
            if old.get(name, self) is document:
                self.document[name] = document
            else:
                self._put(name, document)
        return found

    def _written(self, name: str, value: Any, writer: Writer) -> Any:
        document, uses = writer.write(self._encode, value)
        writer.release(self._uses.get(name, ()))
        self._uses[name] = uses
        return document

    def _put(self, name: str, document: Any) -> None:
        number = group_of(name)
        self.document[name] = document
        self._groups.setdefault(number, {})[name] = document
        self.dirty.add(number)

    def _drop(self, name: str, writer: Writer) -> None:
        writer.release(self._uses.pop(name))
        number = group_of(name)
        del self._groups[number][name]
        self.dirty.add(number)

    def group(self, number: int) -> Any:
        """What is hashed together; empty = nothing."""
        return sorted(self._groups.get(number, {}).items(), key=_name)


class WrittenValue:
    """Anything else: written whole each time, and not at all where it is what it is by default.

    All of these are hashed together.
    """

    def __init__(self, encode: Encode, default: Any) -> None:
        self._encode = encode
        self._default = default
        self._uses: Uses = ()
        self._seen: Any = default
        self.is_there = False
        self.document: Any = None
        self.dirty: set[int] = set()

    def changes(self, value: Any, writer: Writer) -> Changes:
        """Take in the value as it is now; gives what has changed."""
        if value is self._seen and not isinstance(value, set):
            return {}
        self._seen = value
        was_there, self.is_there = self.is_there, bool(value != self._default)
        document, uses = writer.write(self._encode, value) if self.is_there else (None, ())
        writer.release(self._uses)
        self._uses = uses
        found = dict(delta(self.document, document))
        if was_there != self.is_there and not found:
            found = {"=": document}
        if found:
            self.document = document
            self.dirty.add(0)
        return found


WrittenPart = WrittenList | WrittenObject | WrittenValue
Grouped = WrittenList | WrittenObject


def group_of_list(document: Sequence[Any], number: int) -> Any:
    """The entries of a list that are hashed together."""
    return document[number * GROUP : (number + 1) * GROUP]


def groups_of(kind: type[WrittenPart], document: Any) -> dict[int, Any]:
    """Everything of a field that is hashed together, from what was written of it."""
    if kind is WrittenList:
        count = -(-len(document) // GROUP)
        return {number: group_of_list(document, number) for number in range(count)}
    found: dict[int, dict[str, Any]] = {}
    for name, each in document.items():
        found.setdefault(group_of(name), {})[name] = each
    return {number: sorted(group.items(), key=_name) for number, group in found.items()}


def _name(item: tuple[str, Any]) -> str:
    return item[0]


# --- which field is written how -------------------------------------------------------------------

Maker = Callable[[], WrittenPart]


def makers_of(declared: type, shapes: Shapes, without: frozenset[str]) -> dict[str, Maker]:
    """By field of a dataclass: what writes it and remembers. Raises TypeError for odd types."""
    hints = typing.get_type_hints(declared)
    return {
        field.name: _maker(hints[field.name], shapes, _default_of(field))
        for field in fields(declared)
        if field.name not in without
    }


def _maker(declared: Any, shapes: Shapes, default: Any) -> Maker:
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin is list or (origin is tuple and arguments[-1] is Ellipsis):
        encode, views = shapes.of(arguments[0]).encode, _views_of(arguments[0])
        return lambda: WrittenList(encode, views)
    if origin in (dict, OrderedDict, Mapping):
        key, value = shapes.of(arguments[0]).encode, shapes.of(arguments[1]).encode
        if getattr(arguments[0], "__supertype__", arguments[0]) in (str, int):
            return lambda: WrittenObject(value)
        return lambda: WrittenList(lambda item: [key(item[0]), value(item[1])], ITEMS)
    whole = shapes.of(declared).encode
    return lambda: WrittenValue(whole, default)


def _views_of(declared: Any) -> tuple[View, ...]:
    """What tells entries apart: the fields of those that are changed in place."""
    if not is_dataclass(declared) or getattr(declared, "__dataclass_params__").frozen:  # noqa: B009 - no type knows it.
        return ITSELF
    return tuple((attrgetter(field.name), ne) for field in fields(declared))


def _default_of(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default
