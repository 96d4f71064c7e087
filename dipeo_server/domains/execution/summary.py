"""The one row per execution that lists are answered from, as a function of the state."""

from __future__ import annotations

from dipeo_server.domains.execution.ports import ExecutionSummary
from dipeo_server.domains.execution.state import ExecutionState, WaitKind
from dipeo_server.domains.execution.status import ExecutionStatus


def summary_of(state: ExecutionState) -> ExecutionSummary:
    """The execution's row, as its state has it now."""
    error = state.error
    return ExecutionSummary(
        id=state.id,
        status=state.status,
        last_seq=state.last_seq,
        name=state.diagram.name,
        diagram_id=state.diagram_id,
        content_hash=state.diagram.content_hash,
        parent_id=state.parent_id,
        created_at=state.created_at,
        started_at=None if state.status is ExecutionStatus.PENDING else state.created_at,
        ended_at=state.ended_at,
        token_usage=state.token_usage,
        error={"code": error.code, "message": error.message, "node": error.node} if error else None,
        fork_of=state.fork_of,
        forked_at=state.forked_at,
        waiting_barriers=sum(
            1 for waiting in state.waiting.values() if waiting.kind is WaitKind.PERSON
        ),
    )
