"""Executions that have ended: how they are seen, and what it means to tell them something."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Final

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.runner import Accepted, IdempotencyKey
from dipeo_server.domains.execution.signals import Signal
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.errors import ExecutionFinished, NotFound, Unavailable
from dipeo_server.runtime.keys import keyed_answer
from dipeo_server.runtime.loading import load

VIEWS_MAX: Final = 64


class EndedViews:
    """How the executions ended that were looked at last, so that they need not be folded anew."""

    def __init__(self) -> None:
        self._views: OrderedDict[ExecutionID, ExecutionView] = OrderedDict()

    def find(self, execution_id: ExecutionID) -> ExecutionView | None:
        """The execution, if it is remembered."""
        known = self._views.get(execution_id)
        if known is not None:
            self._views.move_to_end(execution_id)
        return known

    def remember(self, ended: ExecutionView) -> None:
        """Remember it for some time."""
        self._views[ended.id] = ended
        while len(self._views) > VIEWS_MAX:
            self._views.popitem(last=False)

    def forget(self, execution_id: ExecutionID) -> None:
        """There is no such execution any more."""
        self._views.pop(execution_id, None)


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
