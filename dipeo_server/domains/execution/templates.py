"""Text templates of prompts, paths and URLs: paths into JSON values, and blocks, nothing more.

Values are put in once and never read as templates themselves, so data that holds `{{…}}` stays
data. Time, depth and size of a rendering are bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dipeo_server.domains.execution.operations import kind, nearest
from dipeo_server.domains.execution.template_syntax import (
    PATH_TAG,
    Block,
    Part,
    Tag,
    TemplateError,
    ValuePath,
    is_true,
    parse,
    split,
)

__all__ = ["Rendered", "TemplateError", "build_context", "render", "render_path"]

OUTPUT_BYTES_MAX = 1_048_576
ITERATIONS_MAX = 10_000
STEPS_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered text, and the keys it asked for in vain, each once, in order."""

    text: str
    missing: tuple[str, ...]


def render(
    template: str,
    context: Mapping[str, Any],
    *,
    strict: bool = False,
    size_max: int = OUTPUT_BYTES_MAX,
) -> Rendered:
    """Fill in a template; `context` holds plain JSON values, `size_max` is in bytes of UTF-8.

    `{{a.b[0].c}}`, `{{a[name]}}`, `{{a["key"]}}`, `{{a[1:3]}}` insert a value: texts as they are,
    everything else as JSON (so `true`, `false`, `null`), objects and lists indented by two.
    `{{#if x}}…{{else if y}}…{{else}}…{{/if}}` and `{{#unless x}}` choose; false are null, 0, empty
    containers, and the texts "", false, 0, no and none. `{{#each x}}…{{else}}…{{/each}}` repeats
    over a list or the values of an object, with `this`, `@index`, `@key`, `@first`, `@last`;
    `../` reaches the scope around a loop.

    An unknown key stays as it is written and is listed in `missing`; with `strict` it raises
    TemplateError, as do unbalanced blocks and exceeded limits. Conditions may name the unknown.
    """
    parts = parse(template)
    renderer = _Renderer([context], strict=strict, size_max=size_max)
    renderer.render(parts)
    return renderer.rendered()


def render_path(template: str, context: Mapping[str, Any]) -> Rendered:
    """Fill in a file name, in which `{x}` and `{{x}}` both insert a value; there are no blocks.

    An unknown key stays as it is written and is listed in `missing`. Raises TemplateError for a
    value that cannot be a part of a path: null, a list, an object.
    """
    renderer = _Renderer([context], strict=False, size_max=OUTPUT_BYTES_MAX)
    renderer.render(split(template, PATH_TAG), as_path=True)
    return renderer.rendered()


def build_context(
    inputs: Mapping[str, Any],
    variables: Mapping[str, Any],
    local: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the names in a node's templates and conditions mean.

    `inputs`, `globals` and `local` are there as they are, and merged at the root: variables win
    over inputs of the same name, local values win over all. An object on the input `default` or
    `first` lends its keys to the root (and `{default: x}` there means x); a conversation k, an
    object with a list of `messages`, adds `k_messages` and `k_last_message`.
    """
    named = {
        name: _unwrapped(value) if name in _SPREAD else value for name, value in inputs.items()
    }
    root: dict[str, Any] = {}
    for name in _SPREAD:
        value = named.get(name)
        if isinstance(value, dict):
            root |= _conversation(value, prefix="") | value
    for name, value in named.items():
        root |= _conversation(value, prefix=f"{name}_")
    # A variable called `default` or `first` may not hide the input that every node has.
    seen = {
        key: value for key, value in variables.items() if key not in _SPREAD or key not in named
    }
    root |= named | seen | dict(local or {})
    return root | {"inputs": named, "globals": dict(variables), "local": dict(local or {})}


_SPREAD = ("first", "default")


def _unwrapped(value: Any) -> Any:
    while isinstance(value, dict) and value.keys() == {"default"}:
        value = value["default"]
    return value


def _conversation(value: Any, *, prefix: str) -> dict[str, Any]:
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list):
        return {}
    last = messages[-1] if messages else ""
    if isinstance(last, dict):
        last = last.get("content", "")
    return {
        f"{prefix}messages": messages,
        f"{prefix}last_message": value.get("last_message", last),
    }


# ------------------------------------------------------------------------------ rendering

_JSON = json.JSONEncoder(indent=2, ensure_ascii=False, allow_nan=False)


class _UnknownKey(Exception):
    """A path leads nowhere; the message says where it ends."""


class _Renderer:
    """One rendering: what was written so far, and what may still be spent."""

    def __init__(self, scopes: list[Mapping[str, Any]], *, strict: bool, size_max: int) -> None:
        self._scopes = scopes
        self._strict = strict
        self._size_max = size_max
        self._written: list[str] = []
        self._missing: dict[str, None] = {}
        self._size = 0
        self._steps = 0
        self._iterations = 0

    def rendered(self) -> Rendered:
        return Rendered("".join(self._written), tuple(self._missing))

    def render(self, parts: Sequence[Part], *, as_path: bool = False) -> None:
        for part in parts:
            self._spend(1)
            if isinstance(part, str):
                self._write(part)
            elif isinstance(part, Tag):
                self._render_tag(part, as_path=as_path)
            else:
                self._render_block(part)

    def _write(self, text: str) -> None:
        is_small = len(text) <= self._size_max
        size = len(text) if text.isascii() or not is_small else len(text.encode(errors="replace"))
        self._size += size
        if self._size > self._size_max:
            raise TemplateError(f"The template renders more than {self._size_max} bytes")
        self._written.append(text)

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > STEPS_MAX:
            raise TemplateError(f"The template takes more than {STEPS_MAX} steps to render")

    def _miss(self, text: str, unknown: _UnknownKey) -> None:
        if self._strict:
            raise TemplateError(f"{unknown} (in the template's {{{{{text}}}}})")
        self._missing[text] = None

    def _render_tag(self, tag: Tag, *, as_path: bool) -> None:
        try:
            value = self._value(tag.text, tag.path)
        except _UnknownKey as unknown:
            self._miss(tag.text, unknown)
            self._write(tag.written)
            return
        if as_path and (value is None or isinstance(value, dict | list | tuple)):
            raise TemplateError(f"{tag.written} is {kind(value)}: it cannot be a part of a path")
        try:
            for chunk in _chunks(value):
                self._write(chunk)
        except (TypeError, ValueError, RecursionError) as error:
            raise TemplateError(f"{tag.written} is not plain JSON: {error}") from None

    def _render_block(self, block: Block) -> None:
        try:
            value = self._value(block.path.text, block.path)
        except _UnknownKey as unknown:
            value = None
            if block.kind == "each":
                self._miss(block.path.text, unknown)
        if block.kind == "each":
            self._repeat(block, value)
        else:
            is_chosen = is_true(value) is (block.kind == "if")
            self.render(block.body if is_chosen else block.otherwise)

    def _repeat(self, block: Block, value: Any) -> None:
        if value is not None and not isinstance(value, list | tuple | dict):
            raise TemplateError(
                f"{{{{#each {block.path.text}}}}} ({block.place}) cannot go through {kind(value)}",
                hint="It takes a list or an object.",
            )
        if not value:
            self.render(block.otherwise)
            return
        self._iterations += len(value)
        if self._iterations > ITERATIONS_MAX:
            raise TemplateError(
                f"The loops of the template go round more than {ITERATIONS_MAX} times"
            )
        entries = list(value.items() if isinstance(value, dict) else enumerate(value))
        for index, (key, item) in enumerate(entries):
            is_last = index == len(entries) - 1
            place = {"@index": index, "@key": key, "@first": index == 0, "@last": is_last}
            self._scopes.append({"this": item, **place})
            self.render(block.body)
            self._scopes.pop()

    def _value(self, text: str, path: ValuePath | None) -> Any:
        # Labels may hold dots and brackets: a key that is just what is written goes first.
        for scope in reversed(self._scopes):
            if text in scope:
                return scope[text]
        if path is None:
            raise _UnknownKey(f"{text!r} is not the path of a value")
        return self._walk(path)

    def _walk(self, path: ValuePath) -> Any:
        self._spend(len(path.steps))
        scopes = self._scopes[: max(len(self._scopes) - path.scopes_up, 0)]
        name = path.steps[0]
        scope = next((scope for scope in reversed(scopes) if name in scope), None)
        if scope is None:
            known = [key for scope in scopes for key in scope]
            raise _UnknownKey(f"Unknown key {name!r}{nearest(str(name), known)}")
        value = scope[str(name)]
        for step in path.steps[1:]:
            value = self._enter(
                value, self._walk(step) if isinstance(step, ValuePath) else step, path
            )
        return value

    def _enter(self, value: Any, step: Any, path: ValuePath) -> Any:
        is_key = type(step) in {str, int}
        if is_key and isinstance(value, dict):
            if str(step) in value:
                return value[str(step)]
            raise _UnknownKey(
                f"`{path.text}`: unknown key {str(step)!r}{nearest(str(step), value)}"
            )
        if isinstance(value, list | tuple | str):
            if isinstance(step, slice):
                self._spend(len(value[step]) // 64)
                return value[step]
            position = int(step) if is_key and _is_position(step) else len(value)
            if -len(value) <= position < len(value):
                return value[position]
        raise _UnknownKey(f"`{path.text}`: {kind(value)} has no {step!r}")


def _is_position(step: str | int) -> bool:
    return isinstance(step, int) or re.fullmatch("[0-9]{1,9}", step) is not None


def _chunks(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    else:
        yield from _JSON.iterencode(value)
