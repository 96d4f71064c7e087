"""Arguments that several fields take, with their descriptions."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import strawberry

from dipeo_server.api.types.enums import DiagramFormat
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.status import BarrierStatus, NodeExecutionStatus

First: TypeAlias = Annotated[
    int | None, strawberry.argument(description="How many at most, from the beginning (1 to 100).")
]
After: TypeAlias = Annotated[
    str | None, strawberry.argument(description="Only what comes behind this cursor.")
]
Last: TypeAlias = Annotated[
    int | None, strawberry.argument(description="How many at most, from the end (1 to 100).")
]
Before: TypeAlias = Annotated[
    str | None, strawberry.argument(description="Only what comes before this cursor.")
]
Format: TypeAlias = Annotated[DiagramFormat, strawberry.argument(description="Which format.")]
Key: TypeAlias = Annotated[
    str | None,
    strawberry.argument(
        description=(
            "The same key with the same arguments gives the same answer for 24 hours, and does "
            "nothing again."
        )
    ),
]
RevisionNumber: TypeAlias = Annotated[int, strawberry.argument(description="Its number, from 1.")]
ExecutionArgument: TypeAlias = Annotated[strawberry.ID, strawberry.argument(description="The run.")]
OptionalReason: TypeAlias = Annotated[str | None, strawberry.argument(description="Why.")]
NodeKey: TypeAlias = Annotated[str, strawberry.argument(description="Key of the node.")]
Occurrence: TypeAlias = Annotated[
    int | None, strawberry.argument(description="Which visit, from 1; null = the last one.")
]
NodeStatuses: TypeAlias = Annotated[
    list[NodeExecutionStatus] | None,
    strawberry.argument(description="Only nodes in one of these statuses; null = all."),
]
AnyBarrierStatus: TypeAlias = Annotated[
    BarrierStatus | None,
    strawberry.argument(description="Only barriers in this status; null = all."),
]
EventsFirst: TypeAlias = Annotated[
    int | None, strawberry.argument(description="How many at most (1 to 1,000).")
]
AfterSequence: TypeAlias = Annotated[
    Seq | None, strawberry.argument(description="Only events behind this one.")
]
AfterLine: TypeAlias = Annotated[
    str | None, strawberry.argument(description="Only lines behind this cursor.")
]
OneNodeKey: TypeAlias = Annotated[
    str | None, strawberry.argument(description="Only this node; null = all.")
]
