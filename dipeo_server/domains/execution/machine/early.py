"""Rules: the book of decisions that are made before their barrier waits.

Of the decisions that fit a barrier one that names its visit comes first, then the newest of those
for every visit of its node. A visit has one such decision: as with barriers the first one counts,
until it is revoked.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

from dipeo_server.domains.diagram.executable import ExecutableNode
from dipeo_server.domains.execution.barrier import (
    BarrierAlreadyDecided,
    check_answer,
    check_decision,
)
from dipeo_server.domains.execution.events import (
    EarlyDecisionChanged,
    Event,
    Failure,
    ObservedError,
)
from dipeo_server.domains.execution.interventions import EarlyDecision
from dipeo_server.domains.execution.machine.barriers import check, resolved
from dipeo_server.domains.execution.machine.stepping import known_node
from dipeo_server.domains.execution.signals import BarrierDecided, DecisionMade, DecisionRevoked
from dipeo_server.domains.execution.state import BarrierRecord, ExecutionState, WaitKind
from dipeo_server.domains.execution.status import BarrierStatus, NodeExecutionStatus
from dipeo_server.errors import (
    AlreadyDecided,
    ExecutionFinished,
    InvalidInput,
    InvalidState,
    LimitExceeded,
    NotFound,
)

DECISIONS_MAX = 1_000
"""Decisions of one execution that can still be used; each costs a look at every event."""

_Change: TypeAlias = Literal["used", "revoked", "expired", "unused"]
_PURPOSES = {"barrier": "approval", "user_response": "answer"}
_OPEN = frozenset(
    {NodeExecutionStatus.PENDING, NodeExecutionStatus.RUNNING, NodeExecutionStatus.WAITING}
)


def made(state: ExecutionState, signal: DecisionMade, now: datetime) -> tuple[Event, ...]:
    """Somebody decides ahead of time; `applied` then decides what waits already.

    Raises NotFound, InvalidInput, EdgeNotFound, AlreadyDecided (with the winner where there was a
    barrier), LimitExceeded, InvalidState, ExecutionFinished.
    """
    _check_open(state)
    node = state.diagram.nodes[known_node(state.diagram, signal.node)]
    purpose = _PURPOSES.get(node.type)
    if purpose is None:
        message = f"{node.key!r} is a {node.type}, and only barriers and questions are decided."
        raise InvalidInput(message, field=("nodeKey",))
    _check_uses(signal, now)
    check_decision(state.diagram, node, purpose, signal)
    _check_visit(state, node, signal, now)
    if len(state.early_decisions) >= DECISIONS_MAX:
        message = f"At most {DECISIONS_MAX} decisions can be made ahead of time."
        raise LimitExceeded(message, hint="Revoke some that are not needed any more.")
    decision = EarlyDecision(
        id=f"d{state.decisions_made + 1}",
        node=node.key,
        occurrence=signal.occurrence,
        action=signal.action,
        reason=signal.reason,
        answer=signal.answer,
        puts=dict(signal.puts),
        reroute=signal.reroute,
        expires_at=signal.expires_at,
        uses_left=signal.max_uses if signal.occurrence is None else 1,
        created_by=signal.actor,
    )
    recorded = EarlyDecisionChanged(
        decision.id, node.key, signal.occurrence, "recorded", decision, signal.actor
    )
    return (recorded,)


def revoked(state: ExecutionState, signal: DecisionRevoked) -> tuple[Event, ...]:
    """Somebody takes a decision back. Raises NotFound, InvalidState, ExecutionFinished."""
    if state.status.is_terminal:
        raise ExecutionFinished(f"The execution has ended: {state.status}.")
    decision = state.early_decisions.get(signal.decision_id)
    if decision is not None:
        return (_changed(decision, "revoked", decision.occurrence, signal.actor),)
    if signal.decision_id in {f"d{number + 1}" for number in range(state.decisions_made)}:
        message = f"Decision {signal.decision_id!r} has been used, revoked, or has expired."
        raise InvalidState(message)
    raise NotFound(f"There is no decision {signal.decision_id!r}.")


def applied(state: ExecutionState) -> tuple[Event, ...]:
    """The next thing the book says: what has expired goes, then it decides one that waits."""
    if not state.early_decisions or state.ending is not None:
        return ()
    book = state.early_decisions.values()
    expired = [each for each in book if _has_expired(each, state.last_at)]
    if expired:
        return tuple(_changed(each, "expired", each.occurrence) for each in expired)
    for key in dict.fromkeys(decision.node for decision in book):
        record = _waiting_at(state, key)
        decision = None if record is None else _best(state, record)
        if record is not None and decision is not None:
            return _use(state, record, decision)
    return ()


def closing(state: ExecutionState, terminal: Event) -> tuple[Event, ...]:
    """The last event of a run, and before it what becomes of the decisions that are left."""
    found: list[Event] = []
    for each in state.early_decisions.values():
        change: _Change = "expired" if _has_expired(each, state.last_at) else "unused"
        found.append(_changed(each, change, each.occurrence))
    return (*found, terminal)


def _check_open(state: ExecutionState) -> None:
    if state.status.is_terminal:
        raise ExecutionFinished(f"The execution has ended: {state.status}.")
    if state.ending is not None:
        raise InvalidState("The execution is being ended, so nothing will be decided any more.")


def _check_uses(signal: DecisionMade, now: datetime) -> None:
    """How long and how often it can be used."""
    if signal.occurrence is not None and signal.occurrence < 1:
        raise InvalidInput("Occurrences are counted from 1.", field=("occurrence",))
    if signal.max_uses is not None and signal.max_uses < 1:
        raise InvalidInput("maxUses must be at least 1.", field=("maxUses",))
    if signal.occurrence is not None and signal.max_uses not in (None, 1):
        message = "A decision for one occurrence is used once."
        hint = "Leave maxUses out, or the occurrence."
        raise InvalidInput(message, field=("maxUses",), hint=hint)
    if signal.expires_at is not None and signal.expires_at <= now:
        raise InvalidInput("It would have expired already.", field=("expiresIn",))


def _check_visit(
    state: ExecutionState, node: ExecutableNode, signal: DecisionMade, now: datetime
) -> None:
    """Is there anything left to decide, and does the decision fit what waits already?"""
    waiting = _waiting_at(state, node.key)
    if waiting is not None and signal.occurrence in (None, waiting.id.occurrence):
        check_answer(waiting, signal)
    elif signal.occurrence is not None:
        _check_not_over(state, node, signal.occurrence)
    for other in state.early_decisions.values():
        is_same = (other.node, other.occurrence) == (node.key, signal.occurrence)
        if is_same and other.occurrence is not None and not _has_expired(other, now):
            who = f" by {other.created_by}" if other.created_by else ""
            message = (
                f"Visit {other.occurrence} of {node.key!r} was already decided{who} ahead of "
                f"time: {other.action} ({other.id})."
            )
            raise AlreadyDecided(message, hint=f"Revoke {other.id} first.")


def _check_not_over(state: ExecutionState, node: ExecutableNode, occurrence: int) -> None:
    """Raises BarrierAlreadyDecided, InvalidState for a visit that has ended."""
    current = state.nodes[node.index]
    is_open = current.occurrence == occurrence and current.status in _OPEN
    if occurrence > current.occurrence or is_open:
        return
    visits = (
        record
        for record in state.barriers.values()
        if (record.id.node, record.id.occurrence) == (node.key, occurrence)
    )
    winner = max(visits, key=lambda record: record.id.attempt, default=None)
    if winner is not None:
        raise BarrierAlreadyDecided(winner)
    message = f"Visit {occurrence} of {node.key!r} has ended without asking anybody."
    raise InvalidState(message, hint=f"Its next visit is {current.occurrence + 1}.")


def _waiting_at(state: ExecutionState, key: str) -> BarrierRecord | None:
    """What waits for an approval or an answer at a node."""
    waiting = state.waiting.get(state.diagram.index_of.get(key, -1))
    if waiting is None or waiting.kind is not WaitKind.PERSON:
        return None
    record = state.barriers[waiting.node_run.barrier]
    is_open = record.status is BarrierStatus.WAITING and record.purpose != "rerun"
    return record if is_open else None


def _best(state: ExecutionState, record: BarrierRecord) -> EarlyDecision | None:
    found: EarlyDecision | None = None
    for decision in state.early_decisions.values():
        if decision.node != record.id.node:
            continue
        if decision.occurrence == record.id.occurrence:
            return decision
        if decision.occurrence is None and (found is None or _age(decision) > _age(found)):
            found = decision
    return found


def _age(decision: EarlyDecision) -> int:
    return int(decision.id.removeprefix("d"))


def _has_expired(decision: EarlyDecision, now: datetime | None) -> bool:
    return decision.expires_at is not None and now is not None and decision.expires_at <= now


def _changed(
    decision: EarlyDecision, change: _Change, occurrence: int | None, actor: str | None = None
) -> EarlyDecisionChanged:
    return EarlyDecisionChanged(decision.id, decision.node, occurrence, change, actor=actor)


def _use(
    state: ExecutionState, record: BarrierRecord, decision: EarlyDecision
) -> tuple[Event, ...]:
    """Decide the barrier; a decision that does not fit it is told and dropped."""
    run = record.node_run
    signal = BarrierDecided(
        record.id,
        decision.action,
        decision.reason,
        decision.answer,
        decision.puts,
        decision.reroute,
        decision.created_by,
    )
    try:
        check(state, record, signal)
    except InvalidInput as misfit:
        message = f"Decision {decision.id} does not fit {run.node!r} #{run.occurrence}: {misfit}"
        failure = Failure("EARLY_DECISION_UNFIT", message, run.node, hint=misfit.hint)
        return (ObservedError(failure, run), _changed(decision, "unused", run.occurrence))
    used = _changed(decision, "used", run.occurrence, decision.created_by)
    assert state.last_at is not None
    return (used, *resolved(state, record, signal, state.last_at))
