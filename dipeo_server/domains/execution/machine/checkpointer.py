"""What takes checkpoints of one machine's state, and knows the last one, for differences to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from dipeo_server.domains.execution.checkpoint import (
    Checkpoint,
    CheckpointTrigger,
    StoredCheckpoint,
    TakenCheckpoint,
    checkpoint_id,
)
from dipeo_server.domains.execution.events import TERMINAL, CheckpointFailed, CheckpointSaved, Event
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.checkpoints import next_node
from dipeo_server.domains.execution.snapshot import (
    Document,
    Snapshots,
    difference,
    hash_of,
    snapshot,
    to_bytes,
)
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.state_parts import Changes
from dipeo_server.errors import DipeoError, LimitExceeded

_FREQUENT: Final = frozenset({CheckpointTrigger.EVERY_STEP, CheckpointTrigger.ADAPTIVE})
"""With these it pays to remember what has been written; others take the state as it is."""


@dataclass(frozen=True, slots=True)
class LastCheckpoint:
    """The newest checkpoint of a machine: what it says, and where its base is."""

    execution_id: ExecutionID
    at: Seq
    base: Seq
    deltas: int
    document: Document

    @classmethod
    def of(cls, stored: StoredCheckpoint, document: Document) -> Self:
        """The last one of a machine that begins with it."""
        known = stored.checkpoint
        return cls(known.execution_id, known.at, known.base, len(stored.parts) - 1, document)

    def is_before(self, state: ExecutionState) -> bool:
        """Is it this run's, and has there been none since?"""
        return (self.execution_id, self.at) == (state.id, state.checkpoint_at)


@dataclass(frozen=True, slots=True)
class _Written:
    """A state as JSON, its size, and what has changed since the last one if that is known."""

    document: Document
    content_hash: str
    size: int
    change: Changes | None = None
    whole: bytes | None = None


class Checkpointer:
    """Takes checkpoints; what is taken is for whoever appends the events."""

    def __init__(self, last: LastCheckpoint | None = None) -> None:
        self._last = last
        self._written: Snapshots | None = None
        self._taken: list[TakenCheckpoint] = []

    def collect(self) -> list[TakenCheckpoint]:
        """What was taken since it was last asked: to be stored with the events that tell it."""
        taken, self._taken = self._taken, []
        return taken

    def take(
        self, state: ExecutionState, trigger: CheckpointTrigger, now: datetime, then: Event | None
    ) -> CheckpointSaved | CheckpointFailed:
        """Keep the state, behind which `then` comes; never raises for what cannot be kept."""
        try:
            return self._take(state, trigger, now, then)
        except Exception as error:  # noqa: BLE001 - whatever it was, the log tells it.
            self._last = self._written = None
            what = "" if isinstance(error, DipeoError) else f"{type(error).__name__}: "
            return CheckpointFailed(trigger, f"{what}{error}")

    def _take(
        self, state: ExecutionState, trigger: CheckpointTrigger, now: datetime, then: Event | None
    ) -> CheckpointSaved | CheckpointFailed:
        last = self._last
        if last is None or not last.is_before(state):
            last = self._written = None
        new = self._write(state, last)
        payload, base, deltas = _payload(state, last, new)
        if isinstance(then, TERMINAL):
            self._last = self._written = None  # There will be no other one to tell from it.
        else:
            self._last = LastCheckpoint(state.id, state.last_seq, base, deltas, new.document)
        checkpoint = Checkpoint(
            id=checkpoint_id(state.id, state.last_seq),
            execution_id=state.id,
            at=state.last_seq,
            base=base,
            trigger=trigger,
            created_at=now,
            graph_hash=state.diagram.content_hash,
            content_hash=new.content_hash,
            next_node=next_node(state, then),
            size_bytes=len(payload),
        )
        self._taken.append(TakenCheckpoint(checkpoint, payload))
        return CheckpointSaved(
            checkpoint.id,
            checkpoint.at,
            trigger,
            len(payload),
            checkpoint.content_hash,
            checkpoint.next_node,
        )

    def _write(self, state: ExecutionState, last: LastCheckpoint | None) -> _Written:
        """The state as JSON, and what has changed. Raises LimitExceeded."""
        if _FREQUENT.isdisjoint(state.checkpoint_policy):
            document = snapshot(state)
            whole = to_bytes(document)
            change = None if last is None else difference(last.document, document)
            return _Written(document, hash_of(document), _checked(len(whole), state), change, whole)
        written, change = self._written, None
        if written is not None:
            change = written.take(state)
        else:
            written = self._written = Snapshots()
            written.take(state)
            if last is not None:
                change = difference(last.document, written.document)
        return _Written(
            written.document, written.content_hash, _checked(written.size, state), change
        )


def _checked(size: int, state: ExecutionState) -> int:
    most = state.checkpointing.size_max
    if size > most:
        message = f"The state has {size:,} bytes, and at most {most:,} are kept."
        raise LimitExceeded(message)
    return size


def _payload(
    state: ExecutionState, last: LastCheckpoint | None, new: _Written
) -> tuple[bytes, Seq, int]:
    """What is stored, on which base, behind how many differences."""
    if last is not None and new.change is not None:
        payload = to_bytes(new.change)
        is_small = 2 * len(payload) <= new.size
        if is_small and last.deltas < state.checkpointing.deltas_max:
            return payload, last.base, last.deltas + 1
    whole = to_bytes(new.document) if new.whole is None else new.whole
    return whole, state.last_seq, 0
