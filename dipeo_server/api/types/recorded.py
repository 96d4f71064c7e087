"""From a recorded fact to its GraphQL value: one case per event."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias, assert_never

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.history import Before
from dipeo_server.api.types import events, steered
from dipeo_server.api.types.event_bases import ExecutionEvent
from dipeo_server.api.types.event_parts import Head, attempt, json_value, visit
from dipeo_server.api.types.outcome import envelope, execution_error, token_usage
from dipeo_server.domains.execution import events as facts
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.trace_ids import span_id, trace_id

_OfVisit: TypeAlias = (
    facts.NodeStarted
    | facts.NodeInterrupted
    | facts.NodeRetryScheduled
    | facts.NodeMaxIterationsReached
    | facts.NodeReported
    | facts.ResultDiscarded
)

_OfCheckpoint: TypeAlias = facts.CheckpointSaved | facts.CheckpointFailed


class Translator:
    """Gives the events of one execution to clients; `revision` is that of the diagram it runs."""

    def __init__(self, execution_id: ExecutionID, revision: int = 0) -> None:
        self.revision = revision
        self._id = execution_id
        self._graphql_id = strawberry.ID(execution_id)
        self._trace_id = strawberry.ID(trace_id(execution_id))

    def observe(self, recorded: Recorded) -> None:
        """Take note of another graph: what follows runs its revision."""
        if isinstance(recorded.event, facts.DiagramMutated):
            self.revision = recorded.event.revision_number

    def translate(self, recorded: Recorded, before: Before) -> ExecutionEvent:
        """The GraphQL value; `before` knows what it needs of the log."""
        fact, head = recorded.event, self._head(recorded)
        match fact:
            case facts.ExecutionForked():
                return self._forked(fact, head, before)
            case (
                facts.ExecutionStarted() | facts.ExecutionStatusChanged() | facts.RunnerRestarted()
            ):
                return _of_run(fact, head)
            case facts.ExecutionCompleted() | facts.ExecutionFailed() | facts.ExecutionAborted():
                return _terminal(fact, head, before.duration_of(recorded))
            case facts.ObservedError() | facts.StateChanged():
                return _observation(fact, head)
            case facts.ParallelStarted() | facts.BranchCompleted() | facts.ParallelCompleted():
                return _of_parallel(fact, head)
            case facts.NodeCompleted() | facts.NodeFailed():
                return self._result(fact, recorded, before.duration_of(recorded))
            case _:
                return self._further(fact, head, before)

    def _forked(self, fact: facts.ExecutionForked, head: Head, before: Before) -> ExecutionEvent:
        return events.ExecutionStarted(
            **head,
            revision_number=self.revision,
            content_hash=before.content_hash(),
            variables=JSON(before.variables()),
            actor=fact.actor,
            parent_id=strawberry.ID(fact.parent_id or fact.origin),
            forked_at=fact.forked_at,
        )

    def _further(
        self,
        fact: steered.Steering | facts.NodeSkipped | _OfCheckpoint | _OfVisit,
        head: Head,
        before: Before,
    ) -> ExecutionEvent:
        match fact:
            case facts.CheckpointSaved() | facts.CheckpointFailed():
                return _of_checkpoint(fact, head)
            case facts.NodeSkipped(node=node):
                return events.NodeSkipped(
                    **head,
                    node_key=node,
                    occurrence=before.visits_of(node),
                    reason=fact.reason,
                    actor=fact.actor,
                    comment=fact.comment,
                )
            case (
                facts.NodeStarted()
                | facts.NodeInterrupted()
                | facts.NodeRetryScheduled()
                | facts.NodeMaxIterationsReached()
                | facts.NodeReported()
                | facts.ResultDiscarded()
            ):
                return self._of_node(fact, head)
            case _:
                return steered.translate(fact, head, self._id)

    def _head(self, recorded: Recorded) -> Head:
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
    ) -> ExecutionEvent:
        head, run = self._head(recorded), fact.node_run
        span = strawberry.ID(span_id(self._id, run))
        match fact:
            case facts.NodeCompleted():
                return events.NodeCompleted(
                    **head,
                    **attempt(run),
                    span_id=span,
                    duration=duration,
                    token_usage=token_usage(fact.token_usage),
                    output=envelope(fact.output, self._id, recorded.at),
                    ports=list(fact.ports),
                )
            case facts.NodeFailed():
                return events.NodeFailed(
                    **head,
                    **attempt(run),
                    span_id=span,
                    duration=duration,
                    token_usage=token_usage(fact.token_usage),
                    error=execution_error(fact.failure),
                    will_retry=fact.will_retry,
                )

    def _of_node(
        self,
        fact: _OfVisit,
        head: Head,
    ) -> ExecutionEvent:
        match fact:
            case facts.NodeStarted(node_run=run):
                span = strawberry.ID(span_id(self._id, run))
                return events.NodeStarted(
                    **head, **attempt(run), span_id=span, revision_number=self.revision
                )
            case facts.NodeInterrupted(node_run=run, reason=reason, will_rerun=will_rerun):
                span = strawberry.ID(span_id(self._id, run))
                return events.NodeInterrupted(
                    **head, **attempt(run), span_id=span, reason=reason, will_rerun=will_rerun
                )
            case facts.NodeRetryScheduled(node_run=run):
                return events.NodeRetryScheduled(
                    **head,
                    **attempt(run),
                    due_at=fact.due_at,
                    error=execution_error(fact.failure),
                    actor=fact.actor,
                )
            case facts.NodeMaxIterationsReached(node_run=run, limit=limit):
                return events.NodeMaxIterationsReached(**head, **visit(run), limit=limit)
            case facts.NodeReported(node_run=run, status=status):
                return events.NodeReported(**head, **attempt(run), status=status)
            case facts.ResultDiscarded(node_run=run, reason=reason):
                return events.ResultDiscarded(**head, **attempt(run), reason=reason)
            case _ as unreachable:
                assert_never(unreachable)


def _of_run(
    fact: facts.ExecutionStarted | facts.ExecutionStatusChanged | facts.RunnerRestarted, head: Head
) -> ExecutionEvent:
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
                cause=fact.cause,
            )
        case facts.RunnerRestarted(interrupted=interrupted):
            return events.RunnerRestarted(**head, interrupted=interrupted)


def _of_parallel(
    fact: facts.ParallelStarted | facts.BranchCompleted | facts.ParallelCompleted, head: Head
) -> ExecutionEvent:
    run = fact.node_run
    match fact:
        case facts.ParallelStarted(branches=branches):
            return events.ParallelStarted(**head, **visit(run), branches=list(branches))
        case facts.BranchCompleted(failure=failure):
            return events.BranchCompleted(
                **head,
                **visit(run),
                branch=fact.branch,
                is_success=failure is None,
                duration=timedelta(seconds=fact.duration_seconds),
                error=execution_error(failure) if failure else None,
            )
        case facts.ParallelCompleted(duration_seconds=seconds):
            duration = timedelta(seconds=seconds)
            return events.ParallelCompleted(**head, **visit(run), duration=duration)


def _terminal(
    fact: facts.ExecutionCompleted | facts.ExecutionFailed | facts.ExecutionAborted,
    head: Head,
    duration: timedelta,
) -> ExecutionEvent:
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


def _observation(fact: facts.ObservedError | facts.StateChanged, head: Head) -> ExecutionEvent:
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
                value=json_value(value),
                is_deleted=is_deleted,
            )


def node_key_of(recorded: Recorded) -> str | None:
    """The node that an event is about, or None."""
    fact = recorded.event
    if isinstance(fact, facts.NodeSkipped | facts.EarlyDecisionChanged):
        return fact.node
    run: NodeRun | None = getattr(fact, "node_run", None)
    if run is None and isinstance(fact, facts.ObservedError):
        return fact.failure.node
    return run.node if run else None


def _of_checkpoint(fact: _OfCheckpoint, head: Head) -> ExecutionEvent:
    match fact:
        case facts.CheckpointSaved():
            return events.CheckpointSaved(
                **head,
                checkpoint_id=strawberry.ID(fact.checkpoint_id),
                at=fact.at,
                trigger=fact.trigger,
                size_bytes=fact.size_bytes,
            )
        case facts.CheckpointFailed(trigger=trigger, message=message):
            return events.CheckpointFailed(**head, trigger=trigger, message=message)
        case _ as unreachable:
            assert_never(unreachable)
