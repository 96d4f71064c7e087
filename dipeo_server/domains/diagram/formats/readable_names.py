"""Names of nodes in a readable document: `Label [type] @(x,y)`, of which only the label must be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dipeo_server.domains.diagram.formats.json_values import NUMBER_CHARACTERS_MAX
from dipeo_server.domains.diagram.formats.positions import ORIGIN, written_number

_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Name:
    """What a name tells; `type` and `position` are None where it does not."""

    label: str
    type: str | None = None
    position: tuple[float, float] | None = None


def parse_name(text: str, is_type: Callable[[str], bool]) -> Name:
    """What the text tells; brackets of which `is_type` says no belong to the label."""
    rest, position = _split_position(text)
    label, word = split_bracket(rest)
    if word is None or not is_type(word):
        return Name(rest, None, position)
    return Name(label, word, position)


def split_bracket(text: str) -> tuple[str, str | None]:
    """`Label [word]` as its two parts; None if nothing stands in brackets at the end."""
    stripped = text.rstrip()
    if not stripped.endswith("]"):
        return text, None
    label, bracket, word = stripped[:-1].rpartition("[")
    label, word = label.rstrip(), word.strip()
    return (label, word) if bracket and label and word else (text, None)


def written_name(label: str, position: tuple[float, float] | None) -> str:
    """The name of a node with that label and position; the origin goes without saying."""
    is_misread = _split_position(label)[1] is not None
    x, y = position or ORIGIN
    if (x, y) == ORIGIN and not is_misread:
        return label
    return f"{label} @({written_number(x)},{written_number(y)})"


def _split_position(text: str) -> tuple[str, tuple[float, float] | None]:
    stripped = text.rstrip()
    if not stripped.endswith(")"):
        return text, None
    label, mark, inner = stripped[:-1].rpartition("@(")
    parts = inner.split(",", 2)
    numbers = [number for part in parts if (number := _number(part.strip())) is not None]
    label = label.rstrip()
    if not mark or len(parts) != 2 or len(numbers) != 2:
        return text, None
    return label, (numbers[0], numbers[1])


def _number(text: str) -> float | None:
    if len(text) > NUMBER_CHARACTERS_MAX or not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
