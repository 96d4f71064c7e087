"""A run on a terminal: a table of its nodes that changes as they run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dipeo_server.cli.durations import in_words, seconds_of
from dipeo_server.cli.progress import Nodes
from dipeo_server.cli.telling import Event, failure_of, moment_of

# A symbol and a word besides the colour: not everybody sees colours.
LOOKS: Final = {
    "PENDING": ("·", "dim"),
    "RUNNING": ("▶", "cyan"),
    "WAITING": ("?", "yellow"),
    "COMPLETED": ("✓", "green"),
    "FAILED": ("✗", "bold red"),
    "SKIPPED": ("-", "dim"),
    "ABORTED": ("■", "magenta"),
    "MAXITER_REACHED": ("✓", "green"),
}
_STATUS_AFTER: Final = {
    "NodeStarted": "RUNNING",
    "NodeCompleted": "COMPLETED",
    "NodeFailed": "FAILED",
    "NodeInterrupted": "ABORTED",
    "NodeSkipped": "SKIPPED",
    "NodeOutputSet": "COMPLETED",
    "NodeRetryScheduled": "WAITING",
    "NodeMaxIterationsReached": "MAXITER_REACHED",
    "BarrierWaiting": "WAITING",
    "BarrierResolved": "RUNNING",
}
_LINES_AROUND: Final = 6


@dataclass(slots=True)
class _Row:
    """What the table shows of a node."""

    type: str
    status: str = "PENDING"
    visits: int = 0
    seconds: float | None = None
    detail: str = ""


class LiveProgress:
    """Draws on `stream`, a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._rows: dict[str, _Row] = {}
        self._title = ""
        self._first = self._last = 0.0
        self._spinner: Spinner | None = Spinner("dots")
        self._live: Live | None = None

    def begin(self, execution_id: str, nodes: Nodes) -> None:
        """Draw the table for the first time."""
        self._title = execution_id
        self._rows = {node["key"]: _Row(node["type"].lower()) for node in nodes}
        self._draw()

    def event(self, event: Event) -> None:
        """Change what the event changed."""
        moment = moment_of(event) or self._last
        self._first, self._last = self._first or moment, moment
        row = self._rows.get(event.get("nodeKey") or "")
        status = _STATUS_AFTER.get(event["__typename"])
        if row is None or status is None:
            return
        row.status = status
        row.visits = max(row.visits, event.get("visit") or 0)
        row.detail = _detail(event)
        if event.get("duration"):
            row.seconds = (row.seconds or 0.0) + (seconds_of(event["duration"]) or 0.0)

    @contextmanager
    def stepped_aside(self) -> Iterator[None]:
        """Take the table away while somebody types."""
        live = self._live
        if live is None:
            yield
            return
        live.transient = True
        live.stop()
        try:
            yield
        finally:
            # A new one: the old one would take what was typed for its own lines.
            self._draw()

    def end(self) -> None:
        """Leave the table as it stands."""
        self._spinner = None
        if self._live is not None:
            self._live.stop()

    def _draw(self) -> None:
        self._live = Live(
            console=self._console,
            get_renderable=self._drawn,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _drawn(self) -> Group:
        table = Table(box=None, pad_edge=False, show_edge=False)
        for heading in ("", "node", "type", "status", "runs", "time", ""):
            is_number = heading in {"runs", "time"}
            table.add_column(heading, justify="right" if is_number else "left", no_wrap=True)
        shown = self._shown()
        for key, row in shown:
            symbol, style = LOOKS.get(row.status, ("·", ""))
            table.add_row(
                symbol,
                escape(key),
                f"[dim]{row.type}",
                row.status.lower(),
                str(row.visits or ""),
                in_words(row.seconds),
                Text(row.detail, overflow="ellipsis"),
                style=style,
            )
        left_out = len(self._rows) - len(shown)
        more = [Text(f"… and {left_out} more nodes", style="dim")] if left_out else []
        spinner = [self._spinner] if self._spinner is not None else []
        return Group(table, *more, *spinner)

    def _shown(self) -> list[tuple[str, _Row]]:
        """What fits on the screen; of a large diagram, first what runs, waits or has failed."""
        room = max(self._console.height - _LINES_AROUND, 5)
        rows = list(self._rows.items())
        if len(rows) <= room:
            return rows
        busy = {"RUNNING", "WAITING", "FAILED"}
        ranked = sorted(rows, key=lambda entry: entry[1].status not in busy)[:room]
        kept = {key for key, _ in ranked}
        return [entry for entry in rows if entry[0] in kept]


def _detail(event: Event) -> str:
    match event["__typename"]:
        case "NodeFailed":
            return failure_of(event)
        case "NodeSkipped" | "NodeInterrupted":
            return str(event.get("why") or "")
        case "BarrierWaiting":
            return "for a person"
        case _:
            return ""
