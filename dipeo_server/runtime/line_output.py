"""Cut what a process prints into bounded lines, as a person would see them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from dipeo_server.domains.execution.ports import LineSink

LINE_BYTES_MAX: Final = 64 * 1024
LINES_MAX: Final = 100_000
OUTPUT_BYTES_MAX: Final = 16 * 1024 * 1024
_CUT: Final = "… truncated"
_BEYOND_BYTES: Final = 4 * 1024
"""Kept of a longer line, so that nothing that begins before the cut is judged by a part of it."""
_COLOURS: Final = re.compile(rb"(\x1b\[[0-9;:]*m)")
_TERMINAL_CODES: Final = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]"
    rb"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"
    rb"|[ -/]+[0-~]"
    rb"|[0-Z\\`-~])"
)
_CONTROLS: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_CONTROLS_BUT_ESCAPE: Final = re.compile("[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f]")

Clean = Callable[[str], str]
"""Takes secrets out of a text."""


class LineOutput:
    """Feeds whole lines to `sink`, tagged with their stream, in the order in which they arrive.

    A line is what is left on the screen: a carriage return begins it anew, terminal codes (titles,
    movements, and colours unless `with_colours`) and control characters are left out. A longer line
    is cut; all streams together are cut off behind the last line that fits, with one line that says
    so. `clean` is applied to every line before it is cut.
    """

    def __init__(
        self,
        sink: LineSink,
        *,
        clean: Clean = str,
        with_colours: bool = False,
        lines_max: int = LINES_MAX,
        bytes_max: int = OUTPUT_BYTES_MAX,
    ) -> None:
        self._sink = sink
        self._clean = clean
        self._with_colours = with_colours
        self._lines_left = lines_max
        self._bytes_left = bytes_max
        self._is_full = False
        self._begun: dict[str, bytes] = {}

    def feed(self, stream: str, data: bytes) -> int:
        """Take what a stream printed; gives how many lines were kept of it."""
        if self._is_full:
            return 0
        *lines, begun = (self._begun.pop(stream, b"") + data).split(b"\n")
        for line in lines:
            self._put(stream, line)
        if b"\r" in begun and len(begun) > _BEYOND_BYTES:
            begun = _overwritten(begun)  # A progress bar goes on for as long as it likes.
        self._begun[stream] = begun[: LINE_BYTES_MAX + _BEYOND_BYTES + 1]
        return len(lines)

    def finish(self) -> None:
        """Give out the last lines, which did not end."""
        for stream, line in self._begun.items():
            if line:
                self._put(stream, line)
        self._begun.clear()

    def _put(self, stream: str, line: bytes) -> None:
        if self._is_full:
            return
        self._lines_left -= 1
        self._bytes_left -= len(line)
        if self._lines_left < 0 or self._bytes_left < 0:
            self._is_full = True
            self._sink(stream, "output truncated: the node printed more than is kept")
            return
        self._sink(stream, self._text(line))

    def _text(self, line: bytes) -> str:
        plain = _seen(line)
        text = self._clean(plain)
        if self._with_colours and text == plain:
            text = _seen(line, with_colours=True)
        if len(line) <= LINE_BYTES_MAX:
            return text
        encoded = text.encode()
        if len(encoded) <= LINE_BYTES_MAX and len(line) <= LINE_BYTES_MAX + _BEYOND_BYTES:
            return text
        return encoded[: LINE_BYTES_MAX - len(_CUT.encode())].decode(errors="ignore") + _CUT


def seen(output: bytes) -> str:
    """All lines of an output as a person would see them, without spaces around."""
    return "\n".join(_seen(line) for line in output.split(b"\n")).strip()


def _seen(line: bytes, *, with_colours: bool = False) -> str:
    line = line.rstrip(b"\r")
    if b"\r" in line:
        line = _overwritten(line)
    if b"\x1b" not in line:
        return _CONTROLS.sub("", line.decode(errors="replace"))
    if not with_colours:
        line = _TERMINAL_CODES.sub(b"", line)
        return _CONTROLS.sub("", line.decode(errors="replace"))
    text = ""
    for part in _COLOURS.split(line):  # Every other part is a colour.
        is_colour = part.startswith(b"\x1b") and _COLOURS.fullmatch(part) is not None
        shown = part if is_colour else _TERMINAL_CODES.sub(b"", part).replace(b"\x1b", b"")
        text += shown.decode(errors="replace")
    return _CONTROLS_BUT_ESCAPE.sub("", text)


def _overwritten(line: bytes) -> bytes:
    """What is left of a line whose beginning was written anew at every carriage return."""
    left = b""
    for part in line.split(b"\r"):
        # Terminal codes may erase the rest; without them what is longer shows behind.
        left = part if b"\x1b" in part or len(part) >= len(left) else part + left[len(part) :]
    return left
