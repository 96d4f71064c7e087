"""Text as it may stand in a picture: without control characters, wrapped and cut to size."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

ELLIPSIS: Final = "…"
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_SYMBOL_FOR_NULL: Final = 0x2400
_SYMBOL_FOR_DELETE: Final = 0x2421

_LINE_ENDS: Final = re.compile("\r\n|[\n\r\v\f\x85\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}]")
# What no XML document may hold, and what changes the direction of the text behind it.
_FORBIDDEN: Final = re.compile("[\x80-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef]")
_CONTROLS: Final = {
    **{code: _SYMBOL_FOR_NULL + code for code in range(32)},
    ord("\t"): ord(" "),
    0x7F: _SYMBOL_FOR_DELETE,
}


def clean_lines(text: str) -> list[str]:
    """The lines of a text, with visible signs in place of control characters."""
    return [_clean(line) for line in _LINE_ENDS.split(text)]


def wrapped(text: str, width: int, lines_max: int) -> list[str]:
    """At most `lines_max` lines of at most `width` characters; what is cut off ends in `…`."""
    # A margin for spaces that wrapping swallows; nobody needs the rest to be read.
    head = text[: 2 * width * lines_max]
    lines = [piece for line in clean_lines(head) for piece in _pieces(line, width)]
    if len(lines) <= lines_max and len(head) == len(text):
        return lines
    kept = lines[:lines_max]
    kept[-1] = kept[-1][: width - 1].rstrip() + ELLIPSIS
    return kept


def cut(text: str, characters_max: int) -> str:
    """The text on one line, cut to its size."""
    head = " ".join(part for part in clean_lines(text[: characters_max + 1]) if part)
    if len(text) <= characters_max:
        return head
    return head[: characters_max - 1].rstrip() + ELLIPSIS


def joined(parts: Iterable[str], separator: str = ", ") -> str:
    """The parts that are not empty."""
    return separator.join(part for part in parts if part)


def _pieces(line: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(line, width, break_on_hyphens=False) or [""]


def _clean(line: str) -> str:
    visible = _FORBIDDEN.sub(REPLACEMENT, line.translate(_CONTROLS))
    if visible.isascii():
        return visible
    # The last two code points of every plane are no characters.
    return "".join(REPLACEMENT if ord(sign) & 0xFFFE == 0xFFFE else sign for sign in visible)
