"""Every fact of an execution: a closed union tagged by `kind`; renaming or removing is forbidden.

Names and meanings are those of the GraphQL schema, where each event has exactly one type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.checkpoint import (
    CheckpointFailed,
    CheckpointPolicy,
    CheckpointSaved,
    CheckpointSettings,
)
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.failure import ErrorStrategy, Failure
from dipeo_server.domains.execution.forks import ExecutionForked
from dipeo_server.domains.execution.ids import DiagramID, ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.interventions import (
    BarrierAction,
    BarrierResolved,
    BarrierWaiting,
    Breakpoint,
    BreakpointHit,
    BreakpointsChanged,
    Budget,
    DiagramMutated,
    EarlyDecisionChanged,
    GivenOutput,
    LimitRaised,
    NodeOutputSet,
    PauseCause,
)
from dipeo_server.domains.execution.output import Message, TokenUsage
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus

__all__ = [
    "TERMINAL",
    "BarrierAction",
    "BarrierResolved",
    "BarrierWaiting",
    "BranchCompleted",
    "Breakpoint",
    "BreakpointHit",
    "BreakpointsChanged",
    "Budget",
    "CheckpointFailed",
    "CheckpointSaved",
    "DiagramMutated",
    "Durability",
    "EarlyDecisionChanged",
    "Ending",
    "ErrorStrategy",
    "Event",
    "ExecutionAborted",
    "ExecutionCompleted",
    "ExecutionFailed",
    "ExecutionForked",
    "ExecutionStarted",
    "ExecutionStatusChanged",
    "Failure",
    "GivenOutput",
    "LimitRaised",
    "NodeCompleted",
    "NodeFailed",
    "NodeInterrupted",
    "NodeMaxIterationsReached",
    "NodeOutputSet",
    "NodeReported",
    "NodeRetryScheduled",
    "NodeSkipped",
    "NodeStarted",
    "ObservedError",
    "ParallelCompleted",
    "ParallelStarted",
    "PauseCause",
    "Recorded",
    "ResultDiscarded",
    "RunnerRestarted",
    "StateChanged",
]


class Durability(StrEnum):
    """What has to be on disk before a node starts; what leaves the process always waits for it."""

    ADAPTIVE = "ADAPTIVE"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True)
class ExecutionStarted:
    """The first event: it carries the compiled diagram, so the log explains itself for ever.

    `diagram_id` and `revision` say where it is stored; None and 0 for an inline one. `initial`
    holds results of an earlier run, by node. `key` tells it from other children of its visit.
    """

    execution_id: ExecutionID
    diagram: ExecutableDiagram
    variables: Mapping[str, Any]
    max_steps: int
    error_strategy: ErrorStrategy = ErrorStrategy.FAIL_FAST
    durability: Durability = Durability.ADAPTIVE
    actor: str | None = None
    parent_id: ExecutionID | None = None
    parent: NodeRun | None = None
    diagram_id: DiagramID | None = None
    revision: int = 0
    breakpoints: tuple[Breakpoint, ...] = ()
    budget: Budget = field(default_factory=Budget)
    initial: Mapping[str, GivenOutput] = field(default_factory=dict)
    key: str | None = None
    checkpoints: CheckpointPolicy = ()
    checkpointing: CheckpointSettings = field(default_factory=CheckpointSettings)
    kind: Literal["execution_started"] = "execution_started"


@dataclass(frozen=True, slots=True)
class Ending:
    """The run is on its way to its end: nothing starts, what runs is being stopped.

    `cause` is "abort", "fail_fast", or "end" where a node ended the run; what has not stopped
    after `grace_seconds` is killed.
    """

    cause: Literal["abort", "fail_fast", "end"]
    grace_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class ExecutionStatusChanged:
    """Any change of status but the terminal one; `cause` says what brought it about.

    With `ending`, `before` and `after` are the same; `step` is the visit that a step lets run.
    """

    before: ExecutionStatus
    after: ExecutionStatus
    reason: str | None = None
    actor: str | None = None
    ending: Ending | None = None
    cause: PauseCause | None = None
    step: NodeRun | None = None
    kind: Literal["execution_status_changed"] = "execution_status_changed"


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A NodeRun began; journaled before its handler is entered."""

    node_run: NodeRun
    kind: Literal["node_started"] = "node_started"


@dataclass(frozen=True, slots=True)
class NodeCompleted:
    """A NodeRun ended well. `ports` fired; `edges` (keys) where conditions on edges chose."""

    node_run: NodeRun
    output: Envelope
    ports: tuple[str, ...]
    edges: tuple[str, ...] | None = None
    skip_reason: str | None = None
    token_usage: TokenUsage = field(default_factory=TokenUsage)
    messages: tuple[Message, ...] = ()
    kind: Literal["node_completed"] = "node_completed"


@dataclass(frozen=True, slots=True)
class NodeFailed:
    """A NodeRun ended badly. `handled` names the policy that took it; None = it propagates.

    Handled failures put `output` on `ports`.
    """

    node_run: NodeRun
    failure: Failure
    will_retry: bool = False
    handled: str | None = None
    output: Envelope | None = None
    ports: tuple[str, ...] = ()
    edges: tuple[str, ...] | None = None
    token_usage: TokenUsage = field(default_factory=TokenUsage)
    kind: Literal["node_failed"] = "node_failed"


@dataclass(frozen=True, slots=True)
class NodeInterrupted:
    """A running or waiting NodeRun was stopped from outside (crash, abort, fail-fast)."""

    node_run: NodeRun
    reason: str
    will_rerun: bool
    kind: Literal["node_interrupted"] = "node_interrupted"


@dataclass(frozen=True, slots=True)
class NodeSkipped:
    """A node does not run in this turn; `comment` is what the person said who skipped it."""

    node: str
    reason: str
    actor: str | None = None
    comment: str | None = None
    kind: Literal["node_skipped"] = "node_skipped"


@dataclass(frozen=True, slots=True)
class NodeRetryScheduled:
    """The next attempt of a failed NodeRun starts at `due_at`; `actor` asked for it, if anybody."""

    node_run: NodeRun
    due_at: datetime
    failure: Failure
    actor: str | None = None
    kind: Literal["node_retry_scheduled"] = "node_retry_scheduled"


@dataclass(frozen=True, slots=True)
class NodeMaxIterationsReached:
    """A node at its limit was reached again: it is not executed and re-emits its last output."""

    node_run: NodeRun
    limit: int
    kind: Literal["node_max_iterations_reached"] = "node_max_iterations_reached"


@dataclass(frozen=True, slots=True)
class NodeReported:
    """An early word of a running NodeRun: a result it has before it returns, or a timed wait."""

    node_run: NodeRun
    status: NodeExecutionStatus
    output: Envelope | None = None
    ports: tuple[str, ...] = ()
    due_at: datetime | None = None
    kind: Literal["node_reported"] = "node_reported"


@dataclass(frozen=True, slots=True)
class ResultDiscarded:
    """A result came after it had been given up; it is recorded and not applied."""

    node_run: NodeRun
    reason: str
    kind: Literal["result_discarded"] = "result_discarded"


@dataclass(frozen=True, slots=True)
class ObservedError:
    """Something went wrong that does not fail the run."""

    failure: Failure
    node_run: NodeRun | None = None
    kind: Literal["observed_error"] = "observed_error"


@dataclass(frozen=True, slots=True)
class StateChanged:
    """One execution variable was put (the reduced value) or deleted."""

    key: str
    value: Any = None
    is_deleted: bool = False
    node_run: NodeRun | None = None
    kind: Literal["state_changed"] = "state_changed"


@dataclass(frozen=True, slots=True)
class ParallelStarted:
    """A parallel group runs these branches, side by side."""

    node_run: NodeRun
    branches: tuple[str, ...]
    kind: Literal["parallel_started"] = "parallel_started"


@dataclass(frozen=True, slots=True)
class BranchCompleted:
    """One branch of a parallel group has ended; `failure` says why, if badly."""

    node_run: NodeRun
    branch: str
    duration_seconds: float
    failure: Failure | None = None
    kind: Literal["branch_completed"] = "branch_completed"


@dataclass(frozen=True, slots=True)
class ParallelCompleted:
    """Every branch of a parallel group has ended."""

    node_run: NodeRun
    duration_seconds: float
    kind: Literal["parallel_completed"] = "parallel_completed"


@dataclass(frozen=True, slots=True)
class RunnerRestarted:
    """A new runner took over and found this many NodeRuns running."""

    interrupted: int
    kind: Literal["runner_restarted"] = "runner_restarted"


@dataclass(frozen=True, slots=True)
class ExecutionCompleted:
    """Terminal: the outermost block is settled and no failure is unhandled."""

    token_usage: TokenUsage
    observed_errors: int
    kind: Literal["execution_completed"] = "execution_completed"


@dataclass(frozen=True, slots=True)
class ExecutionFailed:
    """Terminal: a failure was not handled; `errors` has all of them, the first in `failure`."""

    failure: Failure
    errors: tuple[Failure, ...]
    token_usage: TokenUsage
    kind: Literal["execution_failed"] = "execution_failed"


@dataclass(frozen=True, slots=True)
class ExecutionAborted:
    """Terminal: somebody ended the run."""

    reason: str | None
    actor: str | None
    token_usage: TokenUsage
    kind: Literal["execution_aborted"] = "execution_aborted"


Event: TypeAlias = (
    ExecutionStarted
    | ExecutionForked
    | ExecutionStatusChanged
    | NodeStarted
    | NodeCompleted
    | NodeFailed
    | NodeInterrupted
    | NodeSkipped
    | NodeRetryScheduled
    | NodeMaxIterationsReached
    | NodeReported
    | ResultDiscarded
    | ObservedError
    | StateChanged
    | NodeOutputSet
    | ParallelStarted
    | BranchCompleted
    | ParallelCompleted
    | BarrierWaiting
    | BarrierResolved
    | EarlyDecisionChanged
    | BreakpointsChanged
    | BreakpointHit
    | LimitRaised
    | DiagramMutated
    | RunnerRestarted
    | CheckpointSaved
    | CheckpointFailed
    | ExecutionCompleted
    | ExecutionFailed
    | ExecutionAborted
)

TERMINAL: tuple[type, ...] = (ExecutionCompleted, ExecutionFailed, ExecutionAborted)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its place in the log and its time (aware, UTC, never decreasing)."""

    seq: Seq
    at: datetime
    event: Event

    @property
    def is_terminal(self) -> bool:
        """Is it the last event of its execution?"""
        return isinstance(self.event, TERMINAL)
