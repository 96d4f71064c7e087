"""From what people and limits did, as recorded, to its GraphQL value."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias

import strawberry

from dipeo_server.api.ids import Kind, PartID
from dipeo_server.api.types import steering
from dipeo_server.api.types.event_bases import ExecutionEvent
from dipeo_server.api.types.event_parts import Head, attempt, json_value, visit
from dipeo_server.api.types.interventions import breakpoint_of, decision_id
from dipeo_server.api.types.outcome import envelope
from dipeo_server.domains.execution import events as facts
from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.ids import ExecutionID

Steering: TypeAlias = (
    facts.BarrierWaiting
    | facts.BarrierResolved
    | facts.EarlyDecisionChanged
    | facts.BreakpointsChanged
    | facts.BreakpointHit
    | facts.NodeOutputSet
    | facts.LimitRaised
    | facts.DiagramMutated
)


def translate(fact: Steering, head: Head, execution_id: ExecutionID) -> ExecutionEvent:
    """The GraphQL value of an event of this execution."""
    match fact:
        case facts.BarrierWaiting() | facts.BarrierResolved():
            return _of_barrier(fact, head, execution_id)
        case facts.EarlyDecisionChanged(decision_id=made, node=node, occurrence=occurrence):
            return steering.EarlyDecisionChanged(
                **head,
                decision_id=decision_id(execution_id, made),
                node_key=node,
                occurrence=occurrence,
                change=fact.change,
                actor=fact.actor,
            )
        case facts.BreakpointsChanged(breakpoints=breakpoints, actor=actor):
            found = [breakpoint_of(given) for given in breakpoints]
            return steering.BreakpointsChanged(**head, breakpoints=found, actor=actor)
        case facts.BreakpointHit(node_run=run, when=when):
            return steering.BreakpointHit(**head, **visit(run), when=when)
        case facts.NodeOutputSet(node_run=run):
            return steering.NodeOutputSet(
                **head,
                **attempt(run),
                output=envelope(fact.output, execution_id, head["timestamp"]),
                ports=list(fact.ports),
                reason=fact.reason,
                actor=fact.actor,
            )
        case facts.DiagramMutated():
            return steering.DiagramMutated(
                **head,
                revision_number=fact.revision_number,
                content_hash=fact.content_hash,
                rerun=list(fact.rerun),
                unreachable=list(fact.unreachable),
                actor=fact.actor,
            )
        case facts.LimitRaised(max_steps=steps, budget=budget, actor=actor):
            return steering.LimitRaised(
                **head,
                max_steps=steps,
                max_tokens=budget.max_tokens if budget else None,
                max_time=_span(budget.max_seconds) if budget else None,
                actor=actor,
            )


def _of_barrier(
    fact: facts.BarrierWaiting | facts.BarrierResolved, head: Head, execution_id: ExecutionID
) -> ExecutionEvent:
    run = fact.node_run
    part = PartID(Kind.BARRIER, execution_id, run.node, run.occurrence, run.attempt)
    barrier_id = strawberry.ID(part.encode())
    match fact:
        case facts.BarrierWaiting():
            return steering.BarrierWaiting(
                **head,
                **visit(run),
                barrier_id=barrier_id,
                prompt=json_value(fact.prompt),
                answer_schema=json_value(fact.answer_schema),
                expires_at=fact.expires_at,
            )
        case facts.BarrierResolved():
            return steering.BarrierResolved(
                **head,
                **visit(run),
                barrier_id=barrier_id,
                status=fact.status,
                action=barrier_action(fact.action),
                answer=json_value(fact.answer),
                reason=fact.reason,
                decided_by=fact.decided_by,
            )


def barrier_action(name: str | None) -> BarrierAction | None:
    """The action of that name, in any case; an "answer" is an approval with one."""
    if name is None:
        return None
    upper = name.upper()
    return BarrierAction.APPROVE if upper == "ANSWER" else BarrierAction(upper)


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
