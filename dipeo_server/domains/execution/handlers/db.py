"""Read and write files below the base directory, whole or in part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from dipeo_server.domains.diagram import AfterCrash, DomainNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.document_parts import (
    key_paths,
    line_ranges,
    select_lines,
    value_at,
    with_value_at,
)
from dipeo_server.domains.execution.documents import (
    EXTENSIONS,
    Format,
    csv_addition,
    dump,
    ended,
    format_of,
    parse,
)
from dipeo_server.domains.execution.handlers import (
    NodeOutput,
    NodeProps,
    create_node_output,
    node_handler,
)
from dipeo_server.domains.execution.inputs import first_value
from dipeo_server.domains.execution.prompts import rendered, rendered_path
from dipeo_server.errors import FileMissing, NodeError, OutputTooLarge

READ_CHARACTERS_MAX: Final = 32 * 1024 * 1024

_WRITTEN_FIRST: Final = ("generated_code", "content", "value")
_OTHER_NAMES: Final = {"txt": "text", "md": "text", "markdown": "text", "yml": "yaml"}


class DbError(NodeError):
    """A db node is asked for something that cannot be done."""

    code = "DB_ERROR"


def _known_format(written: Any) -> Any:
    name = written.strip().lower() if isinstance(written, str) else written
    return _OTHER_NAMES.get(name, name or None) if isinstance(name, str) else name


class DbProps(NodeProps):
    """Which file, and what is done with it."""

    operation: Literal["prompt", "read", "write", "append", "update"] = "read"
    sub_type: Literal["fixed_prompt", "file", "code", "api_tool"] | None = Field(
        None, description="file, or fixed_prompt for a text; code and api_tool are not available."
    )
    file: str | tuple[str, ...] | None = Field(
        None,
        validation_alias=AliasChoices("file", "source_details"),
        description="Paths below the base directory: templates with {x}, patterns with * ? [ ] **.",
    )
    format: Annotated[Format | None, BeforeValidator(_known_format)] = Field(
        None, description="Default: read gives text, everything else goes by the file's suffix."
    )
    serialize_json: bool = Field(default=False, description="Maps and lists are given as text.")
    glob: bool = Field(default=False, description="Of older files: patterns are always expanded.")
    keys: str | tuple[str, ...] | None = Field(
        None, description="Dotted keys in the document, commas between them; update needs one."
    )
    lines: str | int | tuple[str | int, ...] | None = Field(
        None, description="Lines to read, from 1: 5, 10:20, 7: or several with commas."
    )
    query: str | None = Field(None, description="The text of operation prompt; a template.")
    prompt: str | None = Field(None, description="Another name of query.")
    data: Any = Field(None, description="What is written where no input brings anything.")
    collection: str | None = Field(None, description="Of older files: without effect.")

    @model_validator(mode="after")
    def _fits_together(self) -> DbProps:
        if self.operation not in {"prompt", "read"} and not self.file:
            raise ValueError(f"operation {self.operation} needs `file`")
        if self.operation == "update" and not key_paths(self.keys):
            raise ValueError("operation update needs `keys`")
        if self.lines not in (None, "", ()):
            if self.operation != "read" or key_paths(self.keys):
                raise ValueError("`lines` goes with operation read only, and not with `keys`")
            line_ranges(self.lines or 0)
        return self

    def crash_policy(self) -> AfterCrash | None:
        """Appending twice is not harmless."""
        return AfterCrash.ASK if self.operation == "append" else None


@node_handler("db", props=DbProps, category="data", after_crash=AfterCrash.RERUN)
async def db(node: DomainNode[DbProps], ctx: ExecutionContext) -> NodeOutput:
    """Read, write, append to or update a file below the base directory.

    Read gives one file's content, or a map from path to content (null where a file is missing) for
    a list or a pattern. Written is the input `generated_code`, `content` or `value`, else the
    first that is not empty.
    """
    props = node.props
    if props.sub_type in {"code", "api_tool"}:
        hint = "Use a code_job or an api_job node."
        raise DbError(f"{node.key!r}: sub_type {props.sub_type} is not available.", hint=hint)
    match props.operation:
        case "prompt":
            return _prompt(node, ctx)
        case "read" if not props.file:
            return _prompt(node, ctx)
        case "read":
            return await _read(props, ctx)
        case "write":
            return await _write(node, ctx)
        case "append":
            return await _append(node, ctx)
        case "update":
            return await _update(node, ctx)


def _prompt(node: DomainNode[DbProps], ctx: ExecutionContext) -> NodeOutput:
    text = node.props.query or node.props.prompt
    if not text:
        message = f"{node.key!r} names neither a `file` to read nor a text as its `query`."
        raise DbError(message, hint="Set `file: path`, or operation: prompt with `query: text`.")
    return create_node_output({"default": rendered(text, ctx)})


# --- reading


async def _read(props: DbProps, ctx: ExecutionContext) -> NodeOutput:
    paths, is_many = await _paths(props, ctx)
    if not is_many:
        content = _content(await ctx.files.read_text(paths[0]), paths[0], props)
        return create_node_output({"default": content}, {"path": paths[0]})
    contents: dict[str, Any] = {}
    size = 0
    for path in paths:
        text = await _text_or_none(path, ctx)
        size += len(text or "")
        if size > READ_CHARACTERS_MAX:
            limit = f"{READ_CHARACTERS_MAX:,} characters"
            raise OutputTooLarge(f"The {len(paths)} files together have more than {limit}.")
        contents[path] = None if text is None else _content(text, path, props)
    return create_node_output({"default": contents}, {"paths": paths})


async def _paths(props: DbProps, ctx: ExecutionContext) -> tuple[list[str], bool]:
    """The files meant, and whether they may be several, however many there are."""
    written = [props.file] if isinstance(props.file, str) else list(props.file or ())
    is_many = len(written) > 1
    paths: dict[str, None] = {}
    for template in written:
        path = rendered_path(template, ctx)
        if not any(mark in path for mark in "*?[") or await ctx.files.exists(path):
            paths[path] = None
            continue
        is_many = True
        found = await ctx.files.glob(path)
        if not found:
            ctx.observe("FILE_NOT_FOUND", f"No file matches {path!r}.")
        paths.update(dict.fromkeys(found))
    return list(paths), is_many


async def _text_or_none(path: str, ctx: ExecutionContext) -> str | None:
    try:
        return await ctx.files.read_text(path)
    except FileMissing as missing:
        ctx.observe(missing.code, missing.message, hint=missing.hint)
        return None


def _content(text: str, path: str, props: DbProps) -> Any:
    if props.lines not in (None, "", ()):
        return select_lines(text, line_ranges(props.lines or 0))
    keys = key_paths(props.keys)
    if not keys:
        return _given(parse(text, props.format or "text", name=path), props)
    document = parse(text, _structured_format(path, props), name=path)
    values = {key: value_at(document, key) for key in keys}
    return _given(values[keys[0]] if len(keys) == 1 else values, props)


def _structured_format(path: str, props: DbProps) -> Format:
    """The format of a document that has parts; JSON where nothing says otherwise."""
    named = props.format or format_of(path)
    return "json" if named == "text" and props.format is None else named


def _given(value: Any, props: DbProps) -> Any:
    if props.serialize_json and isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value


# --- writing


async def _write(node: DomainNode[DbProps], ctx: ExecutionContext) -> NodeOutput:
    path, format_ = _target(node, ctx)
    text = dump(_to_write(node, ctx), format_)
    return _done(node, await ctx.files.write_text(path, text), text)


async def _append(node: DomainNode[DbProps], ctx: ExecutionContext) -> NodeOutput:
    """To JSON and YAML as an item of a list, to CSV as rows, to text as lines."""
    path, format_ = _target(node, ctx)
    value = _to_write(node, ctx)
    if format_ in {"json", "yaml"}:
        text = dump([*await _items(path, format_, ctx), value], format_)
        return _done(node, await ctx.files.write_text(path, text), text)
    if format_ == "csv":
        existing = await ctx.files.read_text(path) if await ctx.files.exists(path) else ""
        text = csv_addition(existing, value, name=path)
    else:
        text = ended(dump(value, format_))
    return _done(node, await ctx.files.write_text(path, text, append=True), text)


async def _items(path: str, format_: Format, ctx: ExecutionContext) -> list[Any]:
    if not await ctx.files.exists(path):
        return []
    found = parse(await ctx.files.read_text(path), format_, name=path)
    return found if isinstance(found, list) else [found]


async def _update(node: DomainNode[DbProps], ctx: ExecutionContext) -> NodeOutput:
    path, _ = _target(node, ctx)
    format_ = _structured_format(path, node.props)
    if format_ not in {"json", "yaml"}:
        message = f"{node.key!r}: only JSON and YAML documents have keys, not {format_}."
        raise DbError(message, hint="Set `format: json` or `format: yaml`.")
    exists = await ctx.files.exists(path)
    document = parse(await ctx.files.read_text(path), format_, name=path) if exists else {}
    value = _to_write(node, ctx)
    keys = key_paths(node.props.keys)
    for key in keys:
        document = with_value_at(document, key, value if len(keys) == 1 else _part(value, key))
    text = dump(document, format_)
    return _done(node, await ctx.files.write_text(path, text), text)


def _part(value: Any, key: str) -> Any:
    """The value for one of several keys: under the key as written, or under its last part."""
    last = key.rpartition(".")[2]
    return value_at(value, key if isinstance(value, Mapping) and key in value else last)


def _target(node: DomainNode[DbProps], ctx: ExecutionContext) -> tuple[str, Format]:
    """The one file to write and its format; an extension is added where there is none."""
    file = node.props.file
    written = [file] if isinstance(file, str) else list(file or ())
    if len(written) != 1 or "*" in written[0]:
        message = f"{node.key!r}: operation {node.props.operation} takes one file, no pattern."
        raise DbError(message, hint="Use one db node per file.")
    path = rendered_path(written[0], ctx)
    if node.props.format and "." not in path.rpartition("/")[2].lstrip("."):
        path += EXTENSIONS[node.props.format]
    return path, node.props.format or format_of(path)


def _to_write(node: DomainNode[DbProps], ctx: ExecutionContext) -> Any:
    named = (ctx.inputs[name] for name in _WRITTEN_FIRST if ctx.inputs.get(name) is not None)
    value = next(named, None)
    if value is None:
        value = first_value(ctx.inputs)
    while isinstance(value, dict) and value.keys() == {"default"}:
        value = value["default"]
    value = node.props.data if value is None else value
    if value is None:
        message = f"{node.key!r} has nothing to {node.props.operation}: no input brings a value."
        raise DbError(message, hint="Connect a node that gives one, or set `data`.")
    return value


def _done(node: DomainNode[DbProps], path: str, text: str) -> NodeOutput:
    size = len(text.encode(errors="replace"))
    # The word that DiPeO makes of `write`, which diagrams may look for.
    operation = node.props.operation
    done = "Appended" if operation == "append" else f"{operation.capitalize()}d"
    message = f"{done} to {path} ({size} bytes)"
    return create_node_output({"default": message}, {"path": path, "bytes": size})
