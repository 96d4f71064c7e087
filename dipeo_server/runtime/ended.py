"""What it means to tell something to an execution that has ended: the machine says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.runner import Accepted, IdempotencyKey
from dipeo_server.domains.execution.signals import Signal
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.errors import ExecutionFinished, NotFound, Unavailable
from dipeo_server.runtime.keys import keyed_answer
from dipeo_server.runtime.loading import load


class EndedExecutions:
    """Executions without an actor; one that has not ended is `not_served`, which tells why."""

    def __init__(self, store: StateStore, not_served: Callable[[ExecutionID], Unavailable]) -> None:
        self._store = store
        self._not_served = not_served

    async def tell(
        self,
        execution_id: ExecutionID,
        signal: Signal,
        key: IdempotencyKey | None,
        now: datetime,
    ) -> Accepted:
        """Answer a wish that changes nothing. Raises NotFound, Unavailable, Rejected (several)."""
        machine = await load(self._store, execution_id)
        if not machine.last_seq:
            raise NotFound(f"There is no execution {execution_id!r}.")
        state, tail = machine.state, machine.last_seq
        if state.status.is_active:
            raise self._not_served(execution_id)
        if machine.receive(signal, now=now):
            raise ExecutionFinished(f"The execution has ended: {state.status}.")
        if key is not None:
            answers = [keyed_answer(key, tail, now)]
            row = summary_of(state)
            await self._store.append(execution_id, (), after=tail, summary=row, answers=answers)
        return Accepted(execution_id, tail)
