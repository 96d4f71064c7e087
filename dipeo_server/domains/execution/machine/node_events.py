"""What happens to nodes, as changes of the state: the node half of `evolve`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableNode
from dipeo_server.domains.execution.events import (
    BarrierResolved,
    BarrierWaiting,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeOutputSet,
    NodeReported,
    NodeRetryScheduled,
    NodeSkipped,
)
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine import reopening, turns, visits
from dipeo_server.domains.execution.output import NO_TOKENS
from dipeo_server.domains.execution.routing import tokens_for
from dipeo_server.domains.execution.state import (
    BarrierRecord,
    Emission,
    ExecutionState,
    NodeState,
    TurnEnd,
    Waiting,
    WaitKind,
)
from dipeo_server.domains.execution.status import (
    NODE_TRANSITIONS,
    BarrierStatus,
    NodeExecutionStatus,
)
from dipeo_server.domains.execution.tokens import FAILED, NOT_TAKEN, Token, dead

_N = NodeExecutionStatus


def _move(state: ExecutionState, index: int, status: NodeExecutionStatus, **changes: Any) -> None:
    """Give the node another status, and more."""
    state.nodes[index] = replace(_before(state, index, status), status=status, **changes)


def _before(state: ExecutionState, index: int, status: NodeExecutionStatus) -> NodeState:
    """The node as it stands; the status it moves to is held against the table."""
    current = state.nodes[index]
    if status not in NODE_TRANSITIONS[current.status]:
        key = state.diagram.nodes[index].key
        raise AssertionError(f"node {key!r} cannot go from {current.status} to {status}")
    return current


def started(state: ExecutionState, run: NodeRun, at: datetime) -> None:
    """A visit began."""
    node = state.diagram.get_node(run.node)
    is_new = run.occurrence > state.nodes[node.index].occurrence
    if is_new:
        state.tries[node.index] = 0
        state.executed[node.key] = state.executed.get(node.key, 0) + 1
        turns.mark_executed(state, node)
    state.steps += 1
    state.ready.pop(node.index, None)
    state.initial.pop(node.index, None)
    state.waiting.pop(node.index, None)
    state.running[node.index] = run
    state.touched.add(node.index)
    current = _before(state, node.index, _N.RUNNING)
    state.nodes[node.index] = NodeState(
        _N.RUNNING,
        run.occurrence,
        run.attempt,
        current.executed + is_new,
        current.entries + 1,
        started_at=at,
        output=current.output,
    )


def completed(state: ExecutionState, event: NodeCompleted, at: datetime) -> None:
    """A visit ended well: its output goes out on its edges."""
    node = state.diagram.get_node(event.node_run.node)
    _leave(state, node.index)
    current = _before(state, node.index, _N.COMPLETED)
    state.nodes[node.index] = NodeState(
        _N.COMPLETED,
        current.occurrence,
        current.attempt,
        current.executed,
        current.entries,
        current.started_at,
        at,
        skip_reason=current.skip_reason,
        token_usage=event.token_usage,
        output=event.output,
    )
    state.outputs[node.key] = event.output
    if event.token_usage is not NO_TOKENS:
        state.token_usage += event.token_usage
    if event.messages:
        state.conversation = (*state.conversation, *event.messages)
    otherwise = NOT_TAKEN if event.skip_reason is None else dead(event.skip_reason)
    _emit(state, node, Emission(event.output, event.ports, event.edges, otherwise))


def failed(state: ExecutionState, event: NodeFailed, at: datetime) -> None:
    """A visit ended badly: a retry follows, a policy takes it, or failed tokens go out."""
    node = state.diagram.get_node(event.node_run.node)
    _leave(state, node.index)
    _move(
        state,
        node.index,
        _N.FAILED,
        ended_at=at,
        failure=event.failure,
        token_usage=event.token_usage,
        output=event.output or state.nodes[node.index].output,
    )
    state.token_usage += event.token_usage
    state.tries[node.index] = state.tries.get(node.index, 0) + 1
    if event.will_retry:
        return
    if event.handled is None:
        state.failures.append(event.failure)
        state.turns[node.index].end = TurnEnd.FAILED
        _emit(state, node, Emission(None, (), None, FAILED))
        return
    if event.output is not None:
        state.outputs[node.key] = event.output
    _emit(state, node, Emission(event.output, event.ports, event.edges, NOT_TAKEN))


def output_set(state: ExecutionState, event: NodeOutputSet, at: datetime) -> None:
    """A visit has a result without having run, or instead of what it came to."""
    node = state.diagram.get_node(event.node_run.node)
    state.ready.pop(node.index, None)
    state.initial.pop(node.index, None)
    _leave(state, node.index)
    _take_back_failure(state, node)
    if event.node_run.occurrence > state.nodes[node.index].occurrence:
        state.tries[node.index] = 0
        turns.mark_executed(state, node)
    _move(
        state,
        node.index,
        _N.COMPLETED,
        occurrence=event.node_run.occurrence,
        attempt=event.node_run.attempt,
        ended_at=at,
        failure=None,
        output=event.output,
    )
    state.outputs[node.key] = event.output
    _emit(state, node, Emission(event.output, event.ports, event.edges, NOT_TAKEN))


def interrupted(state: ExecutionState, event: NodeInterrupted, at: datetime) -> None:
    """A visit was stopped from outside."""
    node = state.diagram.get_node(event.node_run.node)
    _leave(state, node.index)
    if event.will_rerun:
        _move(state, node.index, _N.PENDING)
        state.ready[node.index] = None
        return
    _move(state, node.index, _N.ABORTED, ended_at=at)


def skipped(state: ExecutionState, event: NodeSkipped, at: datetime) -> None:
    """The node does not run in this turn; its edges get dead tokens."""
    node = state.diagram.get_node(event.node)
    if state.skips.pop(node.index, None) is None:
        _skipped_by_hand(state, node, event.reason, at)
    elif state.nodes[node.index].occurrence == 0:
        _move(state, node.index, _N.SKIPPED, skip_reason=event.reason)
    if node.block is not None:
        turns.send(state, node, dict.fromkeys(node.outgoing, dead(event.reason)))


def _skipped_by_hand(
    state: ExecutionState, node: ExecutableNode, reason: str, at: datetime
) -> None:
    """It was ready, or its visit had begun and is over with that."""
    was_begun = visits.has_begun(state, node.index)
    state.ready.pop(node.index, None)
    _leave(state, node.index)
    _take_back_failure(state, node)
    if was_begun:
        _move(state, node.index, _N.SKIPPED, ended_at=at, failure=None, skip_reason=reason)
        state.emissions[node.index] = Emission(None, (), None, dead(reason))
    elif state.nodes[node.index].occurrence == 0:
        _move(state, node.index, _N.SKIPPED, skip_reason=reason)


def _take_back_failure(state: ExecutionState, node: ExecutableNode) -> None:
    if state.turns[node.index].end is TurnEnd.FAILED:
        reopening.take_back(state, node)


def retry_scheduled(state: ExecutionState, event: NodeRetryScheduled) -> None:
    """The visit waits for its next attempt, or for another time; a failure is taken back."""
    node = state.diagram.get_node(event.node_run.node)
    waiting = Waiting(event.node_run, WaitKind.RETRY, event.due_at)
    if node.index in state.waiting:
        state.waiting[node.index] = waiting
        state.touched.add(node.index)
        return
    _take_back_failure(state, node)
    wait(state, waiting)


def reached_limit(state: ExecutionState, run: NodeRun, at: datetime) -> None:
    """A node at its limit puts out again what it put out last."""
    node = state.diagram.get_node(run.node)
    state.ready.pop(node.index, None)
    _move(
        state,
        node.index,
        _N.MAXITER_REACHED,
        occurrence=run.occurrence,
        attempt=run.attempt,
        started_at=at,
        ended_at=at,
    )
    last = state.emissions[node.index]
    envelope = last.envelope.with_meta(maxiter=True) if last.envelope else None
    _send(state, node, replace(last, envelope=envelope))


def _leave(state: ExecutionState, index: int) -> None:
    """The NodeRun runs and waits no more."""
    state.running.pop(index, None)
    state.waiting.pop(index, None)
    state.early.pop(index, None)
    state.touched.add(index)


def _emit(state: ExecutionState, node: ExecutableNode, emission: Emission) -> None:
    state.emissions[node.index] = emission
    _send(state, node, emission)


def _send(state: ExecutionState, node: ExecutableNode, emission: Emission) -> None:
    tokens: dict[int, Token] = tokens_for(state.diagram, node, emission)
    turns.send(state, node, tokens)


def wait(state: ExecutionState, waiting: Waiting) -> None:
    """The visit runs no more, and waits."""
    index = state.diagram.index_of[waiting.node_run.node]
    state.running.pop(index, None)
    state.waiting[index] = waiting
    state.touched.add(index)
    current = state.nodes[index]
    # A retry has its failed attempt behind it; in a fork who waits is told so again.
    if current.status in (_N.FAILED, _N.WAITING):
        state.nodes[index] = replace(current, status=_N.WAITING)
    else:
        _move(state, index, _N.WAITING)


def reported(state: ExecutionState, event: NodeReported) -> None:
    """A running visit told its result early, or waits for a time."""
    index = state.diagram.index_of[event.node_run.node]
    if event.status is _N.WAITING:
        kind = WaitKind.DELAY
        wait(state, Waiting(event.node_run, kind, event.due_at, event.output, event.ports))
    elif event.output is not None:
        state.early[index] = (event.output, event.ports)


def barrier_opened(state: ExecutionState, event: BarrierWaiting, at: datetime) -> None:
    """A person is asked."""
    run = event.node_run
    barrier = run.barrier
    state.barriers[barrier] = BarrierRecord(
        id=barrier,
        node_run=run,
        purpose=event.purpose,
        status=BarrierStatus.WAITING,
        prompt=event.prompt,
        waiting_since=at,
        answer_schema=event.answer_schema,
        expires_at=event.expires_at,
        default_action=event.default_action,
        default_answer=event.default_answer,
        variable=event.variable,
        bypass_on_skip=event.bypass_on_skip,
    )
    wait(state, Waiting(run, WaitKind.PERSON, event.expires_at))


def barrier_closed(state: ExecutionState, event: BarrierResolved, at: datetime) -> None:
    """The barrier has its one decision."""
    run = event.node_run
    barrier = run.barrier
    record = state.barriers[barrier]
    state.barriers[barrier] = replace(
        record,
        status=event.status,
        decided_at=at,
        decided_by=event.decided_by,
        reason=event.reason,
        action=event.action,
    )
    if record.purpose == "rerun" and event.status is BarrierStatus.APPROVED:
        index = state.diagram.index_of[run.node]
        state.waiting.pop(index, None)
        state.touched.add(index)
        _move(state, index, _N.PENDING)
        state.ready[index] = None
