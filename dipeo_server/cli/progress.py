"""Who is told of a run's events as they come: nobody, or a pipe with a line for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TextIO

from dipeo_server.cli.telling import Event, moment_of, told

Nodes = Sequence[Mapping[str, Any]]
"""`key` and `type` of each node, in the order of the diagram."""


class Progress(Protocol):
    """Somebody who is told what happens in a run."""

    def begin(self, execution_id: str, nodes: Nodes) -> None:
        """The run was accepted."""
        ...

    def event(self, event: Event) -> None:
        """One event; they come in order."""
        ...

    def stepped_aside(self) -> AbstractContextManager[None]:
        """Meanwhile nothing is drawn, because a person is asked something."""
        ...

    def end(self) -> None:
        """Nothing follows."""
        ...


class NoProgress:
    """Tells nothing (`--quiet`)."""

    def begin(self, execution_id: str, nodes: Nodes) -> None:
        """Told to nobody."""

    def event(self, event: Event) -> None:
        """Told to nobody."""

    def stepped_aside(self) -> AbstractContextManager[None]:
        """There is nothing in the way."""
        return nullcontext()

    def end(self) -> None:
        """There is nothing to end."""


class LineProgress(NoProgress):
    """A line for each event, for pipes and logs: seconds since the start, what, where."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._began_at: float | None = None

    def begin(self, execution_id: str, nodes: Nodes) -> None:
        """The id of the run comes first: other tools can follow it too."""
        self._write(f"run {execution_id}: {len(nodes)} nodes")

    def event(self, event: Event) -> None:
        """Events that only programs need are left out."""
        moment = moment_of(event)
        if moment is None:
            return
        if self._began_at is None:
            self._began_at = moment
        line = told(event)
        if line is not None:
            self._write(f"{moment - self._began_at:9.3f} s  {line}")

    def _write(self, line: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except BrokenPipeError:
            # Whoever read has left; the run goes on, and its exit code still counts.
            self._stream = None
