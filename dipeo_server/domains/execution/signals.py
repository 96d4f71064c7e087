"""What the outside may tell the machine; it may be late, repeated or illegal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.blobs import BlobRef
from dipeo_server.domains.execution.checkpoint import CheckpointPolicy, CheckpointSettings
from dipeo_server.domains.execution.delta import StateDelta
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BranchCompleted,
    Breakpoint,
    Budget,
    Durability,
    ErrorStrategy,
    Event,
    Failure,
    GivenOutput,
    ParallelCompleted,
    ParallelStarted,
    StateChanged,
)
from dipeo_server.domains.execution.ids import BarrierID, DiagramID, ExecutionID, NodeRun
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.output import HandlerResult, NodeOutput, TokenUsage


@dataclass(frozen=True, slots=True)
class StartRequested:
    """Run this compiled diagram. `max_steps` None = the larger of 10,000 and 10 x nodes.

    `initial` holds results of an earlier run by node key, taken where their nodes are reached.
    """

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
    is_paused: bool = False
    breakpoints: tuple[Breakpoint, ...] = ()
    budget: Budget = field(default_factory=Budget)
    initial: Mapping[str, GivenOutput] = field(default_factory=dict)
    key: str | None = None
    checkpoints: CheckpointPolicy = ()
    checkpointing: CheckpointSettings = field(default_factory=CheckpointSettings)


@dataclass(frozen=True, slots=True)
class ForkRequested:
    """Go on as another run, from where this one is: it has been folded up to there.

    `last` is its last event there, `undone` takes back what a visit has written that had not
    ended. `outputs` are JSON values by node key.
    """

    execution_id: ExecutionID
    origin: ExecutionID
    last: Event
    undone: tuple[StateChanged, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    actor: str | None = None
    parent: NodeRun | None = None
    parent_id: ExecutionID | None = None
    is_paused: bool = False


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
class NodePutOff:
    """A handler was not entered, since the run had been paused before it got its place."""

    node_run: NodeRun


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
class BudgetTimePassed:
    """The time that the run may be RUNNING has passed, as the runner's timer sees it."""


@dataclass(frozen=True, slots=True)
class BranchTold:
    """What a parallel group's handler tells of its branches while it runs."""

    node_run: NodeRun
    event: ParallelStarted | BranchCompleted | ParallelCompleted


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
class DecisionMade:
    """Decide a node's barriers ahead of time; `occurrence` None = all of them.

    `max_uses` None = without limit for all of them, once for one. What waits already is decided
    at once.
    """

    node: str
    occurrence: int | None
    action: BarrierAction
    reason: str | None = None
    answer: Any = None
    puts: Mapping[str, Any] = field(default_factory=dict)
    reroute: str | None = None
    expires_at: datetime | None = None
    max_uses: int | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class DecisionRevoked:
    """Take a decision back that was made ahead of time."""

    decision_id: str
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """Hold the run; `is_by_parent` where the run that started it was paused."""

    mode: PauseMode = PauseMode.DRAIN
    reason: str | None = None
    actor: str | None = None
    is_by_parent: bool = False


@dataclass(frozen=True, slots=True)
class GraphMutationRequested:
    """Run this diagram from now on; it was made from the run's revision of that number."""

    diagram: ExecutableDiagram
    made_from: int
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """Go on after a pause; `max_steps` and `budget` raise the limits that paused the run.

    `is_by_parent`: only if it was paused with the run that started it.
    """

    max_steps: int | None = None
    budget: Budget | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    actor: str | None = None
    is_by_parent: bool = False
    change: GraphMutationRequested | None = None


@dataclass(frozen=True, slots=True)
class StepRequested:
    """Let one ready NodeRun of a paused run run, then hold it again; None = the first ready."""

    node: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class BreakpointsSet:
    """From now on these are the run's breakpoints, and no others."""

    breakpoints: tuple[Breakpoint, ...]
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class RetryRequested:
    """Run a failed node again, in the visit in which it failed."""

    node: str
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class SkipRequested:
    """Do not run a node in this turn."""

    node: str
    reason: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class OutputGiven:
    """Take this as a node's result, instead of running it."""

    node: str
    output: Any
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class AbortRequested:
    """End the run: running nodes are cancelled, then it is ABORTED; beats every decision."""

    reason: str | None = None
    actor: str | None = None
    grace_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class CheckpointRequested:
    """Keep the state as it is now, whatever the run's policy says."""

    actor: str | None = None


@dataclass(frozen=True, slots=True)
class RunnerRestarted:
    """A new runner took over; what was running is not running any more."""


PersonSignal: TypeAlias = (
    BarrierDecided
    | DecisionMade
    | DecisionRevoked
    | PauseRequested
    | ResumeRequested
    | AbortRequested
    | StepRequested
    | BreakpointsSet
    | RetryRequested
    | SkipRequested
    | OutputGiven
    | GraphMutationRequested
    | CheckpointRequested
)
"""What people wish; all others are reports."""

Signal: TypeAlias = (
    StartRequested
    | ForkRequested
    | NodeReturned
    | NodeRaised
    | NodeStopped
    | NodePutOff
    | NodeReport
    | BranchTold
    | TimerFired
    | BudgetTimePassed
    | RunnerRestarted
    | PersonSignal
)
