"""What a run's log says of the past: its state at any event, and who set what is there now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import (
    CheckpointFailed,
    CheckpointSaved,
    DiagramMutated,
    ExecutionStarted,
    NodeCompleted,
    NodeFailed,
    NodeOutputSet,
    Recorded,
    StateChanged,
)
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.machine.evolve import begin, evolve
from dipeo_server.domains.execution.machine.variables import is_before
from dipeo_server.domains.execution.state import ExecutionState

ReadPage: TypeAlias = Callable[[Seq, int], Awaitable[Sequence[Recorded]]]
"""At most so many events of a log, behind that one."""

_PAGE: Final = 100


class HistoryKind(StrEnum):
    """What an entry of a merged history is."""

    VARIABLE = "variables"
    OUTPUT = "outputs"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """The newest value of a variable, or of a node's output, and the event that set it.

    `node` set it; None = the start of the run, or a person. `conflict`: another node that runs
    side by side with it has set it too, and nothing behind both has since. `is_elsewhere`: the
    value lies outside the log, and is None here.
    """

    kind: HistoryKind
    name: str
    value: Any
    sequence: Seq
    node: str | None = None
    conflict: bool = False
    is_deleted: bool = False
    is_elsewhere: bool = False

    @property
    def key(self) -> str:
        """`variables.x` or `outputs.a`: a variable and a node may have one name."""
        return f"{self.kind.value}.{self.name}"


async def checkpoint_told(read: ReadPage, upto: Seq) -> CheckpointSaved | CheckpointFailed | None:
    """The newest event about a checkpoint up to there: what a failed one led to lies behind it."""
    last = upto
    while last > 0:
        first = Seq(max(0, last - _PAGE))
        for recorded in reversed(await read(first, last - first)):
            if isinstance(recorded.event, CheckpointSaved | CheckpointFailed):
                return recorded.event
        last = first
    return None


def state_at(log: Iterable[Recorded], sequence: Seq) -> ExecutionState:
    """The state behind the first `sequence` events of a log. Raises LookupError if it is shorter.

    The log begins with its first event; what comes behind `sequence` is not read.
    """
    state: ExecutionState | None = None
    for recorded in log:
        state = begin(recorded) if state is None else evolve(state, recorded)
        if recorded.seq == sequence:
            return state
    raise LookupError(f"The log has no event {sequence}.")


@dataclass(frozen=True, slots=True)
class _Write:
    """Which node has set a variable, and in which turns of the blocks around it."""

    node: str
    serials: tuple[tuple[int, int], ...]


class MergedHistory:
    """Merges the history of one run, told event by event: per key the newest value wins.

    Its values are those of the state behind the last event it was told.
    """

    def __init__(self) -> None:
        self._state: ExecutionState | None = None
        self._entries: dict[tuple[HistoryKind, str], HistoryEntry] = {}
        self._writers: dict[str, list[_Write]] = {}

    def observe(self, recorded: Recorded) -> None:
        """Take note of the next event."""
        event = recorded.event
        if self._state is None:
            self._state = begin(recorded)
            self._begun(recorded)
            return
        match event:
            case NodeCompleted() | NodeFailed() | NodeOutputSet():
                node = event.node_run.node
                before = self._state.outputs.get(node)
                now = evolve(self._state, recorded).outputs.get(node)
                if now is not None and now is not before:
                    self._put(_output(node, now, recorded.seq))
            case StateChanged():
                self._changed(evolve(self._state, recorded), event, recorded.seq)
            case DiagramMutated():
                evolve(self._state, recorded)
                self._writers.clear()  # What was side by side was so in another graph.
            case _:
                evolve(self._state, recorded)

    def entries(self) -> tuple[HistoryEntry, ...]:
        """One for each key, in the order of the events that set them; of one event, by key."""
        return tuple(sorted(self._entries.values(), key=lambda each: (each.sequence, each.key)))

    def _put(self, entry: HistoryEntry) -> None:
        self._entries[entry.kind, entry.name] = entry

    def _begun(self, recorded: Recorded) -> None:
        assert isinstance(recorded.event, ExecutionStarted)
        for name, value in recorded.event.variables.items():
            self._put(HistoryEntry(HistoryKind.VARIABLE, name, value, recorded.seq))

    def _changed(self, state: ExecutionState, event: StateChanged, seq: Seq) -> None:
        node = event.node_run.node if event.node_run is not None else None
        writers: list[_Write] = []
        if node is not None:
            own = _Write(node, state.writes[event.key].serials)
            others = self._writers.get(event.key, [])
            writers = [each for each in others if _side_by_side(state.diagram, each, own)]
            writers.append(own)
        self._writers[event.key] = writers
        self._put(
            HistoryEntry(
                HistoryKind.VARIABLE,
                event.key,
                None if event.is_deleted else event.value,
                seq,
                node,
                conflict=len(writers) > 1,
                is_deleted=event.is_deleted,
            )
        )


def merged_history(log: Iterable[Recorded]) -> tuple[HistoryEntry, ...]:
    """The merged history that a log, or the beginning of one, tells."""
    merged = MergedHistory()
    for recorded in log:
        merged.observe(recorded)
    return merged.entries()


def _output(node: str, output: Envelope, seq: Seq) -> HistoryEntry:
    is_elsewhere = output.blob is not None
    return HistoryEntry(HistoryKind.OUTPUT, node, output.body, seq, node, is_elsewhere=is_elsewhere)


def _side_by_side(diagram: ExecutableDiagram, one: _Write, other: _Write) -> bool:
    """Did two nodes write in the same turns, and does no way lead from one to the other?"""
    if one.node == other.node or one.node not in diagram.index_of:
        return False
    serials = dict(one.serials)
    if any(serials.get(block, serial) != serial for block, serial in other.serials):
        return False
    first, second = (diagram.index_of[each.node] for each in (one, other))
    has_order = is_before(diagram, first, second) or is_before(diagram, second, first)
    return not has_order
