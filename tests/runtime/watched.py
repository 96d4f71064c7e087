"""A store that tells what is done with it, holds commits back and runs out of space."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from dipeo_server.domains.execution.blobs import Blobs
from dipeo_server.domains.execution.checkpoint import TakenCheckpoint
from dipeo_server.domains.execution.checkpoint_store import CheckpointChoice, CheckpointStore
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import (
    ExecutionPage,
    ExecutionQuery,
    ExecutionSummary,
    IdempotentAnswer,
    KeyedAnswer,
    LogRecord,
    StateStore,
)
from dipeo_server.errors import ConcurrentAppend, StorageFull

FaultOf = Callable[[Sequence[Recorded]], Exception | None]
"""What keeps an append of these events from being committed, if anything does."""


class WatchedStore:
    """Another store, all of whose promises it keeps.

    While `is_held` appends wait; `fault` and `read_fault` make appends and reads fail. `reads`
    counts reads of events, `commits` appends that were committed, `tried` all of them.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._let_go = asyncio.Event()
        self._let_go.set()
        self.fault: FaultOf | None = None
        self.read_fault: Exception | None = None
        self.log_fault: Exception | None = None
        self.blobs: Blobs = store.blobs
        self.checkpoints: CheckpointStore = store.checkpoints
        self.reads = 0
        self.commits = 0
        self.tried = 0
        self.waiting = 0

    def hold(self) -> None:
        """Let appends wait."""
        self._let_go.clear()

    def let_go(self) -> None:
        """Let appends go on."""
        self._let_go.set()

    def let_these_go(self) -> None:
        """Let the appends go on that wait now; later ones wait."""
        self._let_go.set()
        self._let_go.clear()

    async def append(
        self,
        execution_id: ExecutionID,
        events: Sequence[Recorded],
        *,
        after: Seq,
        summary: ExecutionSummary,
        answers: Sequence[KeyedAnswer] = (),
        checkpoints: Sequence[TakenCheckpoint] = (),
    ) -> None:
        """Append, once it may and can."""
        self.tried += 1
        self.waiting += 1
        try:
            await self._let_go.wait()
        finally:
            self.waiting -= 1
        error = self.fault(events) if self.fault else None
        if error is not None:
            raise error
        await self._store.append(
            execution_id,
            events,
            after=after,
            summary=summary,
            answers=answers,
            checkpoints=checkpoints,
        )
        self.commits += 1

    async def read(
        self, execution_id: ExecutionID, *, after: Seq = Seq(0), limit: int = 256
    ) -> Sequence[Recorded]:
        """Read, and count it."""
        self.reads += 1
        if self.read_fault is not None:
            raise self.read_fault
        return await self._store.read(execution_id, after=after, limit=limit)

    async def summary(self, execution_id: ExecutionID) -> ExecutionSummary | None:
        """As the store has it."""
        return await self._store.summary(execution_id)

    async def list_executions(self, query: ExecutionQuery) -> ExecutionPage:
        """As the store has them."""
        return await self._store.list_executions(query)

    async def active(self) -> Sequence[ExecutionID]:
        """As the store has them."""
        return await self._store.active()

    async def find_answer(
        self, principal: str, key: str, *, now: datetime
    ) -> IdempotentAnswer | None:
        """As the store has it."""
        return await self._store.find_answer(principal, key, now=now)

    async def delete(
        self, execution_id: ExecutionID, *, now: datetime, answer: KeyedAnswer | None = None
    ) -> Sequence[ExecutionID]:
        return await self._store.delete(execution_id, now=now, answer=answer)

    async def delete_checkpoints(
        self,
        execution_id: ExecutionID,
        choice: CheckpointChoice,
        *,
        now: datetime,
        answer: KeyedAnswer | None = None,
    ) -> int:
        return await self._store.delete_checkpoints(execution_id, choice, now=now, answer=answer)

    async def append_logs(self, execution_id: ExecutionID, lines: Sequence[LogRecord]) -> None:
        """Append lines, if that can be done."""
        await self._let_go.wait()
        if self.log_fault is not None:
            raise self.log_fault
        await self._store.append_logs(execution_id, lines)

    async def read_logs(
        self,
        execution_id: ExecutionID,
        *,
        after: int = 0,
        limit: int = 100,
        node: str | None = None,
    ) -> Sequence[LogRecord]:
        """As the store has them."""
        return await self._store.read_logs(execution_id, after=after, limit=limit, node=node)

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()


def full(events: Sequence[Recorded]) -> Exception:
    """The fault of a disk that has no room for anything."""
    return StorageFull(f"There is no room for {len(events)} events.")


def overtaken(events: Sequence[Recorded]) -> Exception:
    """The fault that another process writes to the log, too."""
    return ConcurrentAppend(f"The log does not end before {events[0].seq}.")
