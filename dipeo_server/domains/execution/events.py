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
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.ids import DiagramID, ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.output import Message, TokenUsage
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)


class ErrorStrategy(StrEnum):
    """What a failure that nobody handles does to the rest of the run."""

    FAIL_FAST = "FAIL_FAST"
    COLLECT = "COLLECT"
    COLLECT_PARTIAL = "COLLECT_PARTIAL"


class Durability(StrEnum):
    """What has to be on disk before a node starts; what leaves the process always waits for it."""

    ADAPTIVE = "ADAPTIVE"
    STRICT = "STRICT"


class BarrierAction(StrEnum):
    """What a person can decide at a barrier."""

    APPROVE = "APPROVE"
    REJECT = "REJECT"
    SKIP = "SKIP"
    MODIFY = "MODIFY"
    REROUTE = "REROUTE"


@dataclass(frozen=True, slots=True)
class Failure:
    """A typed error of a node or of the run; codes are listed in the documentation.

    `error_type` is the exception's class name: a node's `on_error.match` and `retry.retry_on` may
    name it as well as the code.
    """

    code: str
    message: str
    node: str | None = None
    retryable: bool = False
    hint: str | None = None
    error_type: str | None = None

    def is_one_of(self, names: tuple[str, ...]) -> bool:
        """Is its code or its type among these?"""
        return self.code in names or self.error_type in names


@dataclass(frozen=True, slots=True)
class ExecutionStarted:
    """The first event: it carries the compiled diagram, so the log explains itself for ever.

    `diagram_id` and `revision` say where it is stored; None and 0 for an inline one.
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
    kind: Literal["execution_started"] = "execution_started"


@dataclass(frozen=True, slots=True)
class Ending:
    """The run is on its way to a bad end: nothing starts, what runs is being stopped.

    `cause` is "abort" or "fail_fast"; what has not stopped after `grace_seconds` is killed.
    """

    cause: Literal["abort", "fail_fast"]
    grace_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class ExecutionStatusChanged:
    """Any change of status but the terminal one.

    With `ending`, `before` and `after` are the same: the run still runs, but only to stop.
    """

    before: ExecutionStatus
    after: ExecutionStatus
    reason: str | None = None
    actor: str | None = None
    ending: Ending | None = None
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
    """A node does not run in this turn."""

    node: str
    reason: str
    actor: str | None = None
    kind: Literal["node_skipped"] = "node_skipped"


@dataclass(frozen=True, slots=True)
class NodeRetryScheduled:
    """The next attempt of a failed NodeRun starts at `due_at`."""

    node_run: NodeRun
    due_at: datetime
    failure: Failure
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
class BarrierWaiting:
    """A person is asked; durable before anybody is told.

    `purpose` is "approval", "answer", or "rerun" (after a crash: run this NodeRun again?).
    """

    node_run: NodeRun
    purpose: str
    prompt: Any
    answer_schema: Mapping[str, Any] | None = None
    expires_at: datetime | None = None
    default_action: str | None = None
    default_answer: Any = None
    variable: str | None = None
    bypass_on_skip: bool = False
    kind: Literal["barrier_waiting"] = "barrier_waiting"


@dataclass(frozen=True, slots=True)
class BarrierResolved:
    """The one decision of a barrier, with who and why."""

    node_run: NodeRun
    status: BarrierStatus
    action: str | None = None
    answer: Any = None
    reason: str | None = None
    decided_by: str | None = None
    kind: Literal["barrier_resolved"] = "barrier_resolved"


@dataclass(frozen=True, slots=True)
class LimitRaised:
    """The run may take more steps."""

    max_steps: int
    actor: str | None = None
    kind: Literal["limit_raised"] = "limit_raised"


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
    | BarrierWaiting
    | BarrierResolved
    | LimitRaised
    | RunnerRestarted
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
