"""Which NodeRun a ready node would be."""

from __future__ import annotations

from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import NodeExecutionStatus


def next_run(state: ExecutionState, index: int) -> tuple[NodeRun, int | None]:
    """The NodeRun a ready node would be, and its limit if it has reached that already."""
    node, current = state.diagram.nodes[index], state.nodes[index]
    if current.status is NodeExecutionStatus.PENDING and current.occurrence:
        return NodeRun(node.key, current.occurrence, current.attempt + 1), None
    run = NodeRun(node.key, current.occurrence + 1)
    return run, node.max_iteration if current.executed >= node.max_iteration else None
