"""What takes checkpoints of one machine's state, and knows the last one, for differences to it."""

from __future__ import annotations

import gc
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
from dipeo_server.domains.execution.difference import delta
from dipeo_server.domains.execution.events import TERMINAL, CheckpointFailed, CheckpointSaved, Event
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.checkpoints import next_node
from dipeo_server.domains.execution.snapshot import Document, hash_of, snapshot, to_bytes
from dipeo_server.domains.execution.state import ExecutionState

SIZE_MAX: Final = 64 * 1024 * 1024
"""Of a whole state: what is larger is folded from the log, which has it anyway."""


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


class Checkpointer:
    """Takes checkpoints; what is taken is for whoever appends the events."""

    def __init__(self, last: LastCheckpoint | None = None) -> None:
        self._last = last
        self._taken: list[TakenCheckpoint] = []

    def collect(self) -> list[TakenCheckpoint]:
        """What was taken since it was last asked: to be stored with the events that tell it."""
        taken, self._taken = self._taken, []
        return taken

    def take(
        self, state: ExecutionState, trigger: CheckpointTrigger, now: datetime, then: Event | None
    ) -> CheckpointSaved | CheckpointFailed:
        """Keep the state, behind which `then` comes; never raises for what cannot be kept."""
        was_enabled = gc.isenabled()
        gc.disable()  # Thousands of objects, none in a cycle: to look for those takes far longer.
        try:
            return self._take(state, trigger, now, then)
        except Exception as error:  # noqa: BLE001 - whatever it was, the run goes on and tells it.
            self._last = None
            return CheckpointFailed(trigger, f"{type(error).__name__}: {error}")
        finally:
            if was_enabled:
                gc.enable()

    def _take(
        self, state: ExecutionState, trigger: CheckpointTrigger, now: datetime, then: Event | None
    ) -> CheckpointSaved | CheckpointFailed:
        document = snapshot(state)
        whole = to_bytes(document)
        if len(whole) > SIZE_MAX:
            message = f"The state has {len(whole):,} bytes, and at most {SIZE_MAX:,} are kept."
            return CheckpointFailed(trigger, message)
        payload, base, deltas = self._payload(state, document, whole)
        if isinstance(then, TERMINAL):
            self._last = None  # There will be no other one to tell the difference to.
        else:
            self._last = LastCheckpoint(state.id, state.last_seq, base, deltas, document)
        checkpoint = Checkpoint(
            id=checkpoint_id(state.id, state.last_seq),
            execution_id=state.id,
            at=state.last_seq,
            base=base,
            trigger=trigger,
            created_at=now,
            graph_hash=state.diagram.content_hash,
            content_hash=hash_of(whole),
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

    def _payload(
        self, state: ExecutionState, document: Document, whole: bytes
    ) -> tuple[bytes, Seq, int]:
        """What is stored, on which base, behind how many differences."""
        last = self._last
        if (
            last is None
            or last.deltas >= state.checkpointing.deltas_max
            or not last.is_before(state)
        ):
            return whole, state.last_seq, 0
        difference = to_bytes(delta(last.document, document))
        if 2 * len(difference) > len(whole):
            return whole, state.last_seq, 0
        return difference, last.base, last.deltas + 1
