"""How far a state is: whole, being made, or failed; and what its operations do meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from dipeo_server.domains.execution.events import Failure
from dipeo_server.executors.execution_state import ExecutionState


class OperationExecutionStatus(StrEnum):
    """What an operation does; LONG_RUNNING is one whose cell says that it is."""

    RUNNING = "RUNNING"
    LONG_RUNNING = "LONG_RUNNING"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class OperationExecutionEvent:
    """That an operation has this status now, in the run that makes that state."""

    state_id: UUID
    operation_id: int
    status: OperationExecutionStatus


class FutureExecutionState:
    """A state that will exist: awaiting it gives it, or None if what makes it has gone away."""

    def __init__(
        self, state_id: UUID, wait: Callable[[UUID], Awaitable[ExecutionState | None]]
    ) -> None:
        self.id = state_id
        self._wait = wait

    def __await__(self) -> Generator[Any, None, ExecutionState | None]:
        return self._wait(self.id).__await__()

    def __repr__(self) -> str:
        return f"FutureExecutionState({self.id})"


class EvaluationKind(StrEnum):
    """How far a state is."""

    COMPLETE = "COMPLETE"
    EXECUTING = "EXECUTING"
    ERROR = "ERROR"
    EVAL_FAILURE = "EVAL_FAILURE"


@dataclass(frozen=True, slots=True)
class ExecutionStateEvaluation:
    """A state, as far as it is.

    COMPLETE has `state`. EXECUTING has `future`, which becomes the state. ERROR is a state whose
    operation failed: it has `state` and `failure`. EVAL_FAILURE could not be made: its run ended
    meanwhile, and `failure` says how.
    """

    kind: EvaluationKind
    id: UUID
    state: ExecutionState | None = None
    future: FutureExecutionState | None = None
    failure: Failure | None = None
