"""From a recorded fact to its GraphQL value: one case per event."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypedDict, assert_never

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.history import Before
from dipeo_server.api.ids import Kind, PartID, span_id, trace_id
from dipeo_server.api.types import events
from dipeo_server.api.types.outcome import envelope, execution_error, token_usage
from dipeo_server.domains.execution import events as facts
from dipeo_server.domains.execution.events import BarrierAction, Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq


class _Head(TypedDict):
    """What every event has."""

    sequence: Seq
    execution_id: strawberry.ID
    timestamp: Any
    trace_id: strawberry.ID


class Translator:
    """Gives the events of one execution to clients; `revision` is that of the diagram it runs."""

    def __init__(self, execution_id: ExecutionID, revision: int = 0) -> None:
        self.revision = revision
        self._id = execution_id
        self._graphql_id = strawberry.ID(execution_id)
        self._trace_id = strawberry.ID(trace_id(execution_id))

    def translate(self, recorded: Recorded, before: Before) -> events.ExecutionEvent:
        """The GraphQL value; `before` knows what it needs of the log."""
        fact, head = recorded.event, self._head(recorded)
        match fact:
            case facts.ExecutionStarted() | facts.ExecutionStatusChanged():
                return _of_run(fact, head)
            case facts.LimitRaised() | facts.RunnerRestarted():
                return _of_runner(fact, head)
            case facts.ExecutionCompleted() | facts.ExecutionFailed() | facts.ExecutionAborted():
                return _terminal(fact, head, before.duration_of(recorded))
            case facts.ObservedError() | facts.StateChanged():
                return _observation(fact, head)
            case facts.BarrierWaiting() | facts.BarrierResolved():
                return self._of_barrier(fact, head)
            case facts.NodeCompleted() | facts.NodeFailed():
                return self._result(fact, recorded, before.duration_of(recorded))
            case facts.NodeSkipped(node=node, reason=reason, actor=actor):
                visits = before.visits_of(node)
                return events.NodeSkipped(
                    **head, node_key=node, occurrence=visits, reason=reason, actor=actor
                )
            case _:
                return self._of_node(fact, head)

    def _head(self, recorded: Recorded) -> _Head:
        return {
            "sequence": recorded.seq,
            "execution_id": self._graphql_id,
            "timestamp": recorded.at,
            "trace_id": self._trace_id,
        }

    def _result(
        self,
        fact: facts.NodeCompleted | facts.NodeFailed,
        recorded: Recorded,
        duration: timedelta,
    ) -> events.ExecutionEvent:
        head, run = self._head(recorded), fact.node_run
        span = strawberry.ID(span_id(self._id, run))
        match fact:
            case facts.NodeCompleted():
                return events.NodeCompleted(
                    **head,
                    **_attempt(run),
                    span_id=span,
                    duration=duration,
                    token_usage=token_usage(fact.token_usage),
                    output=envelope(fact.output, self._id, recorded.at),
                    ports=list(fact.ports),
                )
            case facts.NodeFailed():
                return events.NodeFailed(
                    **head,
                    **_attempt(run),
                    span_id=span,
                    duration=duration,
                    token_usage=token_usage(fact.token_usage),
                    error=execution_error(fact.failure),
                    will_retry=fact.will_retry,
                )

    def _of_node(
        self,
        fact: (
            facts.NodeStarted
            | facts.NodeInterrupted
            | facts.NodeRetryScheduled
            | facts.NodeMaxIterationsReached
            | facts.NodeReported
            | facts.ResultDiscarded
        ),
        head: _Head,
    ) -> events.ExecutionEvent:
        match fact:
            case facts.NodeStarted(node_run=run):
                span = strawberry.ID(span_id(self._id, run))
                return events.NodeStarted(
                    **head, **_attempt(run), span_id=span, revision_number=self.revision
                )
            case facts.NodeInterrupted(node_run=run, reason=reason, will_rerun=will_rerun):
                span = strawberry.ID(span_id(self._id, run))
                return events.NodeInterrupted(
                    **head, **_attempt(run), span_id=span, reason=reason, will_rerun=will_rerun
                )
            case facts.NodeRetryScheduled(node_run=run, due_at=due_at, failure=failure):
                error = execution_error(failure)
                return events.NodeRetryScheduled(
                    **head, **_attempt(run), due_at=due_at, error=error
                )
            case facts.NodeMaxIterationsReached(node_run=run, limit=limit):
                return events.NodeMaxIterationsReached(**head, **_visit(run), limit=limit)
            case facts.NodeReported(node_run=run, status=status):
                return events.NodeReported(**head, **_attempt(run), status=status)
            case facts.ResultDiscarded(node_run=run, reason=reason):
                return events.ResultDiscarded(**head, **_attempt(run), reason=reason)
            case _ as unreachable:
                assert_never(unreachable)

    def _of_barrier(
        self, fact: facts.BarrierWaiting | facts.BarrierResolved, head: _Head
    ) -> events.ExecutionEvent:
        run = fact.node_run
        part = PartID(Kind.BARRIER, self._id, run.node, run.occurrence, run.attempt)
        barrier_id = strawberry.ID(part.encode())
        match fact:
            case facts.BarrierWaiting():
                return events.BarrierWaiting(
                    **head,
                    **_visit(run),
                    barrier_id=barrier_id,
                    prompt=_json(fact.prompt),
                    answer_schema=_json(fact.answer_schema),
                    expires_at=fact.expires_at,
                )
            case facts.BarrierResolved():
                return events.BarrierResolved(
                    **head,
                    **_visit(run),
                    barrier_id=barrier_id,
                    status=fact.status,
                    action=barrier_action(fact.action),
                    answer=_json(fact.answer),
                    reason=fact.reason,
                    decided_by=fact.decided_by,
                )


class _Visit(TypedDict):
    node_key: str
    occurrence: int


class _Attempt(_Visit):
    attempt: int


def _visit(run: NodeRun) -> _Visit:
    return {"node_key": run.node, "occurrence": run.occurrence}


def _attempt(run: NodeRun) -> _Attempt:
    return {"node_key": run.node, "occurrence": run.occurrence, "attempt": run.attempt}


def _of_run(
    fact: facts.ExecutionStarted | facts.ExecutionStatusChanged, head: _Head
) -> events.ExecutionEvent:
    match fact:
        case facts.ExecutionStarted():
            return events.ExecutionStarted(
                **head,
                revision_number=fact.revision,
                content_hash=fact.diagram.content_hash,
                variables=JSON(dict(fact.variables)),
                actor=fact.actor,
                parent_id=strawberry.ID(fact.parent_id) if fact.parent_id else None,
            )
        case facts.ExecutionStatusChanged():
            return events.ExecutionStatusChanged(
                **head,
                from_=fact.before,
                to=fact.after,
                reason=fact.reason,
                actor=fact.actor,
            )


def _of_runner(
    fact: facts.LimitRaised | facts.RunnerRestarted, head: _Head
) -> events.ExecutionEvent:
    match fact:
        case facts.LimitRaised(max_steps=limit, actor=actor):
            return events.LimitRaised(**head, max_steps=limit, actor=actor)
        case facts.RunnerRestarted(interrupted=interrupted):
            return events.RunnerRestarted(**head, interrupted=interrupted)


def _terminal(
    fact: facts.ExecutionCompleted | facts.ExecutionFailed | facts.ExecutionAborted,
    head: _Head,
    duration: timedelta,
) -> events.ExecutionEvent:
    usage = token_usage(fact.token_usage)
    match fact:
        case facts.ExecutionCompleted(observed_errors=observed):
            return events.ExecutionCompleted(
                **head, duration=duration, token_usage=usage, observed_errors=observed
            )
        case facts.ExecutionFailed(failure=failure, errors=errors):
            return events.ExecutionFailed(
                **head,
                duration=duration,
                token_usage=usage,
                error=execution_error(failure),
                errors=[execution_error(each) for each in errors],
            )
        case facts.ExecutionAborted(reason=reason, actor=actor):
            return events.ExecutionAborted(
                **head, duration=duration, token_usage=usage, reason=reason, actor=actor
            )


def _observation(
    fact: facts.ObservedError | facts.StateChanged, head: _Head
) -> events.ExecutionEvent:
    run = fact.node_run
    node, occurrence = (run.node, run.occurrence) if run else (None, None)
    match fact:
        case facts.ObservedError(failure=failure):
            return events.ObservedError(
                **head,
                node_key=node or failure.node,
                occurrence=occurrence,
                error=execution_error(failure),
            )
        case facts.StateChanged(key=key, value=value, is_deleted=is_deleted):
            return events.StateChanged(
                **head,
                node_key=node,
                occurrence=occurrence,
                key=key,
                value=_json(value),
                is_deleted=is_deleted,
            )


def barrier_action(name: str | None) -> BarrierAction | None:
    """The action of that name, in any case; an "answer" is an approval with one."""
    if name is None:
        return None
    upper = name.upper()
    return BarrierAction.APPROVE if upper == "ANSWER" else BarrierAction(upper)


def node_key_of(recorded: Recorded) -> str | None:
    """The node that an event is about, or None."""
    fact = recorded.event
    if isinstance(fact, facts.NodeSkipped):
        return fact.node
    run: NodeRun | None = getattr(fact, "node_run", None)
    if run is None and isinstance(fact, facts.ObservedError):
        return fact.failure.node
    return run.node if run else None


def _json(value: Any) -> JSON | None:
    if value is None:
        return None
    return JSON(dict(value) if isinstance(value, Mapping) else value)
