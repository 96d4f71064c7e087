"""Rules: a waiting NodeRun is decided, or its deadline passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableNode
from dipeo_server.domains.execution.barrier import (
    OUTCOME,
    BarrierAlreadyDecided,
    Decision,
    answer_misfit,
    check_answer,
    check_decision,
    decision_variable,
    rerouted_edge,
)
from dipeo_server.domains.execution.envelope import Envelope, EnvelopeFactory
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
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine.failures import failed
from dipeo_server.domains.execution.machine.limits import exceeded
from dipeo_server.domains.execution.machine.results import completed
from dipeo_server.domains.execution.signals import BarrierDecided, TimerFired
from dipeo_server.domains.execution.state import (
    BarrierRecord,
    ExecutionState,
    Waiting,
    WaitKind,
)
from dipeo_server.domains.execution.status import BarrierStatus, ExecutionStatus
from dipeo_server.domains.execution.tokens import SkipReason
from dipeo_server.errors import DipeoError, ExecutionFinished, InvalidState, NotFound

_APPROVED_PORTS = ("approved", "default")
_PASSING = frozenset({BarrierStatus.APPROVED, BarrierStatus.MODIFIED})
_DEFAULTS: Mapping[str, BarrierAction] = {
    "approve": BarrierAction.APPROVE,
    "answer": BarrierAction.APPROVE,
    "reject": BarrierAction.REJECT,
    "skip": BarrierAction.SKIP,
}


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
    check(state, record, signal)
    return resolved(state, record, signal, now)


def check(state: ExecutionState, record: BarrierRecord, decision: Decision) -> None:
    """Raises InvalidInput, EdgeNotFound for what this barrier cannot take."""
    node = state.diagram.get_node(record.id.node)
    check_decision(state.diagram, node, record.purpose, decision)
    check_answer(record, decision)


def resolved(
    state: ExecutionState, record: BarrierRecord, signal: BarrierDecided, now: datetime
) -> tuple[Event, ...]:
    """A decision that has been checked, with everything that follows from it for its visit."""
    resolution = BarrierResolved(
        record.node_run,
        OUTCOME[signal.action],
        action=signal.action,
        answer=signal.answer,
        reason=signal.reason,
        decided_by=signal.actor,
    )
    puts = tuple(
        StateChanged(key, value, node_run=record.node_run) for key, value in signal.puts.items()
    )
    return _Outcome(state, record, resolution, now, puts, signal.reroute).events()


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
            return _delay_over(state, waiting, now)
        case WaitKind.PERSON:
            return _expired(state, waiting, now)


def _retry(state: ExecutionState, waiting: Waiting) -> tuple[Event, ...]:
    if state.is_paused or state.stepping not in (None, waiting.node_run):
        return ()
    limit = exceeded(state)
    if limit is not None:
        paused = ExecutionStatus.PAUSED
        return (ExecutionStatusChanged(state.status, paused, reason=limit.value, cause=limit),)
    return (NodeStarted(waiting.node_run),)


def _delay_over(state: ExecutionState, waiting: Waiting, now: datetime) -> tuple[Event, ...]:
    node = state.diagram.get_node(waiting.node_run.node)
    envelope = waiting.output or EnvelopeFactory.create(node.key, None)
    return _going_on(state, waiting.node_run, envelope, waiting.ports, (), now)


def _expired(state: ExecutionState, waiting: Waiting, now: datetime) -> tuple[Event, ...]:
    """Nobody decided in time: the barrier's default does; a question may have none that fits."""
    run = waiting.node_run
    record = state.barriers[run.barrier]
    problem = _default_problem(record)
    action = _DEFAULTS.get(record.default_action or "reject", BarrierAction.REJECT)
    resolution = BarrierResolved(
        run,
        BarrierStatus.TIMED_OUT,
        action=None if problem else action,
        answer=record.default_answer,
        reason="timeout",
    )
    if problem is not None:
        node = state.diagram.get_node(run.node)
        failure = Failure("ANSWER_TIMEOUT", problem, node.key)
        return (resolution, *failed(state, node, run, failure, now, may_retry=False))
    return _Outcome(state, record, resolution, now).events()


def _default_problem(record: BarrierRecord) -> str | None:
    """Why a question has no answer when its time has passed; None if it has one."""
    if record.purpose != "answer":
        return None
    if record.default_answer is None:
        return "Nobody answered in time."
    if record.answer_schema is None:
        return None
    misfit = answer_misfit(record.answer_schema, record.default_answer)
    return misfit and f"Nobody answered in time, and the default does not do: {misfit}"


def _going_on(
    state: ExecutionState,
    run: NodeRun,
    envelope: Envelope,
    ports: tuple[str, ...],
    changed: Sequence[StateChanged],
    now: datetime,
) -> tuple[Event, ...]:
    """The visit completes, or fails where the conditions on its edges cannot be decided."""
    node = state.diagram.get_node(run.node)
    try:
        return (completed(state, node, run, envelope, ports, changed=changed),)
    except DipeoError as error:
        failure = Failure(error.code, error.message, node.key, hint=error.hint)
        return failed(state, node, run, failure, now, may_retry=False)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a decision means for its visit. TIMED_OUT means what its default action means."""

    state: ExecutionState
    record: BarrierRecord
    resolution: BarrierResolved
    now: datetime
    puts: tuple[StateChanged, ...] = ()
    reroute: str | None = None

    @property
    def node(self) -> ExecutableNode:
        return self.state.diagram.get_node(self.record.id.node)

    @property
    def status(self) -> BarrierStatus:
        action = self.resolution.action
        return OUTCOME[BarrierAction(action)] if action else self.resolution.status

    def events(self) -> tuple[Event, ...]:
        if self.record.purpose == "rerun":
            return (self.resolution, *self.puts, *self._run_again())
        changed = (*self.puts, *self._variable())
        return (self.resolution, *changed, *self._end(changed))

    def _variable(self) -> tuple[StateChanged, ...]:
        if not self.record.variable:
            return ()
        value = decision_variable(self.status, self.resolution.reason, self.resolution.answer)
        return (StateChanged(self.record.variable, value, node_run=self.record.node_run),)

    def _run_again(self) -> tuple[Event, ...]:
        match self.status:
            case BarrierStatus.APPROVED:
                return ()  # The fold of the decision makes the node ready for its next attempt.
            case BarrierStatus.MODIFIED:
                envelope = self._envelope(self.resolution.answer)
                run = self.record.node_run
                return _going_on(self.state, run, envelope, ("default",), self.puts, self.now)
            case _:
                return self._failed(
                    f"{self.node.key!r} was interrupted, and running it again was rejected."
                )

    def _end(self, changed: tuple[StateChanged, ...]) -> tuple[Event, ...]:
        run = self.record.node_run
        body: Any = {
            "decision": self.status.value,
            "reason": self.resolution.reason,
            "answer": self.resolution.answer,
            "decided_by": self.resolution.decided_by,
        }
        envelope = self._envelope(
            self.resolution.answer if self.record.purpose == "answer" else body
        )
        if self.status is BarrierStatus.REROUTED:
            edge = rerouted_edge(self.state.diagram, self.node, self.reroute)
            return (NodeCompleted(run, envelope, (edge.source_handle,), (edge.key,)),)
        ports = self._ports()
        if ports:
            return _going_on(self.state, run, envelope, ports, changed, self.now)
        if self.status is BarrierStatus.REJECTED:
            why = f": {self.resolution.reason}" if self.resolution.reason else "."
            return self._failed(f"{run.node!r} was rejected{why}")
        return (NodeCompleted(run, envelope, (), skip_reason=SkipReason.BARRIER_SKIPPED),)

    def _ports(self) -> tuple[str, ...]:
        """Which ports fire; none where a rejection or a skip has no edge of its own."""
        if self.status in _PASSING:
            return _APPROVED_PORTS
        port = "rejected" if self.status is BarrierStatus.REJECTED else "skipped"
        edges = self.state.diagram.edges
        if any(edges[index].source_handle == port for index in self.node.outgoing):
            return (port,)
        bypasses = self.status is BarrierStatus.SKIPPED and self.record.bypass_on_skip
        return _APPROVED_PORTS if bypasses else ()

    def _envelope(self, body: Any) -> Envelope:
        run = self.record.node_run
        return EnvelopeFactory.create(run.node, body, occurrence=run.occurrence, timestamp=self.now)

    def _failed(self, message: str) -> tuple[Event, ...]:
        failure = Failure("BARRIER_REJECTED", message, self.node.key)
        run = self.record.node_run
        return failed(self.state, self.node, run, failure, self.now, may_retry=False)
