"""How one node of a run stands, and how it came there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.context import OperationContext
from dipeo_server.api.history import History, RunRecord
from dipeo_server.api.types.arguments import Occurrence
from dipeo_server.api.types.described import computed, object_type
from dipeo_server.api.types.diagram import DiagramNode, Graph
from dipeo_server.api.types.outcome import (
    Envelope,
    ExecutionError,
    TokenUsage,
    envelope,
    execution_error,
    token_usage,
)
from dipeo_server.domains.diagram.fingerprint import node_fingerprint
from dipeo_server.domains.execution import resolver, state
from dipeo_server.domains.execution.blocking import blockers
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.domains.execution.status import NodeExecutionStatus


@object_type
class ResolvedInput:
    """Where an input came from: edge, producing run, transformations applied."""

    name: str = strawberry.field(description="Its name at the node.")
    value: JSON | None = strawberry.field(description="Its value, transformed.")
    edge_key: str | None = strawberry.field(description="The edge it came on.")
    produced_by: str | None = strawberry.field(description="Key of the node that gave it.")
    occurrence: int | None = strawberry.field(description="Which visit of that node gave it.")
    transforms: list[str] = strawberry.field(description="Rules applied to it, in order.")


def resolved_input(found: resolver.ResolvedInput) -> ResolvedInput:
    """The GraphQL value of an input."""
    return ResolvedInput(
        name=found.name,
        value=None if found.value is None else JSON(found.value),
        edge_key=found.edge,
        produced_by=found.produced_by,
        occurrence=found.occurrence,
        transforms=list(found.transforms),
    )


@object_type
class NodeRun:
    """One attempt of one visit of a node."""

    occurrence: int = strawberry.field(description="Which visit, from 1.")
    attempt: int = strawberry.field(description="Which attempt of it, from 1.")
    status: NodeExecutionStatus = strawberry.field(description="Where it stands, or how it ended.")
    started_at: datetime | None = strawberry.field(description="When it began.")
    ended_at: datetime | None = strawberry.field(description="When it ended.")
    duration: timedelta | None = strawberry.field(description="From beginning to end.")
    error: ExecutionError | None = strawberry.field(description="Why it failed.")
    token_usage: TokenUsage | None = strawberry.field(description="What it cost.")
    output: Envelope | None = strawberry.field(description="What it gave.")
    revision_number: int = strawberry.field(description="The revision it ran with.")


def node_run(record: RunRecord, execution_id: ExecutionID) -> NodeRun:
    """The GraphQL value of an attempt."""
    made_at = record.ended_at or record.started_at
    output = record.output
    return NodeRun(
        occurrence=record.node_run.occurrence,
        attempt=record.node_run.attempt,
        status=record.status,
        started_at=record.started_at,
        ended_at=record.ended_at,
        duration=duration(record.started_at, record.ended_at),
        error=execution_error(record.failure) if record.failure else None,
        token_usage=token_usage(record.token_usage) if record.token_usage else None,
        output=envelope(output, execution_id, made_at) if output and made_at else None,
        revision_number=record.revision,
    )


def duration(started_at: datetime | None, ended_at: datetime | None) -> timedelta | None:
    """The time between; None while one of them is missing."""
    return None if started_at is None or ended_at is None else ended_at - started_at


@object_type
class Blocker:
    """Why a node has not run, or was skipped."""

    reason: str = strawberry.field(
        description=(
            "upstream, person, delay or retry: what it waits for; paused, breakpoint, limit, "
            "step, places or ending: what holds it; ended: the run was over before; or the "
            "reason of a skip, as `skipReason` has it."
        )
    )
    node_key: str | None = strawberry.field(description="The node that blocks it, if one does.")
    edge_key: str | None = strawberry.field(description="The edge that it blocks it along.")
    detail: str = strawberry.field(description="For people.")


class Whole:
    """What the node states of one execution share: its diagram, and its history when asked."""

    def __init__(
        self,
        view: ExecutionView,
        created_at: datetime,
        history: Callable[[], Awaitable[History]],
    ) -> None:
        self.view = view
        self.execution_id = view.id
        self.graph = Graph(view.diagram)
        self.created_at = created_at
        self.history = history


@object_type
class NodeState:
    """How one node stands: its last visit, or its skip if it never had one."""

    node_key: str = strawberry.field(description="Key of the node.")
    status: NodeExecutionStatus = strawberry.field(description="The status of its last visit.")
    occurrence: int = strawberry.field(description="How often it was visited.")
    attempt: int = strawberry.field(description="Which attempt of its last visit.")
    started_at: datetime | None = strawberry.field(description="When that attempt began.")
    ended_at: datetime | None = strawberry.field(description="When that attempt ended.")
    duration: timedelta | None = strawberry.field(description="From beginning to end.")
    error: ExecutionError | None = strawberry.field(description="Why it failed.")
    skip_reason: str | None = strawberry.field(description="Why it was never visited.")
    token_usage: TokenUsage | None = strawberry.field(description="What its last visit cost.")
    stood: strawberry.Private[state.NodeState]
    whole: strawberry.Private[Whole]

    @computed
    def node(self) -> DiagramNode | None:
        """The node in the diagram."""
        return self.whole.graph.node(self.node_key)

    @computed
    def blocked_by(self) -> list[Blocker]:
        """What keeps it from running; empty if it runs or has run."""
        return [
            Blocker(
                reason=found.reason,
                node_key=found.node,
                edge_key=found.edge,
                detail=found.detail,
            )
            for found in blockers(self.whole.view, self.node_key)
        ]

    @computed
    def fingerprint(self) -> str:
        """What its result rests on: the same as long as its settings and incoming edges are.

        Pass it with a result in `initialState`, so that a changed node runs again.
        """
        diagram = self.whole.graph.diagram
        return node_fingerprint(diagram, diagram.get_node(self.node_key))

    @computed
    def output(self) -> Envelope | None:
        """What its last visit with a result gave."""
        made = self.stood.output
        if made is None:
            return None
        at = self.ended_at or self.started_at or self.whole.created_at
        return envelope(made, self.whole.execution_id, at)

    @computed
    async def runs(self) -> list[NodeRun]:
        """Every attempt of every visit, in order."""
        history = await self.whole.history()
        return [node_run(run, self.whole.execution_id) for run in history.runs_of(self.node_key)]

    @computed
    async def inputs(self, occurrence: Occurrence = None) -> list[ResolvedInput]:
        """What one visit was given; empty for a visit that has not begun."""
        history = await self.whole.history()
        visit = (self.node_key, occurrence or self.occurrence)
        diagram = history.diagrams.get(visit, self.whole.graph.diagram)
        found = resolver.resolve(diagram, history.inputs.get(visit, ()))
        return [resolved_input(source) for source in found.sources]


def node_state(key: str, stood: state.NodeState, whole: Whole) -> NodeState:
    """The GraphQL value of a node's state."""
    return NodeState(
        node_key=key,
        status=stood.status,
        occurrence=stood.occurrence,
        attempt=stood.attempt,
        started_at=stood.started_at,
        ended_at=stood.ended_at,
        duration=duration(stood.started_at, stood.ended_at),
        error=execution_error(stood.failure) if stood.failure else None,
        skip_reason=stood.skip_reason,
        token_usage=token_usage(stood.token_usage) if stood.token_usage else None,
        stood=stood,
        whole=whole,
    )


async def output_of(
    context: OperationContext, view: ExecutionView, node: str, occurrence: int
) -> Envelope | None:
    """What one visit gave, from the log."""
    history = await context.histories.load((view.id, view.last_seq))
    for run in reversed(history.runs_of(node)):
        if run.node_run.occurrence == occurrence and run.output is not None:
            return node_run(run, view.id).output
    return None
