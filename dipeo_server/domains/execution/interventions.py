"""Facts that people and limits make: decisions, breakpoints, limits, results, other graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.status import BarrierStatus


class BarrierAction(StrEnum):
    """What a person can decide at a barrier."""

    APPROVE = "APPROVE"
    REJECT = "REJECT"
    SKIP = "SKIP"
    MODIFY = "MODIFY"
    REROUTE = "REROUTE"


class PauseMode(StrEnum):
    """What becomes of running nodes: they finish, or are cancelled and run again on resume."""

    DRAIN = "DRAIN"
    NOW = "NOW"


class PauseCause(StrEnum):
    """What holds a paused run."""

    USER = "user"
    START = "start_paused"
    STEP = "step"
    BREAKPOINT = "breakpoint"
    MAX_STEPS = "max_steps"
    MAX_TOKENS = "max_tokens"
    MAX_SECONDS = "max_seconds"
    PARENT = "parent"
    CHECKPOINT = "checkpoint"


class BreakpointWhen(StrEnum):
    """Does a breakpoint hold a run before its node starts, or after it has ended?"""

    BEFORE = "BEFORE"
    AFTER = "AFTER"


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """Pause at this node, if the condition (an expression) holds; no condition always holds."""

    node: str
    when: BreakpointWhen = BreakpointWhen.BEFORE
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend before it pauses; None = no limit. Steps are limited by `max_steps`.

    `max_tokens` counts a model's input and output, `max_seconds` the time the run was RUNNING.
    """

    max_tokens: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class GivenOutput:
    """A node's result from an earlier run: taken as done if the fingerprint still fits.

    `fingerprint` None = taken as it is.
    """

    output: Any
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class EarlyDecision:
    """A decision on a barrier ahead of time; `occurrence` None = every visit of the node.

    `uses_left` None = without limit; an exact decision (with an occurrence) is used once.
    """

    id: str
    node: str
    occurrence: int | None
    action: BarrierAction
    reason: str | None = None
    answer: Any = None
    puts: Mapping[str, Any] = field(default_factory=dict)
    reroute: str | None = None
    expires_at: datetime | None = None
    uses_left: int | None = None
    created_by: str | None = None


@dataclass(frozen=True, slots=True)
class EarlyDecisionChanged:
    """A decision made ahead of time was recorded, used, revoked, has expired, or was not needed.

    `decision` is set where it is recorded; `occurrence` is the visit it is for, or was used at.
    """

    decision_id: str
    node: str
    occurrence: int | None
    change: Literal["recorded", "used", "revoked", "expired", "unused"]
    decision: EarlyDecision | None = None
    actor: str | None = None
    kind: Literal["early_decision_changed"] = "early_decision_changed"


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
class BreakpointsChanged:
    """These are the run's breakpoints from now on, and no others."""

    breakpoints: tuple[Breakpoint, ...]
    actor: str | None = None
    kind: Literal["breakpoints_changed"] = "breakpoints_changed"


@dataclass(frozen=True, slots=True)
class BreakpointHit:
    """The run came to a breakpoint, and pauses: told once for each visit."""

    node_run: NodeRun
    when: BreakpointWhen
    kind: Literal["breakpoint_hit"] = "breakpoint_hit"


@dataclass(frozen=True, slots=True)
class LimitRaised:
    """The run may take more steps; `budget` is what it may spend from now on, if that changed."""

    max_steps: int
    actor: str | None = None
    budget: Budget | None = None
    kind: Literal["limit_raised"] = "limit_raised"


@dataclass(frozen=True, slots=True)
class NodeOutputSet:
    """A visit has this result without having run: set by hand, or taken from an earlier run.

    `ports` fired; `edges` (keys) where conditions on edges chose. `reason` is "by_user",
    "initial_state", or "override": a visit that has ended has another result in a fork.
    """

    node_run: NodeRun
    output: Envelope
    ports: tuple[str, ...]
    edges: tuple[str, ...] | None = None
    reason: Literal["by_user", "initial_state", "override"] = "by_user"
    actor: str | None = None
    kind: Literal["node_output_set"] = "node_output_set"


@dataclass(frozen=True, slots=True)
class DiagramMutated:
    """From here on the run runs this diagram, whole: its revision of that number.

    By node key: `rerun` runs from now on with another definition or other inputs, `unreachable`
    never will, as no start leads there.
    """

    revision_number: int
    content_hash: str
    diagram: ExecutableDiagram
    rerun: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    actor: str | None = None
    kind: Literal["diagram_mutated"] = "diagram_mutated"
