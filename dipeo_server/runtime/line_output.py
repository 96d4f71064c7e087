"""Cut what a process prints into bounded lines, as it comes."""

from __future__ import annotations

import re
from typing import Final

from dipeo_server.domains.execution.ports import LineSink

LINE_BYTES_MAX: Final = 64 * 1024
LINES_MAX: Final = 100_000
OUTPUT_BYTES_MAX: Final = 16 * 1024 * 1024
_CUT: Final = "… truncated"
_TERMINAL_CODES: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")


class LineOutput:
    """Feeds whole lines to `sink`, tagged with their stream, in the order in which they arrive.

    A longer line is cut; all streams together are cut off behind the last line that fits, with one
    line that says so. Terminal codes (colours, titles) are left out.
    """

    def __init__(
        self, sink: LineSink, *, lines_max: int = LINES_MAX, bytes_max: int = OUTPUT_BYTES_MAX
    ) -> None:
        self._sink = sink
        self._lines_left = lines_max
        self._bytes_left = bytes_max
        self._is_full = False
        self._begun: dict[str, bytes] = {}

    def feed(self, stream: str, data: bytes) -> None:
        """Take what a stream printed."""
        if self._is_full:
            return
        *lines, begun = (self._begun.pop(stream, b"") + data).split(b"\n")
        for line in lines:
            self._put(stream, line)
        # One byte more than fits is enough to know that the line is too long.
        self._begun[stream] = begun[: LINE_BYTES_MAX + 1]

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
        self._sink(stream, _text(line.removesuffix(b"\r")))


def _text(line: bytes) -> str:
    if len(line) <= LINE_BYTES_MAX:
        return _TERMINAL_CODES.sub(b"", line).decode(errors="replace")
    kept = line[: LINE_BYTES_MAX - len(_CUT.encode())]
    return _TERMINAL_CODES.sub(b"", kept).decode(errors="ignore") + _CUT
