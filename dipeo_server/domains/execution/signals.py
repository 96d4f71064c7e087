"""What the outside may tell the machine; it may be late, repeated or illegal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.blobs import BlobRef
from dipeo_server.domains.execution.delta import StateDelta
from dipeo_server.domains.execution.events import (
    BarrierAction,
    Durability,
    ErrorStrategy,
    Failure,
)
from dipeo_server.domains.execution.ids import BarrierID, DiagramID, ExecutionID, NodeRun
from dipeo_server.domains.execution.output import HandlerResult, NodeOutput, TokenUsage


@dataclass(frozen=True, slots=True)
class StartRequested:
    """Run this compiled diagram. `max_steps` None = the larger of 10,000 and 10 x nodes."""

    execution_id: ExecutionID
    diagram: ExecutableDiagram
    variables: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    error_strategy: ErrorStrategy = ErrorStrategy.FAIL_FAST
    durability: Durability = Durability.ADAPTIVE
    actor: str | None = None
    parent: NodeRun | None = None
    parent_id: ExecutionID | None = None
    diagram_id: DiagramID | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class NodeReturned:
    """A handler came back with a result; `blob` holds its body where that is large."""

    node_run: NodeRun
    result: HandlerResult
    deltas: tuple[StateDelta, ...] = ()
    observed: tuple[Failure, ...] = ()
    blob: BlobRef | None = None


@dataclass(frozen=True, slots=True)
class NodeRaised:
    """A handler failed."""

    node_run: NodeRun
    failure: Failure
    token_usage: TokenUsage | None = None
    observed: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeStopped:
    """A handler that was no longer wanted has ended (cancelled, or killed after its grace)."""

    node_run: NodeRun
    reason: str


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A handler told its result before it returned (`update_node_status`)."""

    node_run: NodeRun
    result: NodeOutput


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The deadline of a waiting NodeRun has passed."""

    node_run: NodeRun


@dataclass(frozen=True, slots=True)
class BarrierDecided:
    """Somebody decided a waiting barrier."""

    barrier: BarrierID
    action: BarrierAction
    reason: str | None = None
    answer: Any = None
    puts: Mapping[str, Any] = field(default_factory=dict)
    reroute: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """Go on after a pause; `max_steps` raises the limit that paused the run."""

    max_steps: int | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class AbortRequested:
    """End the run: running nodes are cancelled, then it is ABORTED; beats every decision."""

    reason: str | None = None
    actor: str | None = None
    grace_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class RunnerRestarted:
    """A new runner took over; what was running is not running any more."""


Signal: TypeAlias = (
    StartRequested
    | NodeReturned
    | NodeRaised
    | NodeStopped
    | NodeReport
    | TimerFired
    | BarrierDecided
    | ResumeRequested
    | AbortRequested
    | RunnerRestarted
)
