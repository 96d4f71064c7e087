"""What can be done to a run now, as far as its state tells."""

from __future__ import annotations

from dipeo_server.api.types.enums import ExecutionAction
from dipeo_server.domains.execution.state import ExecutionView, NodeState
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)

_BY_HAND = frozenset(
    {NodeExecutionStatus.RUNNING, NodeExecutionStatus.WAITING, NodeExecutionStatus.FAILED}
)


def available_actions(view: ExecutionView) -> list[ExecutionAction]:
    """The actions that make sense in this state, in the order of the enum."""
    if view.status.is_terminal:
        return []
    if view.is_ending:
        return [ExecutionAction.ABORT]
    found = {ExecutionAction.ABORT, *_on_nodes(view)}
    if view.status is ExecutionStatus.PAUSED:
        found |= {ExecutionAction.RESUME, *_held(view)}
    else:
        found.add(ExecutionAction.PAUSE)
    return [action for action in ExecutionAction if action in found]


_SETTLED = frozenset({ExecutionAction.SKIP_NODE, ExecutionAction.SET_OUTPUT})


def _held(view: ExecutionView) -> set[ExecutionAction]:
    """What can be done to nodes that the pause may hold back."""
    found: set[ExecutionAction] = set()
    for stood in view.nodes:
        if stood.status is NodeExecutionStatus.PENDING:
            found |= {ExecutionAction.STEP, *_SETTLED}
        elif _waits_for_retry(stood):
            found.add(ExecutionAction.STEP)
    return found - {ExecutionAction.STEP} if view.steps >= view.max_steps else found


def _on_nodes(view: ExecutionView) -> set[ExecutionAction]:
    """What can be done to nodes that have been reached: those that ask a person are decided."""
    asking = {
        record.node_run.node for record in view.barriers if record.status is BarrierStatus.WAITING
    }
    found: set[ExecutionAction] = set()
    for node, stood in zip(view.diagram.nodes, view.nodes, strict=True):
        if node.key in asking:
            continue
        if stood.status in _BY_HAND:
            found |= _SETTLED
        if stood.status is NodeExecutionStatus.FAILED or _waits_for_retry(stood):
            found.add(ExecutionAction.RETRY_NODE)
    return found


def _waits_for_retry(stood: NodeState) -> bool:
    return stood.status is NodeExecutionStatus.WAITING and stood.failure is not None
