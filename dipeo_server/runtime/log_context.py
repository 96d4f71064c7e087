"""What every log line of an execution says, whoever writes it: which execution it is about."""

from __future__ import annotations

from contextvars import Context, copy_context

from structlog.contextvars import bind_contextvars, clear_contextvars

from dipeo_server.domains.execution.ids import ExecutionID


def context_of(execution_id: ExecutionID) -> Context:
    """The context for the tasks of an execution: about it, and not about who asked for it."""
    context = copy_context()
    context.run(_bind, execution_id)
    return context


def _bind(execution_id: ExecutionID) -> None:
    clear_contextvars()
    bind_contextvars(execution_id=execution_id)
