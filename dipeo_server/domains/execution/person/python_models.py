"""From Python source with pydantic models to one JSON schema: parsed, never run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from typing import Any, Final

from typing_extensions import override

from dipeo_server.domains.execution.person.python_types import (
    Annotations,
    Names,
    Schema,
    TextFormatError,
    arguments,
    forward,
    literal,
    name_of,
    problem,
    with_constraints,
)

SOURCE_CHARACTERS_MAX: Final = 200_000

_ENUMS: Final = {"Enum", "StrEnum", "IntEnum"}
_MODELS: Final = {"BaseModel", "RootModel", "TypedDict"}
_JSON_TYPES: Final = {str: "string", int: "integer", float: "number", bool: "boolean"}


def schema_of_source(source: str) -> Schema:
    """The JSON schema of the model that the source is about.

    That is the class `Response`, else the last model that no other one uses. Models, enums, type
    aliases, `Field(…)` and docstrings are understood; a type that is imported, or made by a call,
    accepts anything. Raises TextFormatError with the line.
    """
    if len(source) > SOURCE_CHARACTERS_MAX:
        raise TextFormatError(f"text_format has more than {SOURCE_CHARACTERS_MAX} characters.")
    try:
        module = _Module(_parsed(source))
        return module.document(module.root())
    except SyntaxError as error:
        message = f"text_format, line {error.lineno or 1}: {error.msg}."
        hint = "Write pydantic models in Python, or a JSON schema."
        raise TextFormatError(message, hint=hint) from None
    except (RecursionError, MemoryError):
        raise TextFormatError("text_format is nested too deeply.") from None
    except ValueError as error:
        raise TextFormatError(f"text_format cannot be read: {error}.") from None


def _parsed(source: str) -> ast.Module:
    with warnings.catch_warnings():
        # A pattern written without r"…" is the author's matter, not one for the server's log.
        warnings.simplefilter("ignore")
        return ast.parse(source)


class _Module(Names):
    """The classes and aliases of one source, and their schemas as far as they are used."""

    def __init__(self, tree: ast.Module) -> None:
        self._classes: dict[str, ast.ClassDef] = {}
        self._aliases: dict[str, ast.expr] = {}
        self._foreign: set[str] = set()
        self._definitions: dict[str, Schema] = {}
        self._resolving: list[str] = []
        self._annotations = Annotations(self)
        for statement in _statements(tree.body):
            self._collect(statement)

    def _collect(self, statement: ast.stmt) -> None:
        match statement:
            case ast.ClassDef(name=name):
                self._classes[name] = statement
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                self._foreign |= {(alias.asname or alias.name).split(".")[-1] for alias in names}
            case ast.FunctionDef(name=name):
                self._foreign.add(name)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._aliases[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self._aliases[name] = value
            case _:
                pass

    def root(self) -> str:
        models = [name for name, node in self._classes.items() if self._is_model(node)]
        if not models:
            message = "text_format holds no class derived from BaseModel."
            raise TextFormatError(message, hint="Write `class Response(BaseModel): …`.")
        used = {other for name in models for other in self._mentioned(name) - {name}}
        free = [name for name in models if name not in used]
        if "Response" in free:
            return "Response"
        return (free or models)[-1]

    def document(self, root: str) -> Schema:
        """The schema of one model, self-contained."""
        reference = self._model(self._classes[root])
        rest = {name: schema for name, schema in self._definitions.items() if name != root}
        if any(_refers_to(root, schema) for schema in self._definitions.values()):
            return {**reference, "$defs": dict(self._definitions)}
        return {**self._definitions[root], **({"$defs": rest} if rest else {})}

    # --- names in annotations

    @override
    def schema_of(self, name: str, node: ast.expr) -> Schema | None:
        if name in self._classes:
            return self._class(self._classes[name], node)
        if name not in self._aliases:
            return None
        if name in self._resolving:
            raise problem(node, f"the type {name!r} is defined by itself.")
        self._resolving.append(name)
        try:
            return self._annotations.schema(self._aliases[name])
        finally:
            self._resolving.pop()

    @override
    def is_foreign(self, name: str) -> bool:
        return name in self._foreign

    @override
    def member(self, enum: str, name: str, node: ast.expr) -> Any:
        declared = self._classes.get(enum)
        if declared is None:
            if self.is_foreign(enum):
                raise problem(node, f"{enum}.{name} is defined elsewhere; write its value.")
            raise problem(node, f"there is no enum {enum!r}.")
        members = dict(self._members(declared))
        if name not in members:
            raise problem(node, f"the enum {enum!r} has no member {name!r}.")
        return members[name]

    # --- classes

    def _class(self, node: ast.ClassDef, at: ast.expr) -> Schema:
        if self._derives(node, _ENUMS):
            return self._enum(node)
        if self._is_model(node):
            return self._model(node)
        raise problem(at, f"{node.name!r} is neither a model nor an enum.")

    def _derives(self, node: ast.ClassDef, known: set[str]) -> bool:
        bases = {base for owner in self._lineage(node) for base in _base_names(owner)}
        return bool((bases - self._classes.keys()) & known)

    def _is_model(self, node: ast.ClassDef) -> bool:
        if self._derives(node, _ENUMS):
            return False
        # A base that was imported may well be a model: its own fields stay unknown.
        decorators = {name_of(_function(entry)) for entry in node.decorator_list}
        return self._derives(node, _MODELS | self._foreign) or "dataclass" in decorators

    def _mentioned(self, name: str) -> set[str]:
        """The classes that a class names in its bases and annotations, also through aliases."""
        found: set[str] = set()
        node = self._classes[name]
        pending: list[ast.expr] = [*node.bases, *(entry.annotation for entry in _fields(node))]
        while pending:
            for inner in ast.walk(pending.pop()):
                match inner:
                    case ast.Constant(value=str() as text) if text.isidentifier():
                        mentioned: str | None = text
                    case ast.Constant(value=str() as text) if "[" in text or "|" in text:
                        pending.append(forward(text, inner))
                        continue
                    case ast.expr():
                        mentioned = name_of(inner)
                    case _:
                        continue
                if mentioned in self._aliases and mentioned not in found:
                    pending.append(self._aliases[mentioned])
                if mentioned is not None:
                    found.add(mentioned)
        return found & self._classes.keys()

    def _model(self, node: ast.ClassDef) -> Schema:
        if node.name not in self._definitions:
            self._definitions[node.name] = {}  # stands for it while its own fields refer to it
            self._definitions[node.name] = self._described(node)
        return {"$ref": f"#/$defs/{node.name}"}

    def _described(self, node: ast.ClassDef) -> Schema:
        described: Schema = {"title": node.name}
        if (text := ast.get_docstring(node)) is not None:
            described["description"] = text
        content = self._root_content(node)
        if content is not None:
            return {**content, **described}
        properties: dict[str, Schema] = {}
        required: dict[str, bool] = {}
        for owner in self._lineage(node):
            for entry in _fields(owner):
                name, schema, is_required = self._field(entry)
                properties[name], required[name] = schema, is_required
        described |= {"type": "object", "properties": properties}
        described["required"] = [name for name, is_required in required.items() if is_required]
        if any(_forbids_extra(owner) for owner in self._lineage(node)):
            described["additionalProperties"] = False
        return described

    def _lineage(self, node: ast.ClassDef) -> list[ast.ClassDef]:
        """The class behind all of its own bases, the most general first."""
        lineage = [node]
        for current in lineage:
            bases = [self._classes[base] for base in _base_names(current) if base in self._classes]
            lineage += [base for base in bases if base not in lineage]
        return lineage[::-1]

    def _root_content(self, node: ast.ClassDef) -> Schema | None:
        """What a RootModel holds; None for any other model."""
        for base in node.bases:
            if isinstance(base, ast.Subscript) and name_of(base.value) == "RootModel":
                return self._annotations.schema(base.slice)
        if "RootModel" in _base_names(node):
            return next((self._annotations.schema(entry.annotation) for entry in _fields(node)), {})
        return None

    def _field(self, entry: ast.AnnAssign) -> tuple[str, Schema, bool]:
        name = str(name_of(entry.target))
        schema = self._annotations.schema(entry.annotation)
        default = entry.value
        if isinstance(default, ast.Call) and name_of(default.func) == "Field":
            given = arguments(default)
            name = _alias(given) or name
            schema = with_constraints(schema, default)
            if "default_factory" in given:
                return name, schema, False
            default = given.get("default", default.args[0] if default.args else None)
        if default is None or (isinstance(default, ast.Constant) and default.value is ...):
            return name, schema, True
        return name, schema | self._default(default), False

    def _default(self, node: ast.expr) -> Schema:
        match node:
            case ast.Attribute(value=ast.Name(id=enum), attr=member) if enum in self._classes:
                return {"default": self.member(enum, member, node)}
            case _:
                is_known, value = literal(node)
                is_json = isinstance(value, str | int | float | bool | list | dict | None)
                return {"default": value} if is_known and is_json else {}

    # --- enums

    def _enum(self, node: ast.ClassDef) -> Schema:
        values = [value for _, value in self._members(node)]
        if not values:
            raise problem(node, f"the enum {node.name!r} has no members.")
        schema: Schema = {"enum": values}
        types = {type(value) for value in values}
        if len(types) == 1 and (json_type := _JSON_TYPES.get(types.pop())):
            schema["type"] = json_type
        return schema

    def _members(self, node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
        number = 0
        for statement in node.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if name[0] != "_":
                    number += 1
                    yield name, self._member_value(node, name, value, number)
                case _:
                    pass

    def _member_value(self, node: ast.ClassDef, name: str, value: ast.expr, number: int) -> Any:
        if isinstance(value, ast.Call) and name_of(value.func) == "auto":
            return name.lower() if self._derives(node, {"StrEnum"}) else number
        is_known, constant = literal(value)
        if not is_known:
            raise problem(value, f"the value of {node.name}.{name} is no constant.")
        return constant


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module with those inside conditions, and classes inside classes."""
    for statement in body:
        match statement:
            case ast.If(body=inner, orelse=other) | ast.Try(body=inner, orelse=other):
                yield from _statements([*inner, *other])
            case ast.ClassDef(body=inner):
                yield from _statements([one for one in inner if isinstance(one, ast.ClassDef)])
                yield statement
            case _:
                yield statement


def _base_names(node: ast.ClassDef) -> list[str]:
    heads = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return [name for head in heads if (name := name_of(head)) is not None]


def _function(decorator: ast.expr) -> ast.expr:
    return decorator.func if isinstance(decorator, ast.Call) else decorator


def _fields(node: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    """The annotated attributes that are data: no private ones, no class variables."""
    for statement in node.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                head = annotation.value if isinstance(annotation, ast.Subscript) else annotation
                is_data = name_of(head) not in {"ClassVar", "InitVar"}
                if is_data and not name.startswith("_") and name != "model_config":
                    yield statement
            case _:
                pass


def _alias(given: dict[str, ast.expr]) -> str | None:
    for keyword in ("validation_alias", "alias"):
        match given.get(keyword):
            case ast.Constant(value=str() as name):
                return name
            case _:
                pass
    return None


def _forbids_extra(node: ast.ClassDef) -> bool:
    """Does `model_config` or an inner `Config` say `extra="forbid"`?"""
    for statement in node.body:
        is_config = isinstance(statement, ast.ClassDef) and statement.name == "Config"
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
            is_config = any(isinstance(t, ast.Name) and t.id == "model_config" for t in targets)
        if is_config and any(_is_forbid(inner) for inner in ast.walk(statement)):
            return True
    return False


def _is_forbid(node: ast.AST) -> bool:
    match node:
        case ast.keyword(arg="extra", value=ast.Constant(value="forbid")):
            return True
        case ast.Assign(targets=[ast.Name(id="extra")], value=ast.Constant(value="forbid")):
            return True
        case ast.Dict(keys=keys, values=values):
            return any(
                isinstance(key, ast.Constant)
                and key.value == "extra"
                and literal(value)[1] == "forbid"
                for key, value in zip(keys, values, strict=True)
            )
        case _:
            return False


def _refers_to(name: str, schema: Any) -> bool:
    if isinstance(schema, dict):
        return schema.get("$ref") == f"#/$defs/{name}" or any(
            _refers_to(name, part) for part in schema.values()
        )
    return isinstance(schema, list) and any(_refers_to(name, part) for part in schema)
