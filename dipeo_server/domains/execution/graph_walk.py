"""The states that one run went through, made of its events.

A step is an event that settles something: a node ended, was skipped or given its result, the run
began, was forked or ended, its graph was changed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dipeo_server.domains.execution.events import (
    BarrierWaiting,
    DiagramMutated,
    Event,
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionForked,
    ExecutionStarted,
    ExecutionStatusChanged,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeMaxIterationsReached,
    NodeOutputSet,
    NodeSkipped,
    NodeStarted,
    ParallelStarted,
    Recorded,
)
from dipeo_server.domains.execution.graph_turns import LoopTurn, Turns
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.status import NodeExecutionStatus

_N = NodeExecutionStatus


class StateKind(StrEnum):
    """What led to a state: a step, a change of the graph, a question, the begin of a child run."""

    STEP = "step"
    CHANGE = "change"
    QUESTION = "question"
    CHILD = "child"


@dataclass(frozen=True, slots=True)
class GraphState:
    """The state behind one event of one run; `status` is what that event came to, if anything.

    `node` is the node of that event, `visit` which visit of it, if it was one; `turns` are those
    that it is in, the outermost first. Where a fork shares the state, it is its origin's.
    """

    execution_id: ExecutionID
    sequence: Seq
    summary: str
    node: str | None = None
    status: NodeExecutionStatus | None = None
    is_first: bool = False
    is_last: bool = False
    kind: StateKind = StateKind.STEP
    visit: NodeRun | None = None
    turns: tuple[LoopTurn, ...] = ()

    @property
    def id(self) -> str:
        """`exec_0_abc@12`."""
        return f"{self.execution_id}@{self.sequence}"


@dataclass(frozen=True, slots=True)
class Branch:
    """A run in the graph; a fork has the events of `origin` up to `forked_at`, then its own.

    `caller` is the run of which it is a child, where that is in the graph as well.
    """

    execution_id: ExecutionID
    origin: ExecutionID | None = None
    forked_at: Seq = Seq(0)
    caller: ExecutionID | None = None


class Walk:
    """Makes states of the events of one run, told in order; only its own ones count.

    `turns` are those behind its first event that is not told, or that is shared. `called_by` is
    the visit that a child is for, with its key among the children of that. `groups` are the visits
    that run branches side by side.
    """

    def __init__(
        self, branch: Branch, left_at: Collection[Seq] = frozenset(), turns: Turns | None = None
    ) -> None:
        self.branch = branch
        self.called_by: NodeRun | None = None
        self.key: str | None = None
        self.groups: set[NodeRun] = set()
        self.turns_at: dict[Seq, Turns] = {}
        self._turns = Turns() if turns is None else turns
        self._left_at = left_at
        self._states: list[GraphState] = []
        self._starts: dict[NodeRun, GraphState] = {}
        self._ends: dict[tuple[str, int], list[GraphState]] = {}
        self._newest: GraphState | None = None

    def __len__(self) -> int:
        return len(self._states)

    def observe(self, recorded: Recorded) -> None:
        """Take note of the next event."""
        event = recorded.event
        self._turns.observe(event)
        if recorded.seq in self._left_at:
            self.turns_at[recorded.seq] = self._turns.copy()
        if recorded.seq <= self.branch.forked_at:
            return
        is_first = recorded.seq == self.branch.forked_at + 1
        if is_first:
            self._begins(event)
        self._newest = state = self._state(recorded, is_first=is_first)
        if is_first or recorded.seq in self._left_at or isinstance(event, _STEPS):
            self._states.append(state)
        self._note(event, state)

    def _note(self, event: Event, state: GraphState) -> None:
        """Remember where visits begin and end, and which of them run branches."""
        run = state.visit
        if run is not None and state.status in _ENDS:
            self._ends.setdefault((run.node, run.occurrence), []).append(state)
        elif isinstance(event, NodeStarted):
            self._starts[event.node_run] = state
        elif isinstance(event, ParallelStarted):
            self.groups.add(event.node_run)

    def start_of(self, run: NodeRun, upto: Seq | None = None) -> GraphState | None:
        """The state in which a visit has just begun, if it has among the events up to `upto`."""
        found = self._starts.get(run)
        return None if found is None or (upto and found.sequence > upto) else found

    def end_of(self, run: NodeRun) -> GraphState | None:
        """The state in which a visit ended: at this attempt or, behind a restart, a later one."""
        for state in self._ends.get((run.node, run.occurrence), ()):
            if state.visit is not None and state.visit.attempt >= run.attempt:
                return state
        return None

    def states(self, called: Collection[NodeRun] = ()) -> tuple[GraphState, ...]:
        """The states in order, with those in which these visits began; the newest is the last."""
        newest = [] if self._newest is None else [self._newest]
        starts = [self._starts[run] for run in called if run in self._starts]
        found = {each.sequence: each for each in (*newest, *starts, *self._states)}
        return tuple(found[sequence] for sequence in sorted(found))

    def _begins(self, event: Event) -> None:
        if isinstance(event, ExecutionStarted | ExecutionForked):
            self.called_by = event.parent
        if isinstance(event, ExecutionStarted):
            self.key = event.key

    def _state(self, recorded: Recorded, *, is_first: bool) -> GraphState:
        event = recorded.event
        summary, status = _told(event)
        node, run = _node_of(event), getattr(event, "node_run", None)
        is_child = is_first and self.called_by is not None
        return GraphState(
            self.branch.execution_id,
            recorded.seq,
            summary,
            node,
            status,
            is_first=is_first,
            is_last=recorded.is_terminal,
            kind=StateKind.CHILD if is_child else _KINDS.get(type(event), StateKind.STEP),
            visit=run if isinstance(run, NodeRun) else None,
            turns=self._turns.of(node),
        )


_STEPS: Final = (
    ExecutionStarted,
    DiagramMutated,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeSkipped,
    NodeMaxIterationsReached,
    NodeOutputSet,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionAborted,
)
_ENDS: Final = frozenset({_N.COMPLETED, _N.FAILED})
_KINDS: Final[dict[type[object], StateKind]] = {
    DiagramMutated: StateKind.CHANGE,
    BarrierWaiting: StateKind.QUESTION,
}


def _told(event: Event) -> tuple[str, NodeExecutionStatus | None]:
    """What an event did, in a few words, and the status that it brought about."""
    match event:
        case ExecutionStarted():
            return "started", None
        case DiagramMutated(revision_number=number):
            return f"graph changed: revision {number}", None
        case ExecutionCompleted():
            return "COMPLETED", _N.COMPLETED
        case ExecutionFailed(failure=failure):
            return f"FAILED: {failure.code}", _N.FAILED
        case ExecutionAborted():
            return "ABORTED", _N.ABORTED
        case ExecutionStatusChanged(after=after):
            return after.value, None
        case NodeSkipped(node=node, reason=reason):
            return f"{node} skipped: {reason}", _N.SKIPPED
        case _:
            return _node_told(event)


def _node_told(event: Event) -> tuple[str, NodeExecutionStatus | None]:
    match event:
        case NodeCompleted(node_run=run):
            return f"{_visit(run)} completed", _N.COMPLETED
        case NodeFailed(node_run=run, failure=failure, will_retry=will_retry):
            again = ", tried again" if will_retry else ""
            return f"{_visit(run)} failed: {failure.code}{again}", _N.FAILED
        case NodeInterrupted(node_run=run):
            return f"{_visit(run)} interrupted", _N.ABORTED
        case NodeMaxIterationsReached(node_run=run):
            return f"{_visit(run)} at its limit", _N.MAXITER_REACHED
        case NodeOutputSet(node_run=run):
            return f"{_visit(run)} given its output", _N.COMPLETED
        case NodeStarted(node_run=run):
            return f"{_visit(run)} started", _N.RUNNING
        case BarrierWaiting(node_run=run):
            return f"{_visit(run)} asks a person", _N.WAITING
        case _:
            node = _node_of(event)
            words = event.kind.replace("_", " ").removeprefix("execution ")
            return (f"{node}: {words}" if node else words), None


def _visit(run: NodeRun) -> str:
    return run.node if run.occurrence == 1 else f"{run.node} #{run.occurrence}"


def _node_of(event: Event) -> str | None:
    run = getattr(event, "node_run", None)
    return run.node if isinstance(run, NodeRun) else getattr(event, "node", None)
