"""MemoryCheckpoints: the reference implementation of checkpoints; nothing outlives the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dipeo_server.domains.execution.checkpoint import (
    Checkpoint,
    StoredCheckpoint,
    TakenCheckpoint,
)
from dipeo_server.domains.execution.checkpoint_store import KEPT_MAX, CheckpointChoice
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import ExecutionSummary
from dipeo_server.storage.lineage import SEQ_MAX
from dipeo_server.storage.refusals import no_checkpoint

SummaryOf = Callable[[ExecutionID], ExecutionSummary | None]


class MemoryCheckpoints:
    """Dictionaries beside those of a MemoryStore, which knows the executions."""

    def __init__(self, check_open: Callable[[], None], summary_of: SummaryOf) -> None:
        self._check_open = check_open
        self._summary_of = summary_of
        self._taken: dict[ExecutionID, dict[Seq, TakenCheckpoint]] = {}
        self._forgotten: set[tuple[ExecutionID, Seq]] = set()

    def keep(self, taken: Sequence[TakenCheckpoint]) -> None:
        """Keep what was taken with the events that are appended."""
        for each in taken:
            known = each.checkpoint
            self._taken.setdefault(known.execution_id, {})[known.at] = each
            if known.at == known.base:
                self._forget(known.execution_id, KEPT_MAX)

    async def load(
        self, execution_id: ExecutionID, *, upto: Seq | None = None
    ) -> StoredCheckpoint | None:
        """The newest one at or before `upto`, with its parts."""
        self._check_open()
        last = SEQ_MAX if upto is None else upto
        owner: ExecutionID | None = execution_id
        while owner is not None:
            kept = [each for each in self._kept(owner) if each.at <= last]
            if kept:
                return self._whole(kept[-1])
            summary = self._summary_of(owner)
            owner = summary.fork_of if summary else None
            last = min(last, summary.forked_at or 0) if summary else 0
        return None

    def _whole(self, found: Checkpoint) -> StoredCheckpoint:
        chain = [
            each
            for each in self._taken[found.execution_id].values()
            if each.checkpoint.base == found.base and each.checkpoint.at <= found.at
        ]
        return StoredCheckpoint(found, tuple(each.payload for each in chain))

    async def listed(self, execution_id: ExecutionID) -> Sequence[Checkpoint]:
        """Those of the execution itself, oldest first."""
        self._check_open()
        return self._kept(execution_id)

    async def find(self, execution_id: ExecutionID, at: Seq) -> Checkpoint | None:
        """The one at that sequence, or None."""
        self._check_open()
        return next((each for each in self._kept(execution_id) if each.at == at), None)

    async def delete(self, execution_id: ExecutionID, at: Seq) -> None:
        """Forget the one at that sequence. Raises NotFound."""
        if await self.find(execution_id, at) is None:
            raise no_checkpoint(execution_id, at)
        self._forgotten.add((execution_id, at))

    def forget(self, execution_id: ExecutionID, choice: CheckpointChoice) -> int:
        """Forget the chosen ones that are there; gives how many those were."""
        if choice.places is None:
            return self._forget(execution_id, choice.keep)
        there = {each.at for each in self._kept(execution_id)}.intersection(choice.places)
        self._forgotten.update((execution_id, at) for at in there)
        return len(there)

    async def prune(self, execution_id: ExecutionID, *, keep: int = 0) -> int:
        """Forget all but the newest `keep`; gives how many those were."""
        self._check_open()
        return self._forget(execution_id, keep)

    def _forget(self, execution_id: ExecutionID, keep: int) -> int:
        """Forget all but the newest so many, and drop what no other is made up from."""
        kept = self._kept(execution_id)
        old = kept[: len(kept) - keep] if keep < len(kept) else []
        self._forgotten.update((execution_id, each.at) for each in old)
        taken = self._taken.get(execution_id, {})
        last = max((each.checkpoint.base for each in taken.values()), default=Seq(0))
        bases = {each.base for each in kept[len(old) :]} | {last}
        for at in [at for at, each in taken.items() if each.checkpoint.base not in bases]:
            del taken[at]
            self._forgotten.discard((execution_id, at))
        return len(old)

    def _kept(self, execution_id: ExecutionID) -> list[Checkpoint]:
        taken = self._taken.get(execution_id, {}).values()
        found = (each.checkpoint for each in taken)
        return [each for each in found if (execution_id, each.at) not in self._forgotten]
