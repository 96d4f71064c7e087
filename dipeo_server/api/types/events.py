"""The events of a run: one type for each fact that a log can hold."""

from __future__ import annotations

from datetime import datetime, timedelta

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.types.described import object_type
from dipeo_server.api.types.event_bases import ExecutionEvent, OfAttempt, OfNode, OfSpan
from dipeo_server.api.types.outcome import Envelope, ExecutionError, TokenUsage
from dipeo_server.api.types.paging import PageInfo
from dipeo_server.api.types.steering import (
    BarrierResolved,
    BarrierWaiting,
    BreakpointHit,
    BreakpointsChanged,
    DiagramMutated,
    EarlyDecisionChanged,
    LimitRaised,
    NodeOutputSet,
)
from dipeo_server.domains.execution.checkpoint import CheckpointTrigger
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus


@object_type
class ExecutionStarted(ExecutionEvent):
    """The run was accepted: always the first event; of a fork also the first that is its own."""

    revision_number: int | None = strawberry.field(
        description="The diagram's revision; 0 for an inline document."
    )
    content_hash: str = strawberry.field(description="The graph hash that a resume compares.")
    variables: JSON = strawberry.field(description="What it started with.")
    actor: str | None = strawberry.field(description="Who started it.")
    parent_id: strawberry.ID | None = strawberry.field(
        description="The run that started it, or that it is a fork of."
    )
    forked_at: Seq | None = strawberry.field(
        default=None, description="Where it left its parent, if it is a fork."
    )


@object_type
class ExecutionStatusChanged(ExecutionEvent):
    """The run's status changed, but for the last time.

    With the same status twice the run is stopping what still runs.
    """

    from_: ExecutionStatus = strawberry.field(name="from", description="The status before.")
    to: ExecutionStatus = strawberry.field(description="The status from now on.")
    reason: str | None = strawberry.field(description="Why.")
    actor: str | None = strawberry.field(description="Who did it.")
    cause: str | None = strawberry.field(
        description=(
            "What paused it: user, start_paused, step, breakpoint, max_steps, max_tokens, "
            "max_seconds or parent; null for any other change."
        )
    )


@object_type
class NodeStarted(OfSpan):
    """An attempt began."""

    revision_number: int = strawberry.field(description="The revision it ran with.")


@object_type
class NodeCompleted(OfSpan):
    """An attempt gave a result."""

    duration: timedelta = strawberry.field(description="From its start.")
    token_usage: TokenUsage = strawberry.field(description="What it cost.")
    output: Envelope = strawberry.field(description="What it gave.")
    ports: list[str] = strawberry.field(description="Which of its ports fired.")


@object_type
class NodeFailed(OfSpan):
    """An attempt failed."""

    duration: timedelta = strawberry.field(description="From its start.")
    token_usage: TokenUsage = strawberry.field(description="What it cost.")
    error: ExecutionError = strawberry.field(description="Why.")
    will_retry: bool = strawberry.field(description="Is there to be another attempt?")


@object_type
class NodeInterrupted(OfSpan):
    """An attempt was stopped from outside."""

    reason: str = strawberry.field(description="Why.")
    will_rerun: bool = strawberry.field(description="Will it run again?")


@object_type
class NodeSkipped(ExecutionEvent):
    """A node does not run in this turn."""

    node_key: str = strawberry.field(description="Key of the node.")
    occurrence: int = strawberry.field(
        description="How often the node had been visited by then: a skip is no visit."
    )
    reason: str = strawberry.field(
        description=(
            "unreachable, branch_not_taken, join_not_met, upstream_failed, skip_branch, "
            "barrier_skipped or by_user."
        )
    )
    actor: str | None = strawberry.field(description="Who did it.")
    comment: str | None = strawberry.field(description="What they said about it.")


@object_type
class NodeRetryScheduled(OfAttempt):
    """A failed attempt will be followed by another."""

    due_at: datetime = strawberry.field(description="When it starts.")
    error: ExecutionError = strawberry.field(description="Why the attempt failed.")
    actor: str | None = strawberry.field(
        description="Who asked for it; null where the node's policy does."
    )


@object_type
class NodeMaxIterationsReached(OfNode):
    """A node at its limit was reached again; it gives its last output once more."""

    limit: int = strawberry.field(description="How often it may run.")


@object_type
class NodeReported(OfAttempt):
    """A word from a running visit: a result it has before it returns, or that it waits."""

    status: NodeExecutionStatus = strawberry.field(description="COMPLETED or WAITING.")


@object_type
class ResultDiscarded(OfAttempt):
    """A result came too late and was not applied."""

    reason: str = strawberry.field(description="Why it was too late.")


@object_type
class ObservedError(ExecutionEvent):
    """Something went wrong that does not fail the run."""

    node_key: str | None = strawberry.field(description="The node it happened in.")
    occurrence: int | None = strawberry.field(description="The visit it happened in.")
    error: ExecutionError = strawberry.field(description="What went wrong.")


@object_type
class StateChanged(ExecutionEvent):
    """An execution variable was set or deleted."""

    node_key: str | None = strawberry.field(description="The node that did it.")
    occurrence: int | None = strawberry.field(description="The visit that did it.")
    key: str = strawberry.field(description="Name of the variable.")
    value: JSON | None = strawberry.field(description="Its value from now on.")
    is_deleted: bool = strawberry.field(description="Was it deleted?")


@object_type
class ParallelStarted(OfNode):
    """A parallel group runs its branches, side by side."""

    branches: list[str] = strawberry.field(description="Their names.")


@object_type
class BranchCompleted(OfNode):
    """A branch of a parallel group has ended."""

    branch: str = strawberry.field(description="Its name.")
    is_success: bool = strawberry.field(description="Did it end well?")
    duration: timedelta = strawberry.field(description="From its start.")
    error: ExecutionError | None = strawberry.field(description="Why it failed.")


@object_type
class ParallelCompleted(OfNode):
    """Every branch of a parallel group has ended."""

    duration: timedelta = strawberry.field(description="From the group's start.")


@object_type
class RunnerRestarted(ExecutionEvent):
    """A new runner took the run over."""

    interrupted: int = strawberry.field(description="How many visits were running.")


@object_type
class CheckpointSaved(ExecutionEvent):
    """The state behind an event is kept: with it the log need not be folded from its beginning."""

    checkpoint_id: strawberry.ID = strawberry.field(description="The checkpoint's id.")
    at: Seq = strawberry.field(description="Behind which event.")
    trigger: CheckpointTrigger = strawberry.field(description="What it was taken for.")
    size_bytes: int = strawberry.field(
        description="What it takes: less than the state where it is a difference to the one before."
    )


@object_type
class CheckpointFailed(ExecutionEvent):
    """A checkpoint could not be taken; what that does to the run, its `checkpointFailure` said."""

    trigger: CheckpointTrigger = strawberry.field(description="What it should have been taken for.")
    message: str = strawberry.field(description="Why.")


@object_type
class ExecutionCompleted(ExecutionEvent):
    """The run ended well."""

    duration: timedelta = strawberry.field(description="From its start.")
    token_usage: TokenUsage = strawberry.field(description="What it cost.")
    observed_errors: int = strawberry.field(description="What went wrong without failing it.")


@object_type
class ExecutionFailed(ExecutionEvent):
    """The run ended with a failure that nothing handled."""

    duration: timedelta = strawberry.field(description="From its start.")
    token_usage: TokenUsage = strawberry.field(description="What it cost.")
    error: ExecutionError = strawberry.field(description="The first failure.")
    errors: list[ExecutionError] = strawberry.field(description="All of them.")


@object_type
class ExecutionAborted(ExecutionEvent):
    """Somebody ended the run."""

    duration: timedelta = strawberry.field(description="From its start.")
    token_usage: TokenUsage = strawberry.field(description="What it cost.")
    reason: str | None = strawberry.field(description="Why.")
    actor: str | None = strawberry.field(description="Who did it.")


EVENT_TYPES = (
    ExecutionStarted,
    ExecutionStatusChanged,
    NodeStarted,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeSkipped,
    NodeRetryScheduled,
    NodeMaxIterationsReached,
    NodeOutputSet,
    NodeReported,
    ResultDiscarded,
    ObservedError,
    StateChanged,
    ParallelStarted,
    BranchCompleted,
    ParallelCompleted,
    BarrierWaiting,
    BarrierResolved,
    EarlyDecisionChanged,
    BreakpointsChanged,
    BreakpointHit,
    LimitRaised,
    DiagramMutated,
    RunnerRestarted,
    CheckpointSaved,
    CheckpointFailed,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionAborted,
)
"""Every type that implements ExecutionEvent."""


@object_type
class ExecutionEventConnection:
    """A page of a log, in order.

    `endCursor` is the last event's sequence, null on an empty page: then ask again later with the
    same `after`. `hasNextPage` tells whether more is stored now.
    """

    nodes: list[ExecutionEvent] = strawberry.field(description="The events.")
    page_info: PageInfo = strawberry.field(description="Where the page lies in the log.")
