"""What a fold of events yields: everything the machine decides from.

The state has one owner and is updated in place, so that the cost of an event does not grow with
the diagram; what others read is a `view`, which does not change any more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.checkpoint import CheckpointPolicy, CheckpointSettings
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import (
    Breakpoint,
    Budget,
    Durability,
    Ending,
    ErrorStrategy,
    Failure,
    GivenOutput,
    PauseCause,
)
from dipeo_server.domains.execution.ids import BarrierID, DiagramID, ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.interventions import BreakpointWhen, EarlyDecision
from dipeo_server.domains.execution.output import Message, TokenUsage
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)
from dipeo_server.domains.execution.tokens import Token


@dataclass(frozen=True, slots=True)
class NodeState:
    """How one node stands: its last NodeRun, or its skip if it never had one.

    `occurrence` counts NodeRuns (MAXITER_REACHED included), `executed` those whose handler was
    entered, `entries` handler entries with all attempts.
    """

    status: NodeExecutionStatus = NodeExecutionStatus.PENDING
    occurrence: int = 0
    attempt: int = 0
    executed: int = 0
    entries: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure: Failure | None = None
    skip_reason: str | None = None
    token_usage: TokenUsage | None = None
    output: Envelope | None = None


@dataclass(frozen=True, slots=True)
class InputRef:
    """One live token among a NodeRun's inputs: the edge it came on, the envelope, its port."""

    edge: int
    envelope: Envelope
    port: str


@dataclass(frozen=True, slots=True)
class Emission:
    """What a node last put on its edges; a node at its limit puts the same again."""

    envelope: Envelope | None
    ports: tuple[str, ...]
    edges: tuple[str, ...] | None
    otherwise: Token


class WaitKind(Enum):
    """What a WAITING NodeRun waits for."""

    PERSON = "person"
    DELAY = "delay"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A NodeRun that waits; `due_at` is its deadline, if it has one."""

    node_run: NodeRun
    kind: WaitKind
    due_at: datetime | None = None
    output: Envelope | None = None
    ports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BarrierRecord:
    """One barrier, waiting or decided. `purpose` is "approval", "answer" or "rerun"."""

    id: BarrierID
    node_run: NodeRun
    purpose: str
    status: BarrierStatus
    prompt: Any
    waiting_since: datetime
    answer_schema: Mapping[str, Any] | None = None
    expires_at: datetime | None = None
    default_action: str | None = None
    default_answer: Any = None
    variable: str | None = None
    bypass_on_skip: bool = False
    decided_at: datetime | None = None
    decided_by: str | None = None
    reason: str | None = None
    action: str | None = None


class Turn(Enum):
    """How a node stands in the current turn of its block."""

    OPEN = "open"
    FIRED = "fired"
    SETTLED = "settled"


class TurnEnd(Enum):
    """How a node left a turn where it gave no result: what can be taken back."""

    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(slots=True)
class NodeTurn:
    """A node's counters in the current turn: awaited edges still out, and what has come in.

    `end` is set where its tokens made it skip, or where it failed and nothing handled that.
    """

    phase: Turn = Turn.OPEN
    missing: int = 0
    live: int = 0
    live_guards: int = 0
    failed: int = 0
    has_guards: bool = False
    first_edge: int | None = None
    end: TurnEnd | None = None


@dataclass(slots=True)
class BlockTurn:
    """A block's counters: members not yet settled, which turn it is, whether anything ran.

    `serial` counts every turn this block ever began, over all its entries.
    """

    unsettled: int = 0
    turn: int = 1
    has_executed: bool = False
    serial: int = 0


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """What a loop's last turn left: the tokens on its back edges, and those its exits held."""

    back_tokens: Mapping[int, Token]
    held: Mapping[int, Token]


@dataclass(frozen=True, slots=True)
class GoneNode:
    """A node that was taken out of the graph; one of its key that comes back counts on."""

    stood: NodeState
    emission: Emission | None = None


@dataclass(frozen=True, slots=True)
class VariableWrite:
    """Who last wrote a variable, and in which turns of the blocks around it."""

    node: int
    serials: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class ExecutionState:
    """One execution, folded up to `last_seq`.

    `ready` holds nodes that may start (in order: a dict would look at every place that a node has
    left before it finds the first), `skips` nodes whose paths are dead, `notices`
    observations that are not told yet; `touched` the nodes whose command may have changed since
    the runner last looked. `holds` counts the pauses; `stepping` is the one visit that may run
    while everything else is held; `hits` are the breakpoints that have been hit, by node index,
    occurrence and side. `busy_seconds` is how long the run was RUNNING until `busy_since`, since
    when it is again. `early_decisions` are those that can still be used, oldest first.
    `unsaved` is how much would have to be done again from the checkpoint at `checkpoint_at`;
    `unkept` why the last one failed, until the run is paused for it.
    A fork is one of `fork_of` since `forked_at`; `key` tells a child from others of its visit.
    `closed` holds what loops had when they ended, `displaced` what an exit held before its newest
    token: so a failure can be taken back. `mutations` counts the changes of the graph,
    each of which makes one more `revision` (the last at `graph_at`); `gone` has the nodes that were
    taken out, by key.
    """

    id: ExecutionID
    diagram: ExecutableDiagram
    status: ExecutionStatus = ExecutionStatus.STARTED
    last_seq: Seq = Seq(0)
    last_at: datetime | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    actor: str | None = None
    parent_id: ExecutionID | None = None
    parent: NodeRun | None = None
    key: str | None = None
    fork_of: ExecutionID | None = None
    forked_at: Seq | None = None
    diagram_id: DiagramID | None = None
    revision: int = 0
    mutations: int = 0
    graph_at: Seq | None = None
    max_steps: int = 10_000
    steps: int = 0
    error_strategy: ErrorStrategy = ErrorStrategy.FAIL_FAST
    durability: Durability = Durability.ADAPTIVE
    variables: Mapping[str, Any] = field(default_factory=dict)
    writes: dict[str, VariableWrite] = field(default_factory=dict)
    token_usage: TokenUsage = field(default_factory=TokenUsage)
    conversation: tuple[Message, ...] = ()
    failures: list[Failure] = field(default_factory=list)
    observed_errors: int = 0
    error: Failure | None = None
    ending: Ending | None = None
    ending_reason: str | None = None
    ending_actor: str | None = None
    pause_reason: str | None = None
    pause_cause: PauseCause | None = None
    holds: int = 0
    stepping: NodeRun | None = None
    breakpoints: tuple[Breakpoint, ...] = ()
    hits: set[tuple[int, int, BreakpointWhen]] = field(default_factory=set)
    budget: Budget = field(default_factory=Budget)
    busy_seconds: float = 0.0
    busy_since: datetime | None = None
    initial: dict[int, GivenOutput] = field(default_factory=dict)
    early_decisions: dict[str, EarlyDecision] = field(default_factory=dict)
    decisions_made: int = 0
    checkpoint_policy: CheckpointPolicy = ()
    checkpointing: CheckpointSettings = field(default_factory=CheckpointSettings)
    checkpoint_at: Seq | None = None
    unsaved: float = 0.0
    unkept: str | None = None
    nodes: list[NodeState] = field(default_factory=list)
    turns: list[NodeTurn] = field(default_factory=list)
    blocks: list[BlockTurn] = field(default_factory=list)
    tokens: list[Token | None] = field(default_factory=list)
    back_tokens: dict[int, Token] = field(default_factory=dict)
    held: dict[int, Token] = field(default_factory=dict)
    displaced: dict[int, Token | None] = field(default_factory=dict)
    closed: dict[int, ClosedLoop] = field(default_factory=dict)
    inputs: dict[int, tuple[InputRef, ...]] = field(default_factory=dict)
    emissions: dict[int, Emission] = field(default_factory=dict)
    early: dict[int, tuple[Envelope, tuple[str, ...]]] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    ready: OrderedDict[int, None] = field(default_factory=OrderedDict)
    skips: dict[int, str] = field(default_factory=dict)
    notices: list[Failure] = field(default_factory=list)
    running: dict[int, NodeRun] = field(default_factory=dict)
    waiting: dict[int, Waiting] = field(default_factory=dict)
    barriers: dict[BarrierID, BarrierRecord] = field(default_factory=dict)
    outputs: dict[str, Envelope] = field(default_factory=dict)
    executed: dict[str, int] = field(default_factory=dict)
    gone: dict[str, GoneNode] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)

    @property
    def is_paused(self) -> bool:
        """Nothing new may start."""
        return self.status is ExecutionStatus.PAUSED

    @property
    def is_idle(self) -> bool:
        """Does it wait, and for nothing but people, timers or its resumption?"""
        is_waiting = self.status in (ExecutionStatus.WAITING, ExecutionStatus.PAUSED)
        return is_waiting and not self.running

    @property
    def is_settled(self) -> bool:
        """Has every node of the outermost block run or been skipped?"""
        return self.blocks[0].unsettled == 0

    def node_state(self, key: str) -> NodeState:
        """The state of the node with that key. Raises KeyError."""
        return self.nodes[self.diagram.index_of[key]]


@dataclass(frozen=True, slots=True)
class ExecutionView:
    """One execution as of `last_seq`, for readers: nothing in it changes any more.

    `diagram_id` and `revision` are None and 0 for a diagram that is not stored; after `mutations`
    of the graph the revision is the run's own, so many behind the one it began with. `tokens` (by
    edge), `loop_turns` (by block), `ready` and `waiting` say what each node waits for.
    """

    id: ExecutionID
    diagram: ExecutableDiagram
    status: ExecutionStatus
    last_seq: Seq
    created_at: datetime | None
    ended_at: datetime | None
    parent_id: ExecutionID | None
    fork_of: ExecutionID | None
    forked_at: Seq | None
    diagram_id: DiagramID | None
    revision: int
    mutations: int
    actor: str | None
    max_steps: int
    steps: int
    variables: Mapping[str, Any]
    token_usage: TokenUsage
    error: Failure | None
    pause_reason: str | None
    pause_cause: PauseCause | None
    breakpoints: tuple[Breakpoint, ...]
    budget: Budget
    early_decisions: tuple[EarlyDecision, ...]
    nodes: tuple[NodeState, ...]
    barriers: tuple[BarrierRecord, ...]
    outputs: Mapping[str, Envelope]
    is_ending: bool
    stepping: NodeRun | None
    tokens: tuple[Token | None, ...]
    loop_turns: tuple[int, ...]
    ready: frozenset[int]
    waiting: Mapping[int, Waiting]


def view(state: ExecutionState) -> ExecutionView:
    """What readers may see of the state, at this moment and for good."""
    return ExecutionView(
        id=state.id,
        diagram=state.diagram,
        status=state.status,
        last_seq=state.last_seq,
        created_at=state.created_at,
        ended_at=state.ended_at,
        parent_id=state.parent_id,
        fork_of=state.fork_of,
        forked_at=state.forked_at,
        diagram_id=state.diagram_id,
        revision=state.revision,
        mutations=state.mutations,
        actor=state.actor,
        max_steps=state.max_steps,
        steps=state.steps,
        variables=state.variables,
        token_usage=state.token_usage,
        error=state.error,
        pause_reason=state.pause_reason,
        pause_cause=state.pause_cause,
        breakpoints=state.breakpoints,
        budget=state.budget,
        early_decisions=tuple(state.early_decisions.values()),
        nodes=tuple(state.nodes),
        barriers=tuple(state.barriers.values()),
        outputs=dict(state.outputs),
        is_ending=state.ending is not None,
        stepping=state.stepping,
        tokens=tuple(state.tokens),
        loop_turns=tuple(block.turn for block in state.blocks),
        ready=frozenset(state.ready),
        waiting=dict(state.waiting),
    )
