"""Let a value pass only if it fits a JSON schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from pydantic import AliasChoices, Field, model_validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from dipeo_server.domains.diagram import AfterCrash, DomainNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.documents import DocumentError, format_of, parse
from dipeo_server.domains.execution.handlers import (
    NodeOutput,
    NodeProps,
    create_node_output,
    node_handler,
)
from dipeo_server.domains.execution.inputs import passed_on
from dipeo_server.domains.execution.prompts import rendered_path
from dipeo_server.errors import NodeError

ERRORS_TOLD_MAX: Final = 50

_ERROR_CHARACTERS: Final = 300
# Where a schema holds schemas: in a map by name, in a list, or as they are.
_BY_NAME: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_NESTED: Final = ("items", "contains", "additionalItems", "then", "else")


class SchemaMismatch(NodeError):
    """The value does not fit the schema."""

    code = "SCHEMA_MISMATCH"


class SchemaInvalid(NodeError):
    """The schema is none, or refers to something that is not in it."""

    code = "SCHEMA_INVALID"


class JsonSchemaValidatorProps(NodeProps):
    """The schema, and what is held against it."""

    json_schema: Mapping[str, Any] | bool | None = Field(
        None,
        validation_alias=AliasChoices("json_schema", "schema"),
        description="The JSON schema; beats the file.",
    )
    schema_path: str | None = Field(None, description="File with it, JSON or YAML; a template.")
    data_path: str | None = Field(
        None, description="File with the value, JSON or YAML; a template. Default: the input."
    )
    strict_mode: bool = Field(
        default=False,
        validation_alias=AliasChoices("strict_mode", "strict"),
        description="Tell all that does not fit, not the first thing only.",
    )
    error_on_extra: bool = Field(
        default=False, description="Objects may have no properties that the schema does not name."
    )

    @model_validator(mode="after")
    def _has_schema(self) -> JsonSchemaValidatorProps:
        if self.json_schema is None and not self.schema_path:
            raise ValueError("it needs json_schema or schema_path")
        return self


@node_handler(
    "json_schema_validator",
    props=JsonSchemaValidatorProps,
    category="data",
    after_crash=AfterCrash.RERUN,
)
async def json_schema_validator(
    node: DomainNode[JsonSchemaValidatorProps], ctx: ExecutionContext
) -> NodeOutput:
    """Pass the value on if it fits the schema, else fail with SCHEMA_MISMATCH.

    JSON text is parsed first; several inputs are one object by input name.
    """
    props = node.props
    schema = await _schema(props, ctx)
    validator = _validator(_closed(schema) if props.error_on_extra else schema, node.key)
    value = await _value(props, ctx)
    try:
        errors = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.path)))
    except (Unresolvable, RecursionError, re.error) as error:
        message = f"{node.key!r}: the schema cannot be applied: {type(error).__name__}: {error}"
        raise SchemaInvalid(message) from None
    if errors:
        told = islice(map(_told, errors), ERRORS_TOLD_MAX if props.strict_mode else 1)
        raise SchemaMismatch("; ".join(told))
    paths = {"schema_path": props.schema_path, "data_path": props.data_path}
    return create_node_output({"default": value}, {k: v for k, v in paths.items() if v})


async def _schema(props: JsonSchemaValidatorProps, ctx: ExecutionContext) -> Any:
    if props.json_schema is not None:
        return props.json_schema
    return await _document(props.schema_path or "", ctx)


async def _document(path_template: str, ctx: ExecutionContext) -> Any:
    path = rendered_path(path_template, ctx)
    named = format_of(path)
    return parse(await ctx.files.read_text(path), "yaml" if named == "yaml" else "json", name=path)


async def _value(props: JsonSchemaValidatorProps, ctx: ExecutionContext) -> Any:
    if props.data_path:
        return await _document(props.data_path, ctx)
    if not ctx.inputs:
        message = f"{ctx.node.key!r} has no input to validate."
        raise SchemaMismatch(message, hint="Connect a node that gives one, or set `data_path`.")
    return passed_on({name: _parsed(value) for name, value in ctx.inputs.items()})


def _parsed(value: Any) -> Any:
    """Of text the map or list in it, if it is JSON."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return parse(value, "json", name="the input")
    except DocumentError:
        return value


def _validator(schema: Any, key: str) -> Validator:
    try:
        made = validator_for(schema, default=Draft202012Validator)
        made.check_schema(schema)
    except SchemaError as error:
        place = _place(error) or "its root"
        raise SchemaInvalid(f"{key!r}: the schema is invalid at {place}: {error.message}") from None
    except (RecursionError, TypeError) as error:
        raise SchemaInvalid(f"{key!r}: the schema is none: {error}") from None
    # An empty registry: a reference to somewhere else must not make this process fetch it.
    return made(schema, registry=Registry())


def _told(error: ValidationError) -> str:
    return f"{_place(error) or 'root'}: {error.message[:_ERROR_CHARACTERS]}"


def _place(error: SchemaError | ValidationError) -> str:
    return ".".join(str(step) for step in error.absolute_path)


def _closed(schema: Any) -> Any:
    """The schema with `additionalProperties: false` in every schema of an object without it."""
    if not isinstance(schema, Mapping):
        return schema
    closed = {**schema, **dict(_inner(schema))}
    is_object = schema.get("type") == "object" or "properties" in schema
    if is_object and "additionalProperties" not in schema:
        closed["additionalProperties"] = False
    return closed


def _inner(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in schema.items():
        if name in _BY_NAME and isinstance(value, Mapping):
            yield name, {key: _closed(item) for key, item in value.items()}
        elif name in _LISTED and isinstance(value, list | tuple):
            yield name, [_closed(item) for item in value]
        elif name in _NESTED:
            is_list = isinstance(value, list | tuple)
            yield name, [_closed(item) for item in value] if is_list else _closed(value)
