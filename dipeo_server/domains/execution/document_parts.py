"""Parts of documents: values at dotted keys, and lines by their numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dipeo_server.domains.diagram.nearest import did_you_mean
from dipeo_server.errors import NodeError

KEY_PARTS_MAX: Final = 32
RANGES_MAX: Final = 1_000

_RANGE: Final = re.compile(r"(\d{1,9})?\s*(:)?\s*(\d{1,9})?")


class PartMissing(NodeError):
    """A document has nothing at a key, or nothing can be put there."""

    code = "KEY_NOT_FOUND"


def key_paths(written: str | Sequence[str] | None) -> tuple[str, ...]:
    """The dotted keys in a list, or in a text with commas between them."""
    parts = written.split(",") if isinstance(written, str) else written or ()
    return tuple(part.strip() for part in parts if part.strip())


def value_at(document: Any, path: str) -> Any:
    """What lies at a dotted key: keys of maps (a key with dots in it too), indexes of lists.

    Raises PartMissing.
    """
    found, rest = document, path
    for _ in range(KEY_PARTS_MAX):
        if isinstance(found, Mapping) and rest in found:
            return found[rest]
        part, dot, rest = rest.partition(".")
        found = _entered(found, part, path)
        if not dot:
            return found
    raise PartMissing(f"The key {path[:80]!r} has more than {KEY_PARTS_MAX} parts.")


def _entered(value: Any, part: str, path: str) -> Any:
    if isinstance(value, Mapping) and part in value:
        return value[part]
    if isinstance(value, list):
        index = _index(part, value)
        if index is not None:
            return value[index]
        raise PartMissing(f"{path!r}: a list of {len(value)} has no item {part!r}.")
    if not isinstance(value, Mapping):
        raise PartMissing(f"{path!r}: there is no map in which {part!r} could be.")
    raise PartMissing(f"{path!r}: there is no {part!r}.", hint=did_you_mean(part, map(str, value)))


def _index(part: str, items: Sequence[Any]) -> int | None:
    if not re.fullmatch(r"-?\d{1,9}", part):
        return None
    index = int(part)
    return index if -len(items) <= index < len(items) else None


def with_value_at(document: Any, path: str, value: Any) -> Any:
    """A copy of the document with another value at a dotted key; maps on the way are made.

    Raises PartMissing where something else than a map or a list is in the way.
    """
    if path.count(".") >= KEY_PARTS_MAX:
        raise PartMissing(f"The key {path[:80]!r} has more than {KEY_PARTS_MAX} parts.")
    part, dot, rest = path.partition(".")
    if document is None or isinstance(document, Mapping):
        entries = dict(document or {})
        if not dot or path in entries:
            return {**entries, path: value}
        return {**entries, part: with_value_at(entries.get(part), rest, value)}
    index = _index(part, document) if isinstance(document, list) else None
    if index is None:
        kind = "a list without such an item" if isinstance(document, list) else "no map"
        raise PartMissing(f"{path!r} cannot be set: what is there is {kind}.")
    changed = list(document)
    changed[index] = with_value_at(changed[index], rest, value) if dot else value
    return changed


LineRange = tuple[int, int | None]
"""First and last line, both from 1 and included; None = to the end."""


def line_ranges(written: str | int | Sequence[str | int]) -> tuple[LineRange, ...]:
    """The ranges in `5`, `10:20`, `:3`, `7:`, several with commas or as a list.

    Raises ValueError.
    """
    items = [written] if isinstance(written, str | int) else written
    texts = [text.strip() for item in items for text in str(item).split(",")]
    if len(texts) > RANGES_MAX:
        raise ValueError(f"more than {RANGES_MAX} ranges of lines")
    return tuple(_line_range(text) for text in texts)


def _line_range(text: str) -> LineRange:
    match = _RANGE.fullmatch(text)
    if match is None or match[0] == "" or (match[2] is None and match[3] is not None):
        raise ValueError(f"{text!r} is no range of lines such as 1:120, 5 or 10:")
    first = int(match[1] or 1)
    last = first if match[2] is None else (int(match[3]) if match[3] else None)
    if first < 1 or (last is not None and last < first):
        raise ValueError(f"{text!r} is no range of lines: they count from 1 upwards")
    return first, last


def select_lines(text: str, ranges: Sequence[LineRange]) -> str:
    """The lines in any of the ranges, each once, in the order of the text."""
    lines = text.removesuffix("\n").split("\n")
    chosen: set[int] = set()
    for first, last in ranges:
        chosen.update(range(first - 1, min(last or len(lines), len(lines))))
    return "\n".join(lines[number] for number in sorted(chosen))
