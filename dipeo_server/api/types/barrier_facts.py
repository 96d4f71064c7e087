"""What a barrier tells of itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.ids import Kind, PartID
from dipeo_server.api.types.described import object_type
from dipeo_server.api.types.paging import Node
from dipeo_server.api.types.steered import barrier_action
from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.state import BarrierRecord
from dipeo_server.domains.execution.status import BarrierStatus


@object_type
class BarrierFacts(Node):
    """What is told of a barrier; the base of `Barrier`."""

    node_key: str = strawberry.field(description="Key of the node.")
    occurrence: int = strawberry.field(description="Which visit of the node, from 1.")
    status: BarrierStatus = strawberry.field(description="How it stands, or ended.")
    prompt: JSON | None = strawberry.field(description="What is asked.")
    answer_schema: JSON | None = strawberry.field(description="JSON schema of an answer.")
    waiting_since: datetime = strawberry.field(description="Since when somebody is asked.")
    expires_at: datetime | None = strawberry.field(description="When the default is taken.")
    default_action: BarrierAction | None = strawberry.field(description="What is done then.")
    decided_at: datetime | None = strawberry.field(description="When it was decided.")
    decided_by: str | None = strawberry.field(description="Who; null for a default action.")
    reason: str | None = strawberry.field(description="Why, or a comment.")


def barrier_facts(record: BarrierRecord, execution_id: ExecutionID) -> dict[str, Any]:
    """The values of those fields."""
    at = record.id
    part = PartID(Kind.BARRIER, execution_id, at.node, at.occurrence, at.attempt)
    return {
        "id": strawberry.ID(part.encode()),
        "node_key": record.id.node,
        "occurrence": record.id.occurrence,
        "status": record.status,
        "prompt": None if record.prompt is None else JSON(record.prompt),
        "answer_schema": None if record.answer_schema is None else JSON(dict(record.answer_schema)),
        "waiting_since": record.waiting_since,
        "expires_at": record.expires_at,
        "default_action": barrier_action(record.default_action),
        "decided_at": record.decided_at,
        "decided_by": record.decided_by,
        "reason": record.reason,
    }
