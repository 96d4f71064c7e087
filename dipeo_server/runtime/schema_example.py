"""The smallest value that a JSON schema accepts: what a model that only plays a model answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

DEPTH_MAX: Final = 32

_FORMATS: Final = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "a@example.org",
    "hostname": "example.org",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "http://example.org/",
    "uuid": "00000000-0000-0000-0000-000000000000",
}
_TEXTS: Final = ("", "a", "A", "0", "aa", "AA", "00", "a0", "A0", "a-a", "a_a", "a.a", "#000000")
_BEYOND: Final = object()


def minimal_instance(schema: Mapping[str, Any]) -> Any:
    """A small JSON value for the schema: required properties, least items, first choices.

    Local references (`#/$defs/…`) are followed. Exotic keywords (`not`, `if`, unusual patterns)
    are not: there the value may be refused by the schema. None for a schema that has no end.
    """
    value = _Example(schema).of(schema, 0)
    return None if value is _BEYOND else value


class _Example:
    """Builds a value; `_BEYOND` marks a choice that would never end."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._by_type: dict[str, Callable[[Mapping[str, Any], int], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": lambda schema, _: _text(schema),
            "integer": lambda schema, _: int(_number(schema, step=1)),
            "number": lambda schema, _: _number(schema, step=0.5),
            "boolean": lambda *_: False,
            "null": lambda *_: None,
        }

    def of(self, schema: Any, depth: int) -> Any:
        if depth > DEPTH_MAX:
            return _BEYOND
        if not isinstance(schema, Mapping):
            return ""
        schema = self._flat(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            rest = {key: part for key, part in schema.items() if key not in {"anyOf", "oneOf"}}
            return self._first(({**rest, **choice} for choice in choices), depth)
        return self._typed(schema, depth)

    def _first(self, choices: Iterator[Mapping[str, Any]], depth: int) -> Any:
        for choice in choices:
            value = self.of(choice, depth + 1)
            if value is not _BEYOND:
                return value
        return _BEYOND

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        type_ = schema.get("type")
        if isinstance(type_, list):
            return self._first(({**schema, "type": one} for one in type_), depth)
        if type_ is None:
            type_ = "object" if "properties" in schema else "array" if "items" in schema else ""
        make = self._by_type.get(type_)
        return "" if make is None else make(schema, depth)

    def _flat(self, schema: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
        """The schema with its reference and its `allOf` merged into it."""
        parts = [self._resolved(schema["$ref"])] if "$ref" in schema else []
        parts += schema.get("allOf", [])
        if not parts or depth > DEPTH_MAX:
            return schema
        merged: dict[str, Any] = {}
        own = {key: part for key, part in schema.items() if key not in {"$ref", "allOf"}}
        for part in [*(self._flat(part, depth + 1) for part in parts), own]:
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            required = [*merged.get("required", []), *part.get("required", [])]
            merged |= part
            if properties:
                merged |= {"properties": properties, "required": required}
        return merged

    def _resolved(self, reference: str) -> Mapping[str, Any]:
        found: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def _object(self, schema: Mapping[str, Any], depth: int) -> Any:
        properties = schema.get("properties", {})
        names = list(dict.fromkeys(schema.get("required", [])))
        names += [name for name in properties if name not in names]
        wanted = max(len(schema.get("required", [])), schema.get("minProperties", 0))
        value: dict[str, Any] = {}
        for name in names[:wanted]:
            value[name] = self.of(properties.get(name, {}), depth + 1)
            if value[name] is _BEYOND:
                return _BEYOND
        return value

    def _array(self, schema: Mapping[str, Any], depth: int) -> Any:
        leading = schema.get("prefixItems", [])
        count = schema.get("minItems", 0)
        schemas = [*leading, *[schema.get("items", {})] * (count - len(leading))][:count]
        values = [self.of(one, depth + 1) for one in schemas]
        return _BEYOND if any(value is _BEYOND for value in values) else values


def _text(schema: Mapping[str, Any]) -> str:
    if "format" in schema:
        return _FORMATS.get(schema["format"], "a")
    least = schema.get("minLength", 0)
    texts = [text.ljust(least, "a") for text in _TEXTS]
    pattern = schema.get("pattern")
    if pattern is None:
        return texts[0]
    try:
        return next((text for text in texts if re.search(pattern, text)), texts[0])
    except re.error:
        return texts[0]


def _number(schema: Mapping[str, Any], *, step: float) -> float:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    value: float = 0
    if least is not None and least >= 0:
        value = least + (step if least == schema.get("exclusiveMinimum") else 0)
    elif most is not None and most <= 0:
        value = most - (step if most == schema.get("exclusiveMaximum") else 0)
    unit = schema.get("multipleOf")
    return value if not unit else -(-value // unit) * unit
