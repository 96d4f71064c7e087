"""Rules: when a run's state is kept, and what that changes in the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, get_args

from dipeo_server.domains.diagram.executable import ExecutableNode
from dipeo_server.domains.execution.checkpoint import (
    COMPLETE,
    CheckpointFailurePolicy,
    CheckpointScore,
    CheckpointTrigger,
)
from dipeo_server.domains.execution.events import (
    TERMINAL,
    BarrierResolved,
    CheckpointFailed,
    CheckpointSaved,
    Event,
    ExecutionStatusChanged,
    Failure,
    NodeCompleted,
    NodeFailed,
    NodeMaxIterationsReached,
    NodeOutputSet,
    NodeSkipped,
    PauseCause,
    Recorded,
)
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.signals import (
    CheckpointRequested,
    PersonSignal,
    ResumeRequested,
    Signal,
)
from dipeo_server.domains.execution.state import ExecutionState, NodeState
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import ExecutionFinished

FAILED_CODE: Final = "CHECKPOINT_FAILED"
"""The failure of a run whose checkpoint could not be taken, where that is one."""

_STEPS: Final = (
    NodeCompleted,
    NodeFailed,
    NodeSkipped,
    NodeMaxIterationsReached,
    NodeOutputSet,
)
_OF_PEOPLE: Final = tuple(set(get_args(PersonSignal)) - {CheckpointRequested})


@dataclass(frozen=True, slots=True)
class NodeCost:
    """What a visit took and what would be lost with it; `token_cost` is in thousands of tokens."""

    duration_ms: float
    token_cost: float
    has_side_effects: bool

    def weighed(self, score: CheckpointScore) -> float:
        """How much it weighs for ADAPTIVE."""
        return (
            score.per_millisecond * self.duration_ms
            + score.per_thousand_tokens * self.token_cost
            + score.per_effect * self.has_side_effects
        )


def cost_of(node: ExecutableNode, state: NodeState) -> NodeCost:
    """What the last visit of a node took; nothing of one that has not ended."""
    if state.started_at is None or state.ended_at is None:
        return NodeCost(0.0, 0.0, has_side_effects=False)
    usage = state.token_usage
    return NodeCost(
        (state.ended_at - state.started_at).total_seconds() * 1_000,
        0.0 if usage is None else usage.total / 1_000,
        has_side_effects=not node.is_pure,
    )


# --- what events change -------------------------------------------------------------------------


def spent(state: ExecutionState, run: NodeRun) -> None:
    """A visit has ended, and would have to be done again."""
    if CheckpointTrigger.ADAPTIVE in state.checkpoint_policy:
        node = state.diagram.get_node(run.node)
        cost = cost_of(node, state.nodes[node.index])
        state.unsaved += cost.weighed(state.checkpointing.score)


def told(state: ExecutionState, event: CheckpointSaved | CheckpointFailed) -> None:
    """A checkpoint was taken; one that failed is not tried again at once."""
    state.unsaved = 0.0
    if isinstance(event, CheckpointSaved):
        state.checkpoint_at = event.at
    elif state.ending is None:
        _failed(state, event.message)


def _failed(state: ExecutionState, message: str) -> None:
    match state.checkpointing.on_failure:
        case CheckpointFailurePolicy.PAUSE if not state.is_paused:
            state.unkept = message
        case CheckpointFailurePolicy.FAIL if not any(map(is_of_checkpoint, state.failures)):
            state.failures.append(Failure(FAILED_CODE, message))  # Once, however many follow.


def is_of_checkpoint(failure: Failure) -> bool:
    """Is it that of a checkpoint, and of no node?"""
    return failure.node is None and failure.code == FAILED_CODE


# --- what follows from one that failed ----------------------------------------------------------


def hold(state: ExecutionState) -> tuple[Event, ...]:
    """The run waits for somebody where a state that should have been kept was not."""
    if state.unkept is None:
        return ()
    paused, cause = ExecutionStatus.PAUSED, PauseCause.CHECKPOINT
    return (ExecutionStatusChanged(state.status, paused, reason=state.unkept, cause=cause),)


# --- when one is taken --------------------------------------------------------------------------


def requested(state: ExecutionState) -> tuple[Event, ...]:
    """Somebody wants one: nothing but that follows. Raises ExecutionFinished."""
    if state.status.is_terminal:
        message = f"The execution has ended: {state.status}. Its log does not grow any more."
        raise ExecutionFinished(message, hint="Its state can be read at every sequence as it is.")
    return ()


def is_saved(state: ExecutionState) -> bool:
    """Has nothing happened since the last checkpoint but that it was told?"""
    return state.checkpoint_at is not None and state.last_seq == state.checkpoint_at + 1


def due(
    state: ExecutionState, signal: Signal, told_of: Sequence[Recorded], then: Event | None = None
) -> CheckpointTrigger | None:
    """What a checkpoint is to be taken for, if one is; `told_of` is what the signal has led to.

    The state has come to rest, or else `then` comes next, and is the last.
    """
    policy = state.checkpoint_policy
    if isinstance(then, TERMINAL) and CheckpointTrigger.EXECUTION_COMPLETED in policy:
        return CheckpointTrigger.EXECUTION_COMPLETED
    if isinstance(signal, CheckpointRequested):
        return None if is_saved(state) else CheckpointTrigger.ON_REQUEST
    for trigger in policy:
        rule = _RULES.get(trigger)
        if rule is not None and told_of and rule(state, signal, told_of):
            return trigger
    return None


def _barrier_resolved(_: ExecutionState, __: Signal, told_of: Sequence[Recorded]) -> bool:
    return any(isinstance(each.event, BarrierResolved) for each in told_of)


def _human_decision(state: ExecutionState, signal: Signal, __: Sequence[Recorded]) -> bool:
    is_pausing = state.checkpointing.on_failure is CheckpointFailurePolicy.PAUSE
    if is_pausing and isinstance(signal, ResumeRequested):
        return False  # It would fail as the last one did, and hold the run at once.
    return isinstance(signal, _OF_PEOPLE) and not getattr(signal, "is_by_parent", False)


def _adaptive(state: ExecutionState, _: Signal, __: Sequence[Recorded]) -> bool:
    return state.unsaved >= state.checkpointing.score.threshold


def _every_step(_: ExecutionState, __: Signal, told_of: Sequence[Recorded]) -> bool:
    return any(isinstance(each.event, _STEPS) for each in told_of)


_Rule: TypeAlias = Callable[[ExecutionState, Signal, Sequence[Recorded]], bool]

_RULES: Final[Mapping[CheckpointTrigger, _Rule]] = {
    CheckpointTrigger.BARRIER_RESOLVED: _barrier_resolved,
    CheckpointTrigger.HUMAN_DECISION: _human_decision,
    CheckpointTrigger.ADAPTIVE: _adaptive,
    CheckpointTrigger.EVERY_STEP: _every_step,
}


def next_node(state: ExecutionState, then: Event | None) -> str | None:
    """The key of what goes on from here; None where nothing runs, waits or is ready."""
    if isinstance(then, TERMINAL):
        return COMPLETE
    for held in (state.running, state.ready, state.waiting):
        for index in held:
            return state.diagram.nodes[index].key
    return None
