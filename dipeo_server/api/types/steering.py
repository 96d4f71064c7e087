"""Events that people and limits make: decisions, breakpoints, limits, outputs set by hand."""

from __future__ import annotations

from datetime import datetime, timedelta

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.types.described import object_type
from dipeo_server.api.types.event_bases import ExecutionEvent, OfAttempt, OfNode
from dipeo_server.api.types.interventions import Breakpoint
from dipeo_server.api.types.outcome import Envelope
from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.status import BarrierStatus


@object_type
class BarrierWaiting(OfNode):
    """A person is asked."""

    barrier_id: strawberry.ID = strawberry.field(description="What to decide on.")
    prompt: JSON | None = strawberry.field(description="What is asked.")
    answer_schema: JSON | None = strawberry.field(description="JSON schema of an answer.")
    expires_at: datetime | None = strawberry.field(description="When the default is taken.")


@object_type
class BarrierResolved(OfNode):
    """The one decision on a barrier."""

    barrier_id: strawberry.ID = strawberry.field(description="What was decided on.")
    status: BarrierStatus = strawberry.field(description="How it ended.")
    action: BarrierAction | None = strawberry.field(description="What was decided.")
    answer: JSON | None = strawberry.field(description="The answer, where one was asked for.")
    reason: str | None = strawberry.field(description="Why, or a comment.")
    decided_by: str | None = strawberry.field(description="Who; null for a default action.")


@object_type
class EarlyDecisionChanged(ExecutionEvent):
    """Something became of a decision that was made ahead of time."""

    decision_id: strawberry.ID = strawberry.field(description="The decision.")
    node_key: str = strawberry.field(description="Key of the node that it is for.")
    occurrence: int | None = strawberry.field(
        description="The visit it is for, or was used at; null = every visit."
    )
    change: str = strawberry.field(description="recorded, used, revoked, expired or unused.")
    actor: str | None = strawberry.field(description="Who did it.")


@object_type
class BreakpointsChanged(ExecutionEvent):
    """From now on these are the breakpoints of the run, and no others."""

    breakpoints: list[Breakpoint] = strawberry.field(description="All of them.")
    actor: str | None = strawberry.field(description="Who did it.")


@object_type
class BreakpointHit(OfNode):
    """The run came to a breakpoint, and pauses; told once for each visit."""

    when: str = strawberry.field(description="BEFORE the node starts, or AFTER it has ended.")


@object_type
class NodeOutputSet(OfAttempt):
    """A visit was given its result instead of running."""

    output: Envelope = strawberry.field(description="What it gives.")
    ports: list[str] = strawberry.field(description="Which of its ports fired.")
    reason: str = strawberry.field(
        description=(
            "by_user, initial_state: taken from what the run was started with, or override: a fork "
            "began with it."
        )
    )
    actor: str | None = strawberry.field(description="Who did it.")


@object_type
class DiagramMutated(ExecutionEvent):
    """The run runs another graph from here on, as its next revision.

    What is in neither list stays as it is.
    """

    revision_number: int = strawberry.field(description="Which revision of the run that is.")
    content_hash: str = strawberry.field(description="The hash of the new graph.")
    rerun: list[str] = strawberry.field(
        description="Keys of nodes that run from now on as something else, or with other inputs."
    )
    unreachable: list[str] = strawberry.field(
        description="Keys of nodes that never run, as no start leads there."
    )
    actor: str | None = strawberry.field(description="Who did it.")


@object_type
class LimitRaised(ExecutionEvent):
    """The run may take more steps, or spend more; what is null has no limit."""

    max_steps: int = strawberry.field(description="How many in all.")
    actor: str | None = strawberry.field(description="Who did it.")
    max_tokens: int | None = strawberry.field(
        description="How many tokens in all, where the limits of spending were set."
    )
    max_time: timedelta | None = strawberry.field(
        description="How long it may be RUNNING, where the limits of spending were set."
    )
