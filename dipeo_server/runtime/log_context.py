"""What every log line of an execution says, whoever writes it: which execution, which visit."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context, copy_context

from structlog.contextvars import bind_contextvars, clear_contextvars

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.state import ExecutionState


def context_of(execution_id: ExecutionID) -> Context:
    """The context for the tasks of an execution: about it, and not about who asked for it."""
    context = copy_context()
    context.run(_bind, execution_id)
    return context


def _bind(execution_id: ExecutionID) -> None:
    clear_contextvars()
    bind_contextvars(execution_id=execution_id)


class VisitsInLogs:
    """An observer that lets whatever is logged while a handler runs say for which visit."""

    def took_over(self, state: ExecutionState) -> None:
        """Nothing."""

    def saw(self, execution_id: ExecutionID, events: Sequence[Recorded]) -> None:
        """Nothing."""

    def entering(self, execution_id: ExecutionID, run: NodeRun) -> None:
        """From now on this task is about the visit."""
        visit = {"node": run.node, "occurrence": run.occurrence, "attempt": run.attempt}
        bind_contextvars(execution_id=execution_id, **visit)

    def appended(self, seconds: float) -> None:
        """Nothing."""
