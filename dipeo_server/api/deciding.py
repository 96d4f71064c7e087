"""How decisions on barriers are carried out, and what of the log answers them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from dipeo_server.api import ids
from dipeo_server.api.approving import check_starter
from dipeo_server.api.calls import Call
from dipeo_server.api.context import read_log
from dipeo_server.api.types.control_inputs import BarrierNodeTarget, BarrierTarget, span_of
from dipeo_server.api.types.execution import barrier, execution_state
from dipeo_server.api.types.interventions import early_decision
from dipeo_server.api.types.payloads import BarrierPayload
from dipeo_server.api.types.problems import REFUSALS
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BarrierResolved,
    EarlyDecisionChanged,
    Recorded,
)
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID, Seq
from dipeo_server.domains.execution.interventions import EarlyDecision
from dipeo_server.domains.execution.runner import Accepted
from dipeo_server.domains.execution.signals import BarrierDecided, DecisionMade, DecisionRevoked
from dipeo_server.domains.execution.state import BarrierRecord, ExecutionView
from dipeo_server.domains.execution.status import BarrierStatus
from dipeo_server.errors import InvalidInput, NotFound

WINDOWS: Final = (64, 4_096)
"""How far back the log is searched for what a decision became, before all of it is."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decides; the last two are for decisions ahead of time only."""

    action: BarrierAction
    reason: str | None = None
    answer: Any = None
    puts: Mapping[str, Any] = field(default_factory=dict)
    reroute: str | None = None
    expires_in: timedelta | None = None
    max_uses: int | None = None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a decision became: one ahead of time, the barrier it decided, or both."""

    made: EarlyDecision | None = None
    barrier: BarrierID | None = None


_Judge = Callable[[Iterable[Recorded]], _Outcome | None]
"""Finds what a decision became among events in order; None where they do not tell."""


async def decide(
    call: Call, target: BarrierTarget, decision: Callable[[], Decision]
) -> BarrierPayload:
    """Decide what the target names, and show it behind that."""
    try:
        wish = decision()
        if isinstance(target.node, BarrierNodeTarget):
            return await _decide_node(call, target.node, wish)
        for name, given in (("expiresIn", wish.expires_in), ("maxUses", wish.max_uses)):
            if given is not None:
                message = f"`{name}` is for decisions ahead of time: name the node as the target."
                raise InvalidInput(message, field=(name,))
    except REFUSALS as refusal:
        return BarrierPayload(errors=[await call.problem(refusal)])
    return await decide_barrier(call, target.barrier_id or "", wish)


async def decide_barrier(call: Call, barrier_id: str, decision: Decision) -> BarrierPayload:
    """Decide a waiting barrier, and show it behind that."""
    part = ids.decode(barrier_id)
    try:
        if part is None or part.kind is not ids.Kind.BARRIER:
            raise NotFound(f"There is no barrier {barrier_id!r}.")
        call.about = part.execution_id
        await check_starter(call.context, part.execution_id, part.barrier.node)
        accepted = await call.tell(_decided(call, part.barrier, decision))
    except REFUSALS as refusal:
        return BarrierPayload(errors=[await call.problem(refusal)])
    return _payload(await call.behind(accepted), _Outcome(barrier=part.barrier))


async def _decide_node(call: Call, target: BarrierNodeTarget, decision: Decision) -> BarrierPayload:
    """Decide the barrier of a visit that has one, or ahead of time. Raises what is refused."""
    call.about = ExecutionID(target.execution_id)
    call.context.views.forget(call.about)
    view = await call.run(target.node_key)
    await check_starter(call.context, view.id, target.node_key)
    record = _asked_at(view, target)
    if record is None:
        accepted = await call.tell(_ahead(call, target, decision))
    else:
        accepted = await call.tell(_decided(call, record.id, decision))
    visit = (target.node_key, target.occurrence)
    outcome = await _outcome_of(call, accepted, lambda log: _became(log, visit, decision.action))
    return _payload(await call.behind(accepted), outcome)


def _asked_at(view: ExecutionView, target: BarrierNodeTarget) -> BarrierRecord | None:
    """The barrier of the visit that is named: the one that waits, or the last one decided."""
    found = [
        record
        for record in view.barriers
        if (record.id.node, record.id.occurrence) == (target.node_key, target.occurrence)
    ]
    waiting = (record for record in found if record.status is BarrierStatus.WAITING)
    return next(waiting, found[-1] if found else None)


def _decided(call: Call, barrier_id: BarrierID, decision: Decision) -> BarrierDecided:
    return BarrierDecided(
        barrier_id,
        decision.action,
        reason=decision.reason,
        answer=decision.answer,
        puts=decision.puts,
        reroute=decision.reroute,
        actor=call.context.principal,
    )


def _ahead(call: Call, target: BarrierNodeTarget, decision: Decision) -> DecisionMade:
    if target.occurrence is not None and target.occurrence < 1:
        message = "Visits are counted from 1."
        raise InvalidInput(message, field=("target", "node", "occurrence"))
    expires_at = None
    if decision.expires_in is not None:
        expires_at = call.context.services.now() + span_of(decision.expires_in, ("expiresIn",))
    return DecisionMade(
        target.node_key,
        target.occurrence,
        decision.action,
        reason=decision.reason,
        answer=decision.answer,
        puts=decision.puts,
        reroute=decision.reroute,
        expires_at=expires_at,
        max_uses=decision.max_uses,
        actor=call.context.principal,
    )


async def revoke(call: Call, id_: str) -> BarrierPayload:
    """Take a decision ahead of time back, and show it as it was."""
    part = ids.decode(id_)
    try:
        if part is None or part.kind is not ids.Kind.DECISION:
            raise NotFound(f"There is no decision {id_!r}.")
        call.about = part.execution_id
        accepted = await call.tell(DecisionRevoked(part.node, call.context.principal))
    except REFUSALS as refusal:
        return BarrierPayload(errors=[await call.problem(refusal)])
    outcome = await _outcome_of(call, accepted, lambda log: _recorded(log, part.node))
    return _payload(await call.behind(accepted), outcome)


# --- what it became -----------------------------------------------------------------------------


async def _outcome_of(call: Call, accepted: Accepted, judge: _Judge) -> _Outcome:
    """What the log says of an accepted decision, the nearest that fits before its answer.

    The log, because an answer that is given again must be the one that was given first, whatever
    the run has come to since.
    """
    upto = accepted.sequence
    for window in (*WINDOWS, upto):
        behind = Seq(max(0, upto - window))
        log = await read_log(call.context.runner, accepted.execution_id, upto, behind)
        found = judge(log)
        if found is not None:
            return found
    return _Outcome()


def _became(
    log: Iterable[Recorded], visit: tuple[str, int | None], action: BarrierAction
) -> _Outcome | None:
    """A decision ahead of time with what it decided at once, or a decided barrier."""
    found: _Outcome | None = None
    used: str | None = None
    for recorded in log:
        match recorded.event:
            case EarlyDecisionChanged(change="recorded", decision=EarlyDecision() as made):
                if (made.node, made.occurrence, made.action) == (*visit, action):
                    found = _Outcome(made)
            case EarlyDecisionChanged(change="used", decision_id=decision_id):
                used = decision_id
                continue
            case BarrierResolved(node_run=run) if used is not None:
                if found is not None and found.made is not None and found.made.id == used:
                    found = _Outcome(_used_once(found.made), run.barrier)
            case BarrierResolved(node_run=run) if (run.node, run.occurrence) == visit:
                found = _Outcome(barrier=run.barrier)
            case _:
                pass
        used = None
    return found


def _used_once(made: EarlyDecision) -> EarlyDecision:
    return made if made.uses_left is None else replace(made, uses_left=made.uses_left - 1)


def _recorded(log: Iterable[Recorded], decision_id: str) -> _Outcome | None:
    for recorded in log:
        match recorded.event:
            case EarlyDecisionChanged(decision=EarlyDecision(id=made_id) as made) if (
                made_id == decision_id
            ):
                return _Outcome(replace(made, uses_left=0))
            case _:
                pass
    return None


def _payload(view: ExecutionView, outcome: _Outcome) -> BarrierPayload:
    decided = next((found for found in view.barriers if found.id == outcome.barrier), None)
    made = outcome.made
    return BarrierPayload(
        barrier=barrier(decided, view.id) if decided is not None else None,
        early_decision=early_decision(made, view.id) if made is not None else None,
        execution=execution_state(view),
    )
