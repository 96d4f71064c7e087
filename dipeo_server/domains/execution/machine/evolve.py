"""(state, event) → state: one case per event. It cannot refuse: what is in the log has happened.

The state is updated in place and given back. The cost of an event depends on the edges of its
node, never on the size of the diagram or the length of the log.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from dipeo_server.domains.diagram.executable import ExecutableNode
from dipeo_server.domains.execution.events import (
    BarrierResolved,
    BarrierWaiting,
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionStarted,
    ExecutionStatusChanged,
    Failure,
    LimitRaised,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeMaxIterationsReached,
    NodeReported,
    NodeRetryScheduled,
    NodeSkipped,
    NodeStarted,
    ObservedError,
    Recorded,
    ResultDiscarded,
    RunnerRestarted,
    StateChanged,
)
from dipeo_server.domains.execution.machine import node_events, turns
from dipeo_server.domains.execution.state import (
    ExecutionState,
    VariableWrite,
    Waiting,
    WaitKind,
)
from dipeo_server.domains.execution.status import (
    EXECUTION_TRANSITIONS,
    ExecutionStatus,
)


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
        diagram_id=event.diagram_id,
        revision=event.revision,
        max_steps=event.max_steps,
        error_strategy=event.error_strategy,
        durability=event.durability,
        variables=dict(event.variables),
    )
    turns.lay_out(state)
    state.last_seq, state.last_at = recorded.seq, recorded.at
    return state


def evolve(  # noqa: C901 - one case per event, each a single call.
    state: ExecutionState, recorded: Recorded
) -> ExecutionState:
    """The state behind this event."""
    state.last_seq, state.last_at = recorded.seq, recorded.at
    event = recorded.event
    match event:
        case NodeStarted() | NodeCompleted() | NodeFailed() | NodeInterrupted() | NodeSkipped():
            _evolve_end_or_start(state, event, recorded.at)
        case NodeMaxIterationsReached(node_run=run):
            node_events.reached_limit(state, run, recorded.at)
        case NodeRetryScheduled(node_run=run, due_at=due_at):
            node_events.wait(state, Waiting(run, WaitKind.RETRY, due_at))
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
        case LimitRaised(max_steps=limit):
            state.max_steps = limit
        case ResultDiscarded() | RunnerRestarted():
            pass
        case ExecutionStatusChanged():
            _status_changed(state, event)
        case ExecutionCompleted():
            _end(state, ExecutionStatus.COMPLETED, None, recorded.at)
        case ExecutionFailed(failure=failure):
            _end(state, ExecutionStatus.FAILED, failure, recorded.at)
        case ExecutionAborted():
            _end(state, ExecutionStatus.ABORTED, None, recorded.at)
        case ExecutionStarted():
            raise AssertionError("an execution starts once")
        case _ as unreachable:
            assert_never(unreachable)
    return state


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
        case NodeFailed():
            node_events.failed(state, event, at)
        case NodeInterrupted():
            node_events.interrupted(state, event, at)
        case NodeSkipped(node=key, reason=reason):
            node_events.skipped(state, state.diagram.get_node(key), reason)
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


def _status_changed(state: ExecutionState, event: ExecutionStatusChanged) -> None:
    if event.ending is not None:
        state.ending = event.ending
        state.ending_reason, state.ending_actor = event.reason, event.actor
        state.touched.update(state.running, state.waiting)
        return
    _check_execution_move(state, event.after)
    state.status = event.after
    state.pause_reason = event.reason if event.after is ExecutionStatus.PAUSED else None
    # A pause holds back due retries; leaving it lets their timers run again.
    state.touched.update(state.waiting)


def _check_execution_move(state: ExecutionState, after: ExecutionStatus) -> None:
    if after not in EXECUTION_TRANSITIONS[state.status]:
        raise AssertionError(f"an execution cannot go from {state.status} to {after}")


def _end(
    state: ExecutionState, status: ExecutionStatus, error: Failure | None, at: datetime
) -> None:
    _check_execution_move(state, status)
    state.status = status
    state.error = error
    state.ended_at = at
    state.touched.update(state.running, state.waiting)
