"""Deleting: families of executions that have ended and are not served, and checkpoints of any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dipeo_server.domains.execution.checkpoint_store import CheckpointChoice
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import Clock, StateStore
from dipeo_server.domains.execution.runner import Accepted, IdempotencyKey
from dipeo_server.errors import NotFound
from dipeo_server.runtime.keys import IdempotencyKeys, keyed_answer
from dipeo_server.runtime.logbook import LogBook


class Deletions:
    """Deletes from the store; `is_served` asks for an actor, `forget` is told who is gone."""

    def __init__(
        self,
        store: StateStore,
        clock: Clock,
        logbook: LogBook,
        is_served: Callable[[ExecutionID], bool],
        forget: Callable[[Sequence[ExecutionID]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._logbook = logbook
        self._is_served = is_served
        self._forget = forget
        self._awaited: dict[ExecutionID, asyncio.Event] = {}

    async def delete(self, execution_id: ExecutionID, key: IdempotencyKey | None) -> Accepted:
        """Delete the execution and all that ran below it; the sequence is its last.

        Raises NotFound, InvalidState, StorageError.
        """
        summary = await self._store.summary(execution_id)
        tail = Seq(0) if summary is None else summary.last_seq
        if summary is not None and summary.status.is_terminal:
            await self._is_left(execution_id)
        await self._logbook.flush()  # Else its last lines would come behind it.
        now = self._clock.now()
        answer = None if key is None else keyed_answer(key, tail, now)
        self._forget(await self._store.delete(execution_id, now=now, answer=answer))
        return Accepted(execution_id, tail)

    def left(self, execution_id: ExecutionID) -> None:
        """Nothing serves that execution any more."""
        awaited = self._awaited.pop(execution_id, None)
        if awaited is not None:
            awaited.set()

    async def _is_left(self, execution_id: ExecutionID) -> None:
        """Wait until what it had running has been stopped: that does not take long."""
        while self._is_served(execution_id):
            await self._awaited.setdefault(execution_id, asyncio.Event()).wait()


class CheckpointDeletions:
    """Deletes checkpoints from the store: each key once."""

    def __init__(self, store: StateStore, clock: Clock, keys: IdempotencyKeys) -> None:
        self._store = store
        self._clock = clock
        self._keys = keys

    async def delete(
        self,
        execution_id: ExecutionID,
        choice: CheckpointChoice,
        key: IdempotencyKey | None = None,
    ) -> Accepted:
        """Forget checkpoints of an execution. Raises NotFound, StorageError."""

        async def forget() -> Accepted:
            summary = await self._store.summary(execution_id)
            if summary is None:
                raise NotFound(f"There is no execution {execution_id!r}.")
            now, tail = self._clock.now(), summary.last_seq
            answer = None if key is None else keyed_answer(key, tail, now)
            count = await self._store.delete_checkpoints(
                execution_id, choice, now=now, answer=answer
            )
            return Accepted(execution_id, tail, deleted=count)

        return await self._keys.answer(key, forget)
