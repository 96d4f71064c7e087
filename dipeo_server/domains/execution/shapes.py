"""Values of declared types as plain JSON and back, so that no field of a state can be forgotten.

A dataclass is an object without the fields that have their default; a set is a sorted list; a
mapping whose keys are no text or whole number is a list of pairs, in its order. What is declared as
`Any` is JSON already and is taken as it is.
"""

from __future__ import annotations

import types
import typing
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from operator import attrgetter
from typing import Any, Final

Encode = Callable[[Any], Any]
Decode = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """How values of one type are written and read."""

    encode: Encode
    decode: Decode


def _as_it_is(value: Any) -> Any:
    return value


PLAIN: Final = Shape(_as_it_is, _as_it_is)
_SCALARS: Final = (str, int, float, bool, type(None), None)


Part = tuple[str, Shape, Any]
"""Name, shape and default of a field."""


def written_fields(value: Any, parts: Iterable[Part]) -> dict[str, Any]:
    """Those of the fields that are not what they are by default, as JSON."""
    found = {}
    for name, part, default in parts:
        held = getattr(value, name)
        if held is not default and held != default:
            found[name] = part.encode(held)
    return found


class Shapes:
    """Makes the shapes of types; `given` are those of types that are written in another way."""

    def __init__(self, given: Mapping[type, Shape]) -> None:
        self._known: dict[Any, Shape] = dict(given)

    def of(self, declared: Any) -> Shape:
        """The shape of a type. Raises TypeError for one that has none."""
        while isinstance(declared, typing.NewType):
            declared = declared.__supertype__
        found = self._known.get(declared)
        if found is None:
            found = self._known[declared] = self._made(declared)
        return found

    def _made(self, declared: Any) -> Shape:
        origin = typing.get_origin(declared)
        if declared is Any or declared in _SCALARS or origin is typing.Literal:
            return PLAIN
        if origin in (typing.Union, types.UnionType):
            return self._optional(declared)
        if origin is not None:
            return self._collection(origin, typing.get_args(declared))
        if declared is datetime:
            return Shape(datetime.isoformat, datetime.fromisoformat)
        if isinstance(declared, type) and issubclass(declared, Enum):
            return Shape(attrgetter("_value_"), declared)  # `value` is looked up in Python.
        if is_dataclass(declared):
            return self._record(declared)
        raise TypeError(f"{declared!r} cannot be written as JSON")

    def _optional(self, declared: Any) -> Shape:
        others = [each for each in typing.get_args(declared) if each is not type(None)]
        shapes = [self.of(each) for each in others]
        if all(shape is PLAIN for shape in shapes):
            return PLAIN
        if len(shapes) != 1:
            raise TypeError(f"{declared!r} does not tell its types apart in JSON")
        encode, decode = shapes[0].encode, shapes[0].decode
        return Shape(
            lambda value: None if value is None else encode(value),
            lambda value: None if value is None else decode(value),
        )

    def _collection(self, origin: Any, arguments: tuple[Any, ...]) -> Shape:
        if origin in (dict, OrderedDict, Mapping):
            return self._mapping(origin, arguments)
        if origin is tuple and arguments[-1] is not Ellipsis:
            return self._fixed(arguments)
        encode, decode = self.of(arguments[0]).encode, self.of(arguments[0]).decode
        if origin in (set, frozenset):
            return Shape(
                lambda value: sorted(encode(each) for each in value),
                lambda value: origin(decode(each) for each in value),
            )
        return Shape(
            lambda value: [encode(each) for each in value],
            lambda value: origin(decode(each) for each in value),
        )

    def _fixed(self, arguments: tuple[Any, ...]) -> Shape:
        shapes = [self.of(each) for each in arguments]
        return Shape(
            lambda value: [s.encode(each) for s, each in zip(shapes, value, strict=True)],
            lambda value: tuple(s.decode(each) for s, each in zip(shapes, value, strict=True)),
        )

    def _mapping(self, origin: Any, arguments: tuple[Any, Any]) -> Shape:
        key, value = (self.of(each) for each in arguments)
        made: Any = OrderedDict if origin is OrderedDict else dict
        supertype = getattr(arguments[0], "__supertype__", arguments[0])
        if supertype is str and value is PLAIN:
            return Shape(dict, made)
        if supertype in (str, int):
            return Shape(
                lambda held: {str(name): value.encode(each) for name, each in held.items()},
                lambda held: made((supertype(n), value.decode(each)) for n, each in held.items()),
            )
        return Shape(
            lambda held: [[key.encode(name), value.encode(each)] for name, each in held.items()],
            lambda held: made((key.decode(name), value.decode(each)) for name, each in held),
        )

    def _record(self, declared: Any) -> Shape:
        parts = self.fields_of(declared)
        decoders = {name: part.decode for name, part, _ in parts}

        def encode(value: Any) -> dict[str, Any]:
            return written_fields(value, parts)

        def decode(value: Mapping[str, Any]) -> Any:
            return declared(**{name: decoders[name](held) for name, held in value.items()})

        return Shape(encode, decode)

    def fields_of(self, declared: Any, without: frozenset[str] = frozenset()) -> list[Part]:
        """The fields of a dataclass but those."""
        hints = typing.get_type_hints(declared)
        return [
            (field.name, self.of(hints[field.name]), _default_of(field))
            for field in fields(declared)
            if field.name not in without
        ]


def _default_of(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default
