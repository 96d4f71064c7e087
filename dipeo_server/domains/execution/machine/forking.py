"""Rules: another run goes on from where this one was, with changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableNode
from dipeo_server.domains.diagram.nearest import did_you_mean, listed
from dipeo_server.domains.execution.events import (
    TERMINAL,
    BarrierResolved,
    BarrierWaiting,
    CheckpointFailed,
    CheckpointSaved,
    EarlyDecisionChanged,
    Ending,
    Event,
    ExecutionForked,
    ExecutionStarted,
    ExecutionStatusChanged,
    GivenOutput,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeOutputSet,
    NodeRetryScheduled,
    ObservedError,
    PauseCause,
    Recorded,
    StateChanged,
)
from dipeo_server.domains.execution.ids import NodeRun, Seq
from dipeo_server.domains.execution.machine.by_hand import names_ports, output_for, visit_of
from dipeo_server.domains.execution.machine.control import interrupted
from dipeo_server.domains.execution.machine.results import envelope_of, taken_edges
from dipeo_server.domains.execution.signals import ForkRequested
from dipeo_server.domains.execution.state import BarrierRecord, ExecutionState, WaitKind
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)
from dipeo_server.errors import DipeoError, InvalidInput

WHY = "forked"
_HALF_TOLD = (StateChanged, ObservedError, BarrierResolved, EarlyDecisionChanged)
_NEVER_ALONE = (*_HALF_TOLD, NodeInterrupted, CheckpointSaved, CheckpointFailed)
"""Events that may lie between two which are told in one breath, such as the end of a run."""


# --- where a run can be forked ------------------------------------------------------------------


def forkable_until(log: Iterable[Recorded]) -> Seq:
    """The last event of a log behind which a run can go on: the one before it began to end.

    `log` is one, or a part of one in which it had not begun to end before; 0 = none of it.
    """
    last = Seq(0)
    for recorded in log:
        if _ends(recorded.event):
            break
        last = recorded.seq
    return last


def _ends(event: Event) -> bool:
    match event:
        case ExecutionStatusChanged(ending=ending):
            return ending is not None
        case BarrierResolved(status=status):
            return status is BarrierStatus.CANCELLED
        case NodeInterrupted(will_rerun=will_rerun):
            return not will_rerun
        case _:
            return isinstance(event, TERMINAL)


def loose_end(log: Sequence[Recorded]) -> int:
    """How many events at the end of a log say nothing for sure without those before them."""
    count = 0
    while count < len(log) and isinstance(log[-1 - count].event, _NEVER_ALONE):
        count += 1
    return count


def undone(
    log: Sequence[Recorded], before: Mapping[str, Any] | None = None
) -> tuple[StateChanged, ...]:
    """What takes back the changes of a visit whose end lies behind the end of this log.

    Its variables are told before its end. Where a log is cut between the two the visit has not
    ended, and will write them once more. `before` are the variables before the log, if it is only
    the end of one.
    """
    begin = len(log)
    while begin and isinstance(log[begin - 1].event, _HALF_TOLD):
        begin -= 1
    written = [each.event for each in log[begin:] if isinstance(each.event, StateChanged)]
    run = written[-1].node_run if written else None
    if run is None:
        return ()
    keys = dict.fromkeys(event.key for event in written if event.node_run == run)
    return tuple(_as_before(key, log[:begin], before or {}, run) for key in keys)


def _as_before(
    key: str, log: Sequence[Recorded], before: Mapping[str, Any], run: NodeRun
) -> StateChanged:
    for recorded in reversed(log):
        event = recorded.event
        if isinstance(event, StateChanged) and event.key == key:
            return StateChanged(key, event.value, is_deleted=event.is_deleted, node_run=run)
    started = log[0].event if log else None
    known = started.variables if isinstance(started, ExecutionStarted) else before
    return StateChanged(key, known.get(key), is_deleted=key not in known, node_run=run)


# --- a fork begins ------------------------------------------------------------------------------


def forked(state: ExecutionState, signal: ForkRequested, now: datetime) -> tuple[Event, ...]:
    """The first events that are the fork's own; the state is its origin's at that sequence.

    What ran is treated as after a crash, what waits for a person is asked again, for as long as
    was left. Raises InvalidInput.
    """
    if state.last_at is None or is_over(state):
        raise InvalidInput("The run had ended, or was being ended.", field=("atSequence",))
    # Time does not go back, not even where a clock was put back since.
    now = max(now, state.last_at)
    back = tuple(each for each in signal.undone if _is_open(state, each.node_run))
    puts = (*back, *(StateChanged(key, value) for key, value in signal.variables.items()))
    given = _Given(state, signal, puts, now)
    outputs = given.events()
    opening = ExecutionForked(
        signal.execution_id,
        signal.origin,
        state.last_seq,
        state.last_at,
        actor=signal.actor,
        parent_id=signal.parent_id,
        parent=signal.parent,
        initial=given.initial,
    )
    stopped = [
        event
        for index, run in state.running.items()
        if index not in given.ended
        for event in interrupted(state, state.diagram.nodes[index], run, now, WHY)
    ]
    asked = _asked_again(state, now - state.last_at)
    return (opening, *puts, *stopped, *asked, *_due(signal, now), *outputs, *_then(state, signal))


def is_over(state: ExecutionState) -> bool:
    """Has the run ended, or begun to?"""
    return state.status.is_terminal or state.ending is not None


def _is_open(state: ExecutionState, run: NodeRun | None) -> bool:
    """Does the visit run, or wait?"""
    index = -1 if run is None else state.diagram.index_of[run.node]
    waiting = state.waiting.get(index)
    return run in (state.running.get(index), waiting and waiting.node_run)


def _asked_again(state: ExecutionState, gap: timedelta) -> list[BarrierWaiting]:
    """Everybody who is asked; a decision that the origin had not finished is none."""
    records = [
        state.barriers[waiting.node_run.barrier]
        for waiting in state.waiting.values()
        if waiting.kind is WaitKind.PERSON
    ]
    return [_waiting_again(record, gap) for record in records]


def _waiting_again(record: BarrierRecord, gap: timedelta) -> BarrierWaiting:
    return BarrierWaiting(
        record.node_run,
        record.purpose,
        record.prompt,
        answer_schema=record.answer_schema,
        expires_at=None if record.expires_at is None else record.expires_at + gap,
        default_action=record.default_action,
        default_answer=record.default_answer,
        variable=record.variable,
        bypass_on_skip=record.bypass_on_skip,
    )


def _due(signal: ForkRequested, now: datetime) -> tuple[NodeRetryScheduled, ...]:
    """The retry of a failure behind which the log was cut: at once."""
    match signal.last:
        case NodeFailed(node_run=run, failure=failure, will_retry=True):
            return (NodeRetryScheduled(run.next_attempt(), now, failure),)
        case _:
            return ()


def _then(state: ExecutionState, signal: ForkRequested) -> tuple[Event, ...]:
    """A node whose end is that of the run ends the fork, too; else it may begin paused."""
    paused = ExecutionStatus.PAUSED
    status = ExecutionStatus.RUNNING if state.status is paused else state.status
    match signal.last:
        case NodeCompleted(node_run=run, ports=(), edges=()):
            reason, ending = f"ended by {run.node}", Ending("end")
            return (ExecutionStatusChanged(status, status, reason=reason, ending=ending),)
        case _ if signal.is_paused:
            cause = PauseCause.START if signal.parent is None else PauseCause.PARENT
            reason = "start_paused"
            changed = ExecutionStatusChanged(status, paused, reason, signal.actor, cause=cause)
            return (changed,)
        case _:
            return ()


class _Given:
    """Results that nodes are given in the fork; `ended` are the visits that end with that.

    `initial` are those of nodes that have not run: they are taken when those are reached.
    """

    def __init__(
        self,
        state: ExecutionState,
        signal: ForkRequested,
        puts: tuple[StateChanged, ...],
        now: datetime,
    ) -> None:
        self.initial: dict[str, GivenOutput] = {}
        self.ended: set[int] = set()
        self._state, self._signal, self._puts, self._now = state, signal, puts, now

    def events(self) -> list[NodeOutputSet]:
        """What is told of them. Raises InvalidInput."""
        found: list[NodeOutputSet] = []
        for key, value in self._signal.outputs.items():
            field = ("overrides", "outputs", key)
            index = self._state.diagram.index_of.get(key)
            if index is None:
                hint = did_you_mean(key, self._state.diagram.index_of)
                message = f"The diagram has no node {key!r} whose result could be another one."
                raise InvalidInput(message, field=field, hint=hint)
            try:
                event = self._event(self._state.diagram.nodes[index], value)
            except DipeoError as error:
                raise InvalidInput(error.message, field=field, hint=error.hint) from error
            if event is not None:
                found.append(event)
        return found

    def _event(self, node: ExecutableNode, value: Any) -> NodeOutputSet | None:
        state, index = self._state, node.index
        current, last = state.nodes[index], state.emissions.get(index)
        is_on = index in state.running or index in state.waiting
        if is_on or current.status is NodeExecutionStatus.FAILED:
            return self._ending(node, value)
        if last is not None and last.envelope is not None:
            return self._instead(node, value, last.ports)
        _check_ports(node, value)
        self.initial[node.key] = GivenOutput(value)
        return None

    def _ending(self, node: ExecutableNode, value: Any) -> NodeOutputSet:
        """The visit that runs, waits or has failed ends with it. Raises InvalidState."""
        run = visit_of(self._state, node, "given a result")
        envelope, ports = envelope_of(node, run, output_for(node, value), self._now)
        edges = taken_edges(self._state, node, envelope, ports, self._puts)
        self.ended.add(node.index)
        return NodeOutputSet(run, envelope, ports, edges, actor=self._signal.actor)

    def _instead(self, node: ExecutableNode, value: Any, fired: tuple[str, ...]) -> NodeOutputSet:
        """Another result of a visit that has ended, at the ports where that went."""
        current, last = self._state.nodes[node.index], self._state.emissions[node.index]
        occurrence = last.envelope.occurrence if last.envelope else current.occurrence
        run = NodeRun(node.key, occurrence, current.attempt)
        envelope, ports = envelope_of(node, run, output_for(node, value), self._now)
        if names_ports(node, value) and set(ports) != set(fired):
            message = (
                f"{node.key!r} has ended and went on by {listed(fired)}; a result for "
                f"{listed(ports)} comes too late."
            )
            raise InvalidInput(message, hint="Fork from a sequence before it ended.")
        actor = self._signal.actor
        return NodeOutputSet(run, envelope, fired, last.edges, reason="override", actor=actor)


def _check_ports(node: ExecutableNode, value: Any) -> None:
    """Raises InvalidInput where a result does not say by which port a node is left."""
    if node.branches and not names_ports(node, value):
        message = f"{node.key!r} chooses between ports, and the output names none."
        hint = f"Its ports are {listed(node.ports)}: pass an object with the one that fires."
        raise InvalidInput(message, hint=hint)
