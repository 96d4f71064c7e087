"""What events of a run have in common: their place, and the visit they are about."""

from __future__ import annotations

from datetime import datetime

import strawberry

from dipeo_server.api.types.described import interface, object_type
from dipeo_server.domains.execution.ids import Seq


@interface
class ExecutionEvent:
    """A fact about a run, numbered, never changed.

    Of one visit: NodeStarted, then its StateChanged, then its end, then NodeStarted of what
    depends on it. The last event of a run is one of ExecutionCompleted, ExecutionFailed and
    ExecutionAborted.
    """

    sequence: Seq = strawberry.field(description="Its place in the log.")
    execution_id: strawberry.ID = strawberry.field(description="The run it belongs to.")
    timestamp: datetime = strawberry.field(description="When it was recorded; never decreasing.")
    trace_id: strawberry.ID = strawberry.field(description="The run's trace: 32 hex digits.")


@object_type
class OfNode(ExecutionEvent):
    """A fact about one visit of a node."""

    node_key: str = strawberry.field(description="Key of the node.")
    occurrence: int = strawberry.field(description="Which visit of the node, from 1.")


@object_type
class OfAttempt(OfNode):
    """A fact about one attempt of one visit."""

    attempt: int = strawberry.field(description="Which attempt of the visit, from 1.")


@object_type
class OfSpan(OfAttempt):
    """A fact about the beginning or the end of an attempt."""

    span_id: strawberry.ID = strawberry.field(description="The attempt's span: 16 hex digits.")
