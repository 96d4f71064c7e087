"""Rules: a waiting NodeRun is decided, or its deadline passes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableDiagram, ExecutableNode
from dipeo_server.domains.execution.barrier import (
    OUTCOME,
    BarrierAlreadyDecided,
    check_answer,
    decision_variable,
)
from dipeo_server.domains.execution.envelope import EnvelopeFactory
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BarrierResolved,
    Event,
    ExecutionStatusChanged,
    Failure,
    NodeCompleted,
    NodeStarted,
    StateChanged,
)
from dipeo_server.domains.execution.machine.outcomes import completed, failed
from dipeo_server.domains.execution.signals import BarrierDecided, TimerFired
from dipeo_server.domains.execution.state import (
    BarrierRecord,
    ExecutionState,
    Waiting,
    WaitKind,
)
from dipeo_server.domains.execution.status import BarrierStatus, ExecutionStatus
from dipeo_server.domains.execution.tokens import SkipReason
from dipeo_server.errors import ExecutionFinished, InvalidInput, InvalidState, NotFound

_APPROVED_PORTS = ("approved", "default")
_PASSING = frozenset({BarrierStatus.APPROVED, BarrierStatus.MODIFIED})


def decided(state: ExecutionState, signal: BarrierDecided, now: datetime) -> tuple[Event, ...]:
    """Somebody decides. Raises NotFound, BarrierAlreadyDecided, InvalidInput, InvalidState."""
    record = state.barriers.get(signal.barrier)
    if record is None:
        message = f"No barrier waits at {signal.barrier.node!r} #{signal.barrier.occurrence}."
        raise NotFound(message)
    if record.status is not BarrierStatus.WAITING:
        raise BarrierAlreadyDecided(record)
    if state.status.is_terminal:
        raise ExecutionFinished(f"The execution has ended: {state.status}.")
    if state.ending is not None:
        raise InvalidState("The execution is being ended, so its barriers are void.")
    if signal.action is BarrierAction.REROUTE or (
        signal.action is BarrierAction.SKIP and record.purpose != "approval"
    ):
        raise InvalidInput(f"This barrier cannot be decided with {signal.action}.")
    check_answer(record, signal.action, signal.answer)
    status = OUTCOME[signal.action]
    resolved = BarrierResolved(
        record.node_run,
        status,
        action=signal.action,
        answer=signal.answer,
        reason=signal.reason,
        decided_by=signal.actor,
    )
    puts = tuple(
        StateChanged(key, value, node_run=record.node_run) for key, value in signal.puts.items()
    )
    return (resolved, *puts, *_outcome(state, record, resolved, now))


def timer_fired(state: ExecutionState, signal: TimerFired, now: datetime) -> tuple[Event, ...]:
    """A deadline passed; it is stale unless exactly this wait is still on."""
    index = state.diagram.index_of.get(signal.node_run.node)
    waiting = state.waiting.get(index) if index is not None else None
    if waiting is None or waiting.node_run != signal.node_run or state.ending is not None:
        return ()
    if waiting.due_at is None or waiting.due_at > now:
        return ()
    match waiting.kind:
        case WaitKind.RETRY:
            return _retry(state, waiting)
        case WaitKind.DELAY:
            return _delay_over(state, waiting)
        case WaitKind.PERSON:
            return _expired(state, waiting, now)


def _retry(state: ExecutionState, waiting: Waiting) -> tuple[Event, ...]:
    if state.is_paused:
        return ()
    if state.steps >= state.max_steps:
        return (ExecutionStatusChanged(state.status, ExecutionStatus.PAUSED, reason="max_steps"),)
    return (NodeStarted(waiting.node_run),)


def _delay_over(state: ExecutionState, waiting: Waiting) -> tuple[Event, ...]:
    node = state.diagram.get_node(waiting.node_run.node)
    envelope = waiting.output or EnvelopeFactory.create(node.key, None)
    return (completed(state, node, waiting.node_run, envelope, waiting.ports),)


def _expired(state: ExecutionState, waiting: Waiting, now: datetime) -> tuple[Event, ...]:
    run = waiting.node_run
    record = state.barriers[run.barrier]
    action = _DEFAULTS.get(record.default_action or "reject", BarrierAction.REJECT)
    resolved = BarrierResolved(
        run,
        BarrierStatus.TIMED_OUT,
        action=action,
        answer=record.default_answer,
        reason="timeout",
    )
    if record.purpose == "answer" and record.default_answer is None:
        node = state.diagram.get_node(run.node)
        failure = Failure("ANSWER_TIMEOUT", "Nobody answered in time.", node.key)
        return (resolved, *failed(state, node, run, failure, now, may_retry=False))
    return (resolved, *_outcome(state, record, resolved, now))


_DEFAULTS: Mapping[str, BarrierAction] = {
    "approve": BarrierAction.APPROVE,
    "answer": BarrierAction.APPROVE,
    "reject": BarrierAction.REJECT,
    "skip": BarrierAction.SKIP,
}


def _outcome(
    state: ExecutionState, record: BarrierRecord, resolved: BarrierResolved, now: datetime
) -> tuple[Event, ...]:
    """What follows for the NodeRun. TIMED_OUT means what its default action means."""
    status = OUTCOME[BarrierAction(resolved.action)] if resolved.action else resolved.status
    node = state.diagram.get_node(record.id.node)
    if record.purpose == "rerun":
        return _rerun(state, node, record, resolved, status, now)
    changed: tuple[StateChanged, ...] = ()
    if record.variable:
        value = decision_variable(status, resolved.reason, resolved.answer)
        changed = (StateChanged(record.variable, value, node_run=record.node_run),)
    return (*changed, *_end(state, record, resolved, status, changed, now))


def _end(
    state: ExecutionState,
    record: BarrierRecord,
    resolved: BarrierResolved,
    status: BarrierStatus,
    changed: tuple[StateChanged, ...],
    now: datetime,
) -> tuple[Event, ...]:
    node = state.diagram.get_node(record.id.node)
    body: Any = {
        "decision": status.value,
        "reason": resolved.reason,
        "answer": resolved.answer,
        "decided_by": resolved.decided_by,
    }
    if record.purpose == "answer":
        body = resolved.answer
    run = record.node_run
    envelope = EnvelopeFactory.create(run.node, body, occurrence=run.occurrence, timestamp=now)
    ports = _ports(state.diagram, node, record, status)
    if ports:
        return (completed(state, node, run, envelope, ports, changed=changed),)
    if status is BarrierStatus.REJECTED:
        why = f": {resolved.reason}" if resolved.reason else "."
        failure = Failure("BARRIER_REJECTED", f"{node.key!r} was rejected{why}", node.key)
        return failed(state, node, run, failure, now, may_retry=False)
    return (NodeCompleted(run, envelope, (), skip_reason=SkipReason.BARRIER_SKIPPED),)


def _ports(
    diagram: ExecutableDiagram, node: ExecutableNode, record: BarrierRecord, status: BarrierStatus
) -> tuple[str, ...]:
    """Which ports the decision fires; none where a rejection or a skip has no edge of its own."""
    if status in _PASSING:
        return _APPROVED_PORTS
    port = "rejected" if status is BarrierStatus.REJECTED else "skipped"
    if _has_edge(diagram, node, port):
        return (port,)
    bypasses = status is BarrierStatus.SKIPPED and record.bypass_on_skip
    return _APPROVED_PORTS if bypasses else ()


def _rerun(
    state: ExecutionState,
    node: ExecutableNode,
    record: BarrierRecord,
    resolved: BarrierResolved,
    status: BarrierStatus,
    now: datetime,
) -> tuple[Event, ...]:
    run = record.node_run
    if status is BarrierStatus.APPROVED:
        return ()  # The fold of the decision makes the node ready for its next attempt.
    if status is BarrierStatus.MODIFIED:
        envelope = EnvelopeFactory.create(
            run.node, resolved.answer, occurrence=run.occurrence, timestamp=now
        )
        return (completed(state, node, run, envelope, ("default",)),)
    message = f"{node.key!r} was interrupted by a restart, and running it again was rejected."
    failure = Failure("BARRIER_REJECTED", message, node.key)
    return failed(state, node, run, failure, now, may_retry=False)


def _has_edge(diagram: ExecutableDiagram, node: ExecutableNode, port: str) -> bool:
    return any(diagram.edges[index].source_handle == port for index in node.outgoing)
