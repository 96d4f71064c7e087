"""The reference of node types as Markdown, written from what is registered."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.spec import NodeSpec

_INTRODUCTION: Final = """\
# Node types

What every type of node does, and the props it has. Written by `make docs` from the code; change it
there. In light files props stand beside `label`, `type` and `position`, or below `props:`.

A *handle* is where an edge begins or ends: `from: check[condtrue]`, `to: writer[first]`; without a
handle it is `default`. *After a crash* tells what becomes of a visit that was running when the
server died: `rerun` runs it again, `ask` asks a person first, `fail` fails it.
"""

_SETTINGS: Final = """\
## Settings of every node

Any node may have these besides its own props; times are in seconds.

| setting | type | default | meaning |
|---|---|---|---|
| `join` | `all` `any` `first` `k_of_n` | `all` | How many incoming edges must have brought \
something: all, the first with whatever else is there, only the first, or `k`. |
| `k` | whole number | `1` | For `join: k_of_n`. |
| `fan_out` | `all` `first` | `all` | Every outgoing edge that holds, or only the first one. |
| `retry` | map | one attempt | `attempts`, `backoff` (`constant`, `exponential`), \
`initial_seconds`, `max_seconds`, `jitter` (0 to 1), `retry_on` (error codes). |
| `timeout` | number | none | Of one attempt; then the node fails with TIMEOUT. |
| `on_error` | map | `policy: fail` | `policy` is `fail`, `fallback`, `error_port`, \
`default_output` (with `output`) or `continue`; `match` lists the error codes it is for. |
| `after_crash` | `rerun` `ask` `fail` | of its type | See the top of this page. |
| `max_iteration` | whole number | `100` | How often it runs in all; reached again, it gives its \
last output once more without running. |
| `loop_header` | true or false | `false` | The turns of its loop begin here. |
| `may_end` | true or false | `false` | Its handler may end the whole run, as endpoints may. |
| `skippable` | true or false | `false` | Kept from older files; without effect. |
"""


def pages(specs: Iterable[NodeSpec]) -> str:
    """All types, in groups by category."""
    ordered = sorted(specs, key=lambda spec: (spec.category, spec.type))
    parts = [
        _INTRODUCTION,
        "\n".join(_contents(ordered)),
        *("\n".join(_page(spec)) for spec in ordered),
        _SETTINGS,
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _contents(specs: list[NodeSpec]) -> Iterator[str]:
    yield "| group | types |"
    yield "|---|---|"
    for category in dict.fromkeys(spec.category for spec in specs):
        names = (f"[{spec.type}](#{spec.type})" for spec in specs if spec.category == category)
        yield f"| {category} | {', '.join(names)} |"


def _page(spec: NodeSpec) -> Iterator[str]:
    yield f"## {spec.type}\n"
    yield f"{_prose(inspect.cleandoc(spec.description))}\n"
    yield f"- inputs: {_names(spec.ports.inputs)}"
    yield f"- outputs: {_names(spec.ports.outputs)}"
    yield f"- after a crash: {spec.after_crash.value}\n"
    yield from _table(spec.props.model_json_schema())


def _prose(text: str) -> str:
    """Markdown would take `<name>` for a tag, but for between backticks."""
    parts = text.split("`")
    return "`".join(
        part if index % 2 else part.replace("<", "\\<") for index, part in enumerate(parts)
    )


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _table(schema: Mapping[str, Any]) -> Iterator[str]:
    properties = schema.get("properties", {})
    if not properties:
        yield "It has no props of its own."
        return
    required = set(schema.get("required", ()))
    yield "| prop | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in properties.items():
        default = "required" if name in required else _default(field)
        meaning = _prose(field.get("description", ""))
        cells = [f"`{name}`", _type(field, schema), default, meaning]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(field: Mapping[str, Any]) -> str:
    if field.get("default") is None:
        return ""
    return f"`{json.dumps(field['default'], ensure_ascii=False)}`"


def _type(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    match field:
        case {"$ref": str(reference)}:
            return _type(schema["$defs"][reference.rpartition("/")[2]], schema)
        case {"anyOf": list(options)}:
            shown = (_type(option, schema) for option in options if option != {"type": "null"})
            return " or ".join(dict.fromkeys(shown))
        case {"enum": list(values)}:
            return " ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"type": "object", "properties": dict(properties)}:
            return f"map of {', '.join(properties)}"
        case {"type": "array", "items": dict(items)} if items:
            return f"list of {_type(items, schema)}"
        case {"type": str(type_)}:
            return _WORDS.get(type_, type_)
        case _:
            return "any value"


_WORDS: Final = {
    "array": "list",
    "boolean": "true or false",
    "integer": "whole number",
    "object": "map",
    "string": "text",
}
