"""What mutations answer: the objects they changed, and why they did not."""

from __future__ import annotations

import strawberry

from dipeo_server.api.types.described import object_type
from dipeo_server.api.types.execution import (
    Barrier,
    Checkpoint,
    Diagram,
    DiagramRevision,
    ExecutionStateType,
)
from dipeo_server.api.types.interventions import EarlyDecision
from dipeo_server.api.types.problems import UserError


@object_type
class DiagramPayload:
    """A stored diagram, or why nothing was changed."""

    diagram: Diagram | None = strawberry.field(
        default=None, description="The diagram behind the change; null where it was refused."
    )
    revision: DiagramRevision | None = strawberry.field(
        default=None,
        description="The revision that the change made or found; null where it was refused.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why nothing was changed; empty where it was."
    )


@object_type
class ExecutionPayload:
    """A run, or why there is none."""

    execution: ExecutionStateType | None = strawberry.field(
        default=None, description="The run behind the change; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why nothing was done; empty where it was."
    )


@object_type
class BarrierPayload:
    """A barrier with its run, or why nothing was decided."""

    barrier: Barrier | None = strawberry.field(
        default=None,
        description="The barrier behind the decision; null where it was refused, or is to come.",
    )
    early_decision: EarlyDecision | None = strawberry.field(
        default=None,
        description="The decision, where it was made ahead of time or revoked; null otherwise.",
    )
    execution: ExecutionStateType | None = strawberry.field(
        default=None, description="The run behind the decision; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why nothing was decided; empty where it was."
    )


@object_type
class CheckpointPayload:
    """A checkpoint, or why there is none."""

    checkpoint: Checkpoint | None = strawberry.field(
        default=None, description="The checkpoint; null where it was refused, or failed."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why none was taken; empty where one was."
    )


@object_type
class DeleteCheckpointsPayload:
    """How many checkpoints have been deleted, or why none was."""

    deleted_count: int = strawberry.field(
        default=0, description="How many are not there any more that were there before."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why none was deleted; empty where nothing was refused."
    )


@object_type
class DeletePayload:
    """What has been deleted, or why nothing was."""

    deleted_id: strawberry.ID | None = strawberry.field(
        default=None, description="The id that nothing has any more; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why nothing was deleted; empty where it was."
    )
