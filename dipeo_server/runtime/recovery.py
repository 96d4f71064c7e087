"""What a runner finds when it starts: every execution that has not ended, folded from its log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    PauseRequested,
    RunnerRestarted,
    Signal,
)
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.errors import StorageError
from dipeo_server.runtime.loading import load_patiently

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Recovered:
    """The machines of all active executions; `unserved` says why others cannot be served."""

    machines: dict[ExecutionID, ExecutionMachine] = field(default_factory=dict)
    unserved: dict[ExecutionID, str] = field(default_factory=dict)

    @property
    def states(self) -> Iterator[ExecutionState]:
        """Every execution as it was left."""
        return (machine.state for machine in self.machines.values())

    def wishes(self, state: ExecutionState) -> Iterator[Signal]:
        """What to tell an execution that is taken over, in this order."""
        parent_id = None if state.parent is None else state.parent_id  # A fork has no parent.
        parent = self.machines.get(parent_id) if parent_id else None
        if parent is not None and parent.state.is_paused and parent.state.ending is None:
            yield PauseRequested(is_by_parent=True)
        yield RunnerRestarted()
        has_parent = parent_id is not None and parent_id not in self.unserved
        if has_parent and (parent is None or parent.state.ending is not None):
            # The process died between the end of a parent and that of its child.
            yield AbortRequested(reason="its parent ended")


async def replay_active(store: StateStore, only: ExecutionID | None = None) -> Recovered:
    """Fold every execution that has not ended; with `only` that one, and all that run below it."""
    found = Recovered()
    for execution_id in await store.active():
        if only is not None and not await _is_below(store, execution_id, only):
            continue
        try:
            machine = await load_patiently(store, execution_id)
        except StorageError as error:
            found.unserved[execution_id] = error.message
            told = {"execution_id": execution_id, "hint": error.hint}
            log.error("execution_cannot_be_recovered", error=error.message, **told)  # noqa: TRY400 - the message says all there is to say.
            continue
        except Exception:
            # One log that cannot be folded must not keep the others from running.
            found.unserved[execution_id] = "The server's log says why."
            log.exception("execution_cannot_be_recovered", execution_id=execution_id)
            continue
        if machine.last_seq > 0:
            found.machines[execution_id] = machine
    return found


async def _is_below(store: StateStore, execution_id: ExecutionID, top: ExecutionID) -> bool:
    """Is it that run, or one that a run below it has started?"""
    current: ExecutionID | None = execution_id
    while current is not None and current != top:
        summary = await store.summary(current)
        is_fork = summary is None or summary.parent_id == summary.fork_of
        current = None if summary is None or is_fork else summary.parent_id
    return current is not None
