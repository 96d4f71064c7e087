"""Which NodeRun a ready node would be, and whether one has begun."""

from __future__ import annotations

from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.state import ExecutionState, TurnEnd
from dipeo_server.domains.execution.status import NodeExecutionStatus


def next_run(state: ExecutionState, index: int) -> tuple[NodeRun, int | None]:
    """The NodeRun a ready node would be, and its limit if it has reached that already."""
    node, current = state.diagram.nodes[index], state.nodes[index]
    if current.status is NodeExecutionStatus.PENDING and current.occurrence:
        return NodeRun(node.key, current.occurrence, current.attempt + 1), None
    run = NodeRun(node.key, current.occurrence + 1)
    return run, node.max_iteration if current.executed >= node.max_iteration else None


def has_begun(state: ExecutionState, index: int) -> bool:
    """Is there a visit of the node that has begun and has not ended, or failed unhandled?

    An interrupted visit that is to run again is one.
    """
    if index in state.running or index in state.waiting:
        return True
    if state.turns[index].end is TurnEnd.FAILED:
        return True
    current = state.nodes[index]
    is_interrupted = current.status is NodeExecutionStatus.PENDING and current.occurrence > 0
    return is_interrupted and index in state.ready
