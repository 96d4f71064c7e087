"""What can be done to a run now, as far as its state tells."""

from __future__ import annotations

from dipeo_server.api.types.enums import ExecutionAction
from dipeo_server.domains.execution.state import ExecutionView, WaitKind
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus

_GIVEN_UP = frozenset({ExecutionAction.SKIP_NODE, ExecutionAction.SET_OUTPUT})


def available_actions(view: ExecutionView) -> list[ExecutionAction]:
    """The actions that make sense in this state, in the order of the enum."""
    if view.status.is_terminal:
        return [ExecutionAction.FORK]
    if view.is_ending:
        return [ExecutionAction.ABORT, ExecutionAction.FORK]
    found = {ExecutionAction.ABORT, ExecutionAction.FORK, ExecutionAction.MUTATE, *_on_nodes(view)}
    if view.status is ExecutionStatus.PAUSED:
        found.add(ExecutionAction.RESUME)
        if view.steps < view.max_steps and (view.ready or _retries(view)):
            found.add(ExecutionAction.STEP)
    else:
        found.add(ExecutionAction.PAUSE)
    return [action for action in ExecutionAction if action in found]


def past_actions(view: ExecutionView) -> list[ExecutionAction]:
    """What can be done from an earlier state: nothing changes it, but a run may go on from it."""
    is_over = view.status.is_terminal or view.is_ending
    return [] if is_over else [ExecutionAction.FORK]


def _on_nodes(view: ExecutionView) -> set[ExecutionAction]:
    """What can be done to single nodes; those that ask a person are decided instead."""
    statuses = {stood.status for stood in view.nodes}
    waits = {waiting.kind for waiting in view.waiting.values()}
    has_failed = NodeExecutionStatus.FAILED in statuses
    found: set[ExecutionAction] = set()
    if has_failed or _retries(view):
        found.add(ExecutionAction.RETRY_NODE)
    is_running = NodeExecutionStatus.RUNNING in statuses
    if has_failed or is_running or view.ready or waits - {WaitKind.PERSON}:
        found |= _GIVEN_UP
    return found


def _retries(view: ExecutionView) -> bool:
    return any(waiting.kind is WaitKind.RETRY for waiting in view.waiting.values())
