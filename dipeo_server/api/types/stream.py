"""What a subscription to a run delivers: its events, or the advice to load it anew."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import strawberry

from dipeo_server.api.types import events, steering
from dipeo_server.api.types.described import object_type
from dipeo_server.api.types.execution import ExecutionStateType


@object_type
class ResyncRequired:
    """The log cannot be told from there on: load the snapshot, then go on from it.

    It is the only item, and the operation completes.
    """

    reason: str = strawberry.field(description="Why.")
    snapshot: ExecutionStateType = strawberry.field(description="The run as it is now.")


ExecutionStreamItem: TypeAlias = Annotated[
    events.ExecutionStarted
    | events.ExecutionStatusChanged
    | events.NodeStarted
    | events.NodeCompleted
    | events.NodeFailed
    | events.NodeInterrupted
    | events.NodeSkipped
    | events.NodeRetryScheduled
    | events.NodeMaxIterationsReached
    | steering.NodeOutputSet
    | events.NodeReported
    | events.ResultDiscarded
    | events.ObservedError
    | events.StateChanged
    | events.ParallelStarted
    | events.BranchCompleted
    | events.ParallelCompleted
    | steering.BarrierWaiting
    | steering.BarrierResolved
    | steering.EarlyDecisionChanged
    | steering.BreakpointsChanged
    | steering.BreakpointHit
    | steering.LimitRaised
    | steering.DiagramMutated
    | events.RunnerRestarted
    | events.CheckpointSaved
    | events.CheckpointFailed
    | events.ExecutionCompleted
    | events.ExecutionFailed
    | events.ExecutionAborted
    | ResyncRequired,
    strawberry.union(
        "ExecutionStreamItem", description="An event of a run, or the advice to load it anew."
    ),
]
