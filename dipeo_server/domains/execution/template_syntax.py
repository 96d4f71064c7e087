"""The syntax of text templates: from text to parts, of which some ask for values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from dipeo_server.errors import NodeError

TEMPLATE_CHARACTERS_MAX = 1_048_576
BLOCK_DEPTH_MAX = 32


class TemplateError(NodeError):
    """A template is malformed, asks for an unknown key in strict mode, or renders too much."""

    code = "TEMPLATE_ERROR"


def is_true(value: object) -> bool:
    """How #if reads a value: null, 0, empty ones, and the texts false, 0, no, none are false."""
    if isinstance(value, str):
        return len(value) > 5 or value.lower() not in {"", "false", "0", "no", "none"}
    return bool(value)


@dataclass(frozen=True, slots=True)
class ValuePath:
    """A way into the context: `steps` are keys, positions, slices, and paths to either."""

    text: str
    scopes_up: int
    steps: tuple[str | int | slice | ValuePath, ...]


@dataclass(frozen=True, slots=True)
class Tag:
    """Text between braces that asks for a value; `path` is None where it cannot be read as one."""

    written: str
    text: str
    path: ValuePath | None
    place: str


@dataclass(slots=True)
class Block:
    """A block and its two bodies; `kind` is if, unless or each, `place` says where it opens."""

    kind: str
    path: ValuePath
    place: str
    is_chained: bool = False
    has_else: bool = False
    body: list[Part] = field(default_factory=list)
    otherwise: list[Part] = field(default_factory=list)

    @property
    def open_part(self) -> list[Part]:
        """The body that is being read."""
        return self.otherwise if self.has_else else self.body


Part = str | Tag | Block

VALUE_TAG = re.compile(r"\{\{([^{}]*)\}\}")
PATH_TAG = re.compile(r"\{\{([^{}]*)\}\}|\{([^{}]*)\}")
_BLOCK_TAG = re.compile(r"(?P<mark>[#/])\s*(?P<kind>\w*)\s*(?P<argument>.*)", re.DOTALL)
_ELSE_TAG = re.compile(r"else(?:\s+if\s+(?P<argument>.*))?", re.DOTALL)
_UP = re.compile(r"(?:\.\./)+")
_NAME = re.compile(r"[^.\[\]\"'{}]+")
_STEP = re.compile(r"\.(?P<key>[^.\[\]\"'{}]+)|\[(?P<inside>[^\[\]]+)\]")
_POSITION = re.compile(r"-?[0-9]{1,9}")
_SLICE = re.compile(r"(-?[0-9]{1,9})?\s*:\s*(-?[0-9]{1,9})?")


def split(template: str, pattern: re.Pattern[str]) -> list[Part]:
    """The template as text and tags, without regard to blocks. Raises TemplateError (too long)."""
    if len(template) > TEMPLATE_CHARACTERS_MAX:
        raise TemplateError(f"The template has more than {TEMPLATE_CHARACTERS_MAX} characters")
    parts: list[Part] = []
    end, line, line_start, counted = 0, 1, 0, 0
    for match in pattern.finditer(template):
        text = next(group for group in match.groups() if group is not None).strip()
        if not text:
            continue
        start = match.start()
        line += template.count("\n", counted, start)
        line_start = max(line_start, template.rfind("\n", counted, start) + 1)
        counted = start
        place = f"line {line}, column {start - line_start + 1}"
        parts += [template[end:start], Tag(match.group(), text, _parse_path(text), place)]
        end = match.end()
    parts.append(template[end:])
    return parts


def _parse_path(text: str) -> ValuePath | None:
    up = _UP.match(text)
    scopes_up = len(up.group()) // 3 if up else 0
    first = _NAME.match(text, 3 * scopes_up)
    if first is None:
        return None
    steps: list[str | int | slice | ValuePath] = [first.group().strip()]
    end = first.end()
    while end < len(text):
        match = _STEP.match(text, end)
        step = match and (match["key"].strip() if match["key"] else _parse_inside(match["inside"]))
        if match is None or step is None:
            return None
        steps.append(step)
        end = match.end()
    return ValuePath(text, scopes_up, tuple(steps))


def _parse_inside(written: str) -> str | int | slice | ValuePath | None:
    text = written.strip()
    if _POSITION.fullmatch(text):
        return int(text)
    if bounds := _SLICE.fullmatch(text):
        return slice(*(int(bound) if bound else None for bound in bounds.groups()))
    if len(text) > 1 and text[0] in "\"'" and text[-1] == text[0]:
        return text[1:-1]
    return _parse_path(text)


def parse(template: str) -> list[Part]:
    """The template as text, tags and nested blocks. Raises TemplateError (with the place)."""
    root: list[Part] = []
    open_blocks: list[Block] = []
    for part in split(template, VALUE_TAG):
        target = open_blocks[-1].open_part if open_blocks else root
        if isinstance(part, Tag) and (match := _BLOCK_TAG.fullmatch(part.text)):
            if match["mark"] == "#":
                target.append(_open(open_blocks, match["kind"], match["argument"], part.place))
            else:
                _close(open_blocks, match["kind"], part.place)
        elif isinstance(part, Tag) and (match := _ELSE_TAG.fullmatch(part.text)):
            _turn(open_blocks, match["argument"], part.place)
        else:
            target.append(part)
    if open_blocks:
        block = open_blocks[-1]
        raise TemplateError(
            f"{{{{#{block.kind} {block.path.text}}}}} ({block.place}) is not closed"
        )
    return root


def _open(open_blocks: list[Block], kind: str, argument: str, place: str) -> Block:
    if kind not in {"if", "unless", "each"}:
        raise TemplateError(
            f"Unknown block {{{{#{kind}}}}} ({place})", hint="There are #if, #unless and #each."
        )
    path = _parse_path(argument)
    if path is None or re.search(r"[<>=!&|()*+]", argument):
        raise TemplateError(
            f"{{{{#{kind} {argument}}}}} ({place}) needs the path of a value, and nothing else",
            hint="Compute conditions in a condition or transform node.",
        )
    if len(open_blocks) >= BLOCK_DEPTH_MAX:
        raise TemplateError(f"Blocks are nested more than {BLOCK_DEPTH_MAX} deep ({place})")
    block = Block(kind, path, place)
    open_blocks.append(block)
    return block


def _turn(open_blocks: list[Block], argument: str | None, place: str) -> None:
    if not open_blocks or open_blocks[-1].has_else:
        raise TemplateError(f"{{{{else}}}} ({place}) belongs to no block")
    block = open_blocks[-1]
    block.has_else = True
    if argument is not None:
        chained = _open(open_blocks, "if", argument, place)
        chained.is_chained = True
        block.otherwise.append(chained)


def _close(open_blocks: list[Block], kind: str, place: str) -> None:
    while open_blocks and open_blocks[-1].is_chained:
        open_blocks.pop()
    if not open_blocks:
        raise TemplateError(f"{{{{/{kind}}}}} ({place}) closes no block")
    block = open_blocks.pop()
    if block.kind != kind:
        raise TemplateError(
            f"{{{{/{kind}}}}} ({place}) stands where {{{{/{block.kind}}}}} is due: "
            f"{{{{#{block.kind} {block.path.text}}}}} ({block.place}) is still open"
        )
