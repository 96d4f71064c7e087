"""What people set for a run: its breakpoints, and decisions ahead of time."""

from __future__ import annotations

from datetime import datetime

import strawberry

from dipeo_server.api.ids import Kind, PartID
from dipeo_server.api.types.described import object_type
from dipeo_server.domains.execution import interventions
from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.interventions import BreakpointWhen


@object_type
class Breakpoint:
    """Where a run pauses."""

    node_key: str = strawberry.field(description="Key of the node.")
    when: BreakpointWhen = strawberry.field(description="On which side of the node.")
    condition: str | None = strawberry.field(
        description="Expression that must hold; null = always."
    )


def breakpoint_of(given: interventions.Breakpoint) -> Breakpoint:
    """The GraphQL value of a breakpoint."""
    return Breakpoint(node_key=given.node, when=given.when, condition=given.condition)


@object_type
class EarlyDecision:
    """A decision on a barrier, made before the barrier was reached."""

    id: strawberry.ID = strawberry.field(description="What `revokeDecision` takes.")
    node_key: str = strawberry.field(description="Key of the node.")
    occurrence: int | None = strawberry.field(
        description="Which visit it is for, from 1; null = every visit."
    )
    action: BarrierAction = strawberry.field(description="What is decided.")
    reason: str | None = strawberry.field(description="Why, or a comment.")
    reroute: str | None = strawberry.field(
        description="Which edge is followed, where it sends the run along another one."
    )
    expires_at: datetime | None = strawberry.field(
        description="When it is void; null = with the run."
    )
    uses_left: int | None = strawberry.field(
        description="How many barriers it may still decide; null = any number."
    )
    created_by: str | None = strawberry.field(description="Who made it.")


def early_decision(made: interventions.EarlyDecision, execution_id: ExecutionID) -> EarlyDecision:
    """The GraphQL value of a decision ahead of time."""
    return EarlyDecision(
        id=decision_id(execution_id, made.id),
        node_key=made.node,
        occurrence=made.occurrence,
        action=made.action,
        reason=made.reason,
        reroute=made.reroute,
        expires_at=made.expires_at,
        uses_left=made.uses_left,
        created_by=made.created_by,
    )


def decision_id(execution_id: ExecutionID, made: str) -> strawberry.ID:
    """The opaque id of a decision ahead of time, which names its execution as well."""
    return strawberry.ID(PartID(Kind.DECISION, execution_id, made).encode())
