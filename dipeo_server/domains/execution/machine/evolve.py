"""(state, event) → state: one case per event. It cannot refuse: what is in the log has happened.

The state is updated in place and given back. The cost of an event depends on the edges of its
node, never on the size of the diagram or the length of the log.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from dipeo_server.domains.diagram.executable import ExecutableNode
from dipeo_server.domains.execution.events import (
    BarrierResolved,
    BarrierWaiting,
    BranchCompleted,
    BreakpointHit,
    BreakpointsChanged,
    CheckpointFailed,
    CheckpointSaved,
    DiagramMutated,
    EarlyDecisionChanged,
    Event,
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionForked,
    ExecutionStarted,
    ExecutionStatusChanged,
    LimitRaised,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeMaxIterationsReached,
    NodeOutputSet,
    NodeReported,
    NodeRetryScheduled,
    NodeSkipped,
    NodeStarted,
    ObservedError,
    ParallelCompleted,
    ParallelStarted,
    Recorded,
    ResultDiscarded,
    RunnerRestarted,
    StateChanged,
)
from dipeo_server.domains.execution.machine import (
    checkpoints,
    fork_events,
    node_events,
    regraphing,
    steering_events,
    turns,
)
from dipeo_server.domains.execution.state import (
    ExecutionState,
    VariableWrite,
)
from dipeo_server.domains.execution.status import ExecutionStatus


def begin(recorded: Recorded) -> ExecutionState:
    """The state behind the first event of a log, which must be ExecutionStarted."""
    event = recorded.event
    if not isinstance(event, ExecutionStarted):
        raise TypeError(f"a log begins with ExecutionStarted, not {type(event).__name__}")
    state = ExecutionState(
        id=event.execution_id,
        diagram=event.diagram,
        created_at=recorded.at,
        actor=event.actor,
        parent_id=event.parent_id,
        parent=event.parent,
        key=event.key,
        checkpoint_policy=event.checkpoints,
        checkpointing=event.checkpointing,
        diagram_id=event.diagram_id,
        revision=event.revision,
        max_steps=event.max_steps,
        error_strategy=event.error_strategy,
        durability=event.durability,
        variables=dict(event.variables),
        breakpoints=event.breakpoints,
        budget=event.budget,
    )
    for key, given in event.initial.items():
        state.initial[event.diagram.index_of[key]] = given
    turns.lay_out(state)
    state.last_seq, state.last_at = recorded.seq, recorded.at
    return state


def evolve(  # noqa: C901 - one case per event, each a single call.
    state: ExecutionState, recorded: Recorded
) -> ExecutionState:
    """The state behind this event."""
    state.last_seq, state.last_at = recorded.seq, recorded.at
    event = _placed(recorded)
    match event:
        case NodeStarted() | NodeCompleted() | NodeFailed() | NodeInterrupted() | NodeSkipped():
            _evolve_end_or_start(state, event, recorded.at)
        case NodeMaxIterationsReached(node_run=run):
            node_events.reached_limit(state, run, recorded.at)
        case NodeRetryScheduled():
            node_events.retry_scheduled(state, event)
        case NodeReported():
            node_events.reported(state, event)
        case BarrierWaiting():
            node_events.barrier_opened(state, event, recorded.at)
        case BarrierResolved():
            node_events.barrier_closed(state, event, recorded.at)
        case StateChanged():
            _variable_changed(state, event)
        case ObservedError(failure=failure):
            state.observed_errors += 1
            if failure in state.notices:
                state.notices.remove(failure)
        case NodeOutputSet(reason="override"):
            fork_events.output_replaced(state, event)
        case NodeOutputSet():
            node_events.output_set(state, event, recorded.at)
        case LimitRaised():
            steering_events.limit_raised(state, event)
        case DiagramMutated():
            regraphing.mutated(state, event)
        case EarlyDecisionChanged():
            steering_events.early_decision_changed(state, event)
        case BreakpointsChanged() | BreakpointHit():
            steering_events.breakpoint_changed(state, event)
        case ParallelStarted() | BranchCompleted() | ParallelCompleted():
            pass
        case ResultDiscarded() | RunnerRestarted():
            pass
        case ExecutionStatusChanged():
            steering_events.status_changed(state, event, recorded.at)
        case ExecutionCompleted() | ExecutionFailed() | ExecutionAborted():
            _end(state, event, recorded.at)
        case CheckpointSaved() | CheckpointFailed():
            checkpoints.told(state, event)
        case ExecutionForked():
            fork_events.forked(state, event, recorded.at)
        case ExecutionStarted():
            raise AssertionError("an execution starts once")
        case _ as unreachable:
            assert_never(unreachable)
    return state


def _placed(recorded: Recorded) -> Event:
    """The event; its envelope knows that it came with this one."""
    event = recorded.event
    if not isinstance(event, NodeCompleted | NodeFailed | NodeReported | NodeOutputSet):
        return event
    if event.output is None:
        return event
    return replace(event, output=event.output.told_by(recorded.seq))


def _evolve_end_or_start(
    state: ExecutionState,
    event: NodeStarted | NodeCompleted | NodeFailed | NodeInterrupted | NodeSkipped,
    at: datetime,
) -> None:
    match event:
        case NodeStarted(node_run=run):
            node_events.started(state, run, at)
        case NodeCompleted():
            node_events.completed(state, event, at)
            checkpoints.spent(state, event.node_run)
        case NodeFailed():
            node_events.failed(state, event, at)
            checkpoints.spent(state, event.node_run)
        case NodeInterrupted():
            node_events.interrupted(state, event, at)
        case NodeSkipped():
            node_events.skipped(state, event, at)
        case _ as unreachable:
            assert_never(unreachable)


def _end(
    state: ExecutionState,
    event: ExecutionCompleted | ExecutionFailed | ExecutionAborted,
    at: datetime,
) -> None:
    match event:
        case ExecutionCompleted():
            steering_events.ended(state, ExecutionStatus.COMPLETED, None, at)
        case ExecutionFailed(failure=failure):
            steering_events.ended(state, ExecutionStatus.FAILED, failure, at)
        case ExecutionAborted():
            steering_events.ended(state, ExecutionStatus.ABORTED, None, at)
        case _ as unreachable:
            assert_never(unreachable)


def _variable_changed(state: ExecutionState, event: StateChanged) -> None:
    if event.is_deleted:
        state.variables = {key: value for key, value in state.variables.items() if key != event.key}
    else:
        state.variables = {**state.variables, event.key: event.value}
    if event.node_run is not None:
        node = state.diagram.get_node(event.node_run.node)
        state.writes[event.key] = VariableWrite(node.index, serials(state, node))


def serials(state: ExecutionState, node: ExecutableNode) -> tuple[tuple[int, int], ...]:
    """Which turns of the blocks around a node it is in: (block, serial), innermost first."""
    found: list[tuple[int, int]] = []
    block = node.block
    while block is not None:
        found.append((block, state.blocks[block].serial))
        block = state.diagram.blocks[block].parent
    return tuple(found)
