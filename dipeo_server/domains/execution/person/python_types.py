"""What a type annotation of Python means as a JSON schema, by its syntax tree alone."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, TypeAlias

from dipeo_server.errors import NodeError

Schema: TypeAlias = dict[str, Any]

STEPS_MAX: Final = 20_000


class TextFormatError(NodeError):
    """A `text_format` cannot be read as a JSON schema; the message names the line."""

    code = "INVALID_TEXT_FORMAT"


def problem(node: ast.AST, message: str, *, hint: str | None = None) -> TextFormatError:
    """The refusal of what stands at `node`."""
    line = getattr(node, "lineno", None)
    where = f"text_format, line {line}" if line else "text_format"
    return TextFormatError(f"{where}: {message}", hint=hint)


class Names(Protocol):
    """What the names of a module mean where they stand in an annotation."""

    def schema_of(self, name: str, node: ast.expr) -> Schema | None:
        """The schema of a name defined in the module; None if it is not."""
        ...

    def is_foreign(self, name: str) -> bool:
        """Was it imported, or made in a way that only running would tell?"""
        ...

    def member(self, enum: str, name: str, node: ast.expr) -> Any:
        """The value of an enum's member. Raises TextFormatError."""
        ...


_OBJECT: Final = {"type": "object"}
_ARRAY: Final = {"type": "array"}
_SET: Final = {"type": "array", "uniqueItems": True}
_SIMPLE: Final[dict[str, Schema]] = {
    "str": {"type": "string"},
    "StrictStr": {"type": "string"},
    "SecretStr": {"type": "string"},
    "bytes": {"type": "string"},
    "Path": {"type": "string"},
    "int": {"type": "integer"},
    "StrictInt": {"type": "integer"},
    "PositiveInt": {"type": "integer", "exclusiveMinimum": 0},
    "NonNegativeInt": {"type": "integer", "minimum": 0},
    "NegativeInt": {"type": "integer", "exclusiveMaximum": 0},
    "float": {"type": "number"},
    "StrictFloat": {"type": "number"},
    "PositiveFloat": {"type": "number", "exclusiveMinimum": 0},
    "NonNegativeFloat": {"type": "number", "minimum": 0},
    "Decimal": {"type": "number"},
    "bool": {"type": "boolean"},
    "StrictBool": {"type": "boolean"},
    "None": {"type": "null"},
    "NoneType": {"type": "null"},
    "Any": {},
    "object": {},
    "JsonValue": {},
    "JsonPrimitive": {"type": ["string", "number", "boolean", "null"]},
    "JsonDict": _OBJECT,
    "JsonList": _ARRAY,
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "format": "time"},
    "timedelta": {"type": "string", "format": "duration"},
    "UUID": {"type": "string", "format": "uuid"},
    "EmailStr": {"type": "string", "format": "email"},
    "AnyUrl": {"type": "string", "format": "uri"},
    "HttpUrl": {"type": "string", "format": "uri"},
    **dict.fromkeys(("dict", "Dict", "Mapping", "MutableMapping", "defaultdict"), _OBJECT),
    **dict.fromkeys(("list", "List", "Sequence", "Iterable", "Collection"), _ARRAY),
    **dict.fromkeys(("tuple", "Tuple"), _ARRAY),
    **dict.fromkeys(("set", "Set", "frozenset", "FrozenSet"), _SET),
}
_MADE_BY_CALL: Final = {"constr": "str", "conint": "int", "confloat": "float", "conlist": "list"}
_TRANSPARENT: Final = {"Final", "Required", "NotRequired", "ReadOnly"}
_KEYWORDS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_items": "minItems",
    "max_items": "maxItems",
    "pattern": "pattern",
    "regex": "pattern",
    "title": "title",
    "description": "description",
    "examples": "examples",
}
_OF_THE_WHOLE: Final = {"title", "description", "examples"}
_LENGTHS: Final = {
    "array": {"minLength": "minItems", "maxLength": "maxItems"},
    "object": {"minLength": "minProperties", "maxLength": "maxProperties"},
}


def name_of(node: ast.expr) -> str | None:
    """The last part of a name, so that `typing.List` and `List` are one; None for no name."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return None


def literal(node: ast.expr) -> tuple[bool, Any]:
    """(True, value) of a constant, a list or map of constants; (False, None) of anything else."""
    try:
        return True, ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False, None


def arguments(node: ast.Call) -> dict[str, ast.expr]:
    """A call's keyword arguments by name."""
    return {entry.arg: entry.value for entry in node.keywords if entry.arg is not None}


def union(choices: list[Schema]) -> Schema:
    """One of several; nested unions become one."""
    flat: list[Schema] = []
    for choice in choices:
        parts = choice["anyOf"] if choice.keys() == {"anyOf"} else [choice]
        flat += [part for part in parts if part not in flat]
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


def with_constraints(schema: Schema, call: ast.Call) -> Schema:
    """The schema with what a call like `Field(ge=1, description="…")` adds to it."""
    added: Schema = {}
    for name, value in arguments(call).items():
        is_known, constant = literal(value)
        if is_known and constant is not None and name in _KEYWORDS:
            added[_KEYWORDS[name]] = constant
    whole = {key: part for key, part in added.items() if key in _OF_THE_WHOLE}
    limits = {key: part for key, part in added.items() if key not in _OF_THE_WHOLE}
    return _limited(schema, limits) | whole if added else schema


def _limited(schema: Schema, limits: Schema) -> Schema:
    if "anyOf" in schema:
        parts = [
            part if part == {"type": "null"} else _limited(part, limits) for part in schema["anyOf"]
        ]
        return schema | {"anyOf": parts}
    renamed = _LENGTHS.get(str(schema.get("type")), {})
    return schema | {renamed.get(key, key): limit for key, limit in limits.items()}


class Annotations:
    """Reads annotations with the names of one module."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._steps = 0
        self._generic: dict[str, Callable[[str, list[ast.expr]], Schema]] = {
            "Optional": lambda _, parts: union([*self._each(parts), {"type": "null"}]),
            "Union": lambda _, parts: union(self._each(parts)),
            "Literal": lambda _, parts: self._literal(parts),
            "Annotated": lambda _, parts: self._annotated(parts),
        }
        for name, schema in _SIMPLE.items():
            if name in {"tuple", "Tuple"}:
                self._generic[name] = lambda _, parts: self._tuple(parts)
            elif schema in (_ARRAY, _SET):
                self._generic[name] = self._array
            elif schema == _OBJECT:
                self._generic[name] = self._map
        for name in _TRANSPARENT:
            self._generic[name] = lambda _, parts: self.schema(parts[0])

    def schema(self, node: ast.expr) -> Schema:
        """What the annotation accepts. Raises TextFormatError."""
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise problem(node, "the types are too large once their aliases are written out.")
        match node:
            case ast.Constant(value=None):
                return {"type": "null"}
            case ast.Constant(value=str() as text):
                return self.schema(forward(text, node))
            case ast.BinOp(op=ast.BitOr(), left=left, right=right):
                return union([self.schema(left), self.schema(right)])
            case ast.Name() | ast.Attribute():
                return self._named(str(name_of(node)), node)
            case ast.Subscript(value=head, slice=part):
                parts = list(part.elts) if isinstance(part, ast.Tuple) else [part]
                return self._subscript(head, parts)
            case ast.Call(func=function):
                return self._called(node, name_of(function))
            case _:
                raise problem(node, f"{ast.unparse(node)} cannot be read as a type.")

    def _each(self, nodes: list[ast.expr]) -> list[Schema]:
        return [self.schema(node) for node in nodes]

    def _named(self, name: str, node: ast.expr) -> Schema:
        defined = self._names.schema_of(name, node)
        if defined is not None:
            return defined
        if name in _SIMPLE:
            return dict(_SIMPLE[name])
        if self._names.is_foreign(name):
            return {}
        raise problem(
            node,
            f"the type {name!r} is not defined.",
            hint="Define it above, import it, or use str, int, float, bool, list, dict or a model.",
        )

    def _subscript(self, head: ast.expr, parts: list[ast.expr]) -> Schema:
        name = name_of(head)
        read = self._generic.get(name or "")
        if name is None or read is None:
            if name is not None and self._names.is_foreign(name):
                return {}
            raise problem(head, f"{ast.unparse(head)}[…] cannot be read as a type.")
        return read(name, parts)

    def _array(self, name: str, parts: list[ast.expr]) -> Schema:
        return {**_SIMPLE[name], "items": self.schema(parts[0])}

    def _map(self, name: str, parts: list[ast.expr]) -> Schema:
        return {**_SIMPLE[name], "additionalProperties": self.schema(parts[-1])}

    def _tuple(self, parts: list[ast.expr]) -> Schema:
        if len(parts) == 2 and isinstance(parts[1], ast.Constant) and parts[1].value is ...:
            return {"type": "array", "items": self.schema(parts[0])}
        count = len(parts)
        items = self._each(parts)
        return {"type": "array", "prefixItems": items, "minItems": count, "maxItems": count}

    def _annotated(self, parts: list[ast.expr]) -> Schema:
        schema = self.schema(parts[0])
        for part in parts[1:]:
            if isinstance(part, ast.Call):
                schema = with_constraints(schema, part)
        return schema

    def _literal(self, parts: list[ast.expr]) -> Schema:
        return {"enum": list(self._literal_values(parts))}

    def _literal_values(self, parts: list[ast.expr]) -> Iterator[Any]:
        for part in parts:
            match part:
                case ast.Attribute(value=owner, attr=member):
                    yield self._names.member(str(name_of(owner)), member, part)
                case _:
                    is_known, value = literal(part)
                    if not is_known:
                        raise problem(part, f"{ast.unparse(part)} is no literal value.")
                    yield value

    def _called(self, node: ast.Call, name: str | None) -> Schema:
        base = _MADE_BY_CALL.get(name or "")
        if base is None:
            return {}
        schema = dict(_SIMPLE[base])
        if base == "list" and node.args:
            schema["items"] = self.schema(node.args[0])
        return with_constraints(schema, node)


def forward(text: str, node: ast.expr) -> ast.expr:
    """A quoted annotation as a tree. Raises TextFormatError where it is no expression."""
    try:
        expression = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        raise problem(node, f"{text!r} cannot be read as a type.") from None
    for inner in ast.walk(expression):
        ast.copy_location(inner, node)
    return expression
