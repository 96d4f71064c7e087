"""What nodes print, as text: a line for each line, and what models say as it comes."""

from __future__ import annotations

from typing import Final

from dipeo_server.cli.telling import Event

TOKENS: Final = "tokens"
_UNNAMED: Final = {"stdout", TOKENS}


class LogText:
    """Turns records into text; pieces of one answer run on, others begin with their node."""

    def __init__(self) -> None:
        self._open: tuple[str, int, int] | None = None

    def of(self, line: Event) -> str:
        """What to write for the next record."""
        if line["stream"] != TOKENS:
            return f"{self.end()}{_head(line)}{line['text']}\n"
        visit = (line["nodeKey"], line["occurrence"], line["attempt"])
        begin = "" if self._open == visit else f"{self.end()}{_head(line)}"
        self._open = visit
        text: str = line["text"]
        return begin + text.replace("\n", f"\n{_head(line)}")

    def end(self) -> str:
        """What to write behind the last record."""
        end = "" if self._open is None else "\n"
        self._open = None
        return end


def _head(line: Event) -> str:
    """`node #2 | `; what is no standard output is named: `node (stderr) | `."""
    visit = f" #{line['occurrence']}" if line["occurrence"] > 1 else ""
    stream = f" ({line['stream']})" if line["stream"] not in _UNNAMED else ""
    return f"{line['nodeKey']}{visit}{stream} | "
