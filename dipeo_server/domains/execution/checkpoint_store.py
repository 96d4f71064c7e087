"""Where checkpoints are kept: a cache beside the log, all of which may be deleted at any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from dipeo_server.domains.execution.checkpoint import Checkpoint, StoredCheckpoint
from dipeo_server.domains.execution.ids import ExecutionID, Seq

KEPT_MAX: Final = 1_000
"""Of one execution: as newer ones come, the oldest are forgotten (a few late, twenty at once)."""


@dataclass(frozen=True, slots=True)
class CheckpointChoice:
    """Some checkpoints of an execution: those at `places`, or all but the newest `keep`."""

    places: tuple[Seq, ...] | None = None
    keep: int = 0


class CheckpointStore(Protocol):
    """Checkpoints by execution and sequence; they come with the events that tell of them.

    The newest KEPT_MAX of an execution are kept. Every method raises StorageError.
    """

    async def load(
        self, execution_id: ExecutionID, *, upto: Seq | None = None
    ) -> StoredCheckpoint | None:
        """The newest one at or before `upto` (None = the end of the log), or None.

        Of a fork it may be one of what that goes on from. Raises DamagedCheckpoint.
        """
        ...

    async def listed(self, execution_id: ExecutionID) -> Sequence[Checkpoint]:
        """Those of the execution itself, oldest first, without what is damaged."""
        ...

    async def find(self, execution_id: ExecutionID, at: Seq) -> Checkpoint | None:
        """The one at that sequence, or None. Raises DamagedCheckpoint."""
        ...

    async def delete(self, execution_id: ExecutionID, at: Seq) -> None:
        """Forget the one at that sequence. Raises NotFound."""
        ...

    async def prune(self, execution_id: ExecutionID, *, keep: int = 0) -> int:
        """Forget all but the newest `keep`; gives how many those were."""
        ...
