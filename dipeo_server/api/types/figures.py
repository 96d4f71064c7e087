"""Figures of a run: metrics and timeline, both folded from its log."""

from __future__ import annotations

from datetime import datetime, timedelta

import strawberry

from dipeo_server.api.history import History, RunRecord
from dipeo_server.api.types.described import object_type
from dipeo_server.api.types.outcome import TokenUsage, token_usage
from dipeo_server.domains.execution.status import NodeExecutionStatus


@object_type
class ExecutionMetrics:
    """How a run went, as figures; every attempt of every visit counts as a node run."""

    node_runs: int = strawberry.field(description="Node runs that began.")
    succeeded: int = strawberry.field(description="Node runs that gave a result.")
    failed: int = strawberry.field(description="Node runs that failed, retried ones included.")
    skipped: int = strawberry.field(description="Skips.")
    retried: int = strawberry.field(description="Failed node runs that were tried again.")
    max_parallelism: int = strawberry.field(description="Most node runs at one time.")
    busy: timedelta = strawberry.field(description="Sum of the times of all node runs.")
    wait: timedelta = strawberry.field(
        description="Sum of the times for which ready nodes waited for their start."
    )
    critical_path: list[str] = strawberry.field(
        description="Nodes from a start to the last end, each waited for by the next."
    )
    path: list[str] = strawberry.field(description="Nodes in the order of their starts.")
    token_usage: TokenUsage = strawberry.field(description="What all of it cost.")


@object_type
class TimelineEntry:
    """One attempt of one visit, for drawing."""

    node_key: str = strawberry.field(description="Key of the node.")
    occurrence: int = strawberry.field(description="Which visit, from 1.")
    attempt: int = strawberry.field(description="Which attempt of it, from 1.")
    ready_at: datetime | None = strawberry.field(description="When it could have begun.")
    started_at: datetime | None = strawberry.field(description="When it began.")
    ended_at: datetime | None = strawberry.field(description="When it ended.")
    status: NodeExecutionStatus = strawberry.field(description="Where it stands, or how it ended.")


def execution_metrics(history: History) -> ExecutionMetrics:
    """The GraphQL value of a run's figures."""
    figures = history.metrics
    return ExecutionMetrics(
        node_runs=figures.node_runs,
        succeeded=figures.succeeded,
        failed=figures.failed,
        skipped=figures.skipped,
        retried=figures.retried,
        max_parallelism=figures.max_parallelism,
        busy=figures.busy,
        wait=history.wait,
        critical_path=list(history.critical_path),
        path=list(figures.path),
        token_usage=token_usage(figures.token_usage),
    )


def timeline_entry(run: RunRecord) -> TimelineEntry:
    """The GraphQL value of an attempt on the timeline."""
    return TimelineEntry(
        node_key=run.node_run.node,
        occurrence=run.node_run.occurrence,
        attempt=run.node_run.attempt,
        ready_at=run.ready_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        status=run.status,
    )
