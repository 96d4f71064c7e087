"""The execution graph: the states that a run and its forks went through, joined by their steps.

A step is an event that settles something: a node ended, was skipped or given its result, the run
began, was forked or ended. A fork shares the states of its origin up to where it leaves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from dipeo_server.domains.execution.events import (
    BarrierWaiting,
    DiagramMutated,
    Event,
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionStarted,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeMaxIterationsReached,
    NodeOutputSet,
    NodeSkipped,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.status import NodeExecutionStatus

_N = NodeExecutionStatus


@dataclass(frozen=True, slots=True)
class GraphState:
    """The state behind one event of one run; `status` is what that event came to, if anything.

    `node` is the node of that event. Where a fork shares it, it is its origin's.
    """

    execution_id: ExecutionID
    sequence: Seq
    summary: str
    node: str | None = None
    status: NodeExecutionStatus | None = None
    is_first: bool = False
    is_last: bool = False

    @property
    def id(self) -> str:
        """`exec_0_abc@12`."""
        return f"{self.execution_id}@{self.sequence}"


@dataclass(frozen=True, slots=True)
class Branch:
    """A run in the graph; a fork has the events of `origin` up to `forked_at`, then its own."""

    execution_id: ExecutionID
    origin: ExecutionID | None = None
    forked_at: Seq = Seq(0)


@dataclass(frozen=True, slots=True)
class ExecutionGraph:
    """States by run, in order, and steps between them as (earlier id, later id).

    `execution_id` is the run that was asked for, `line` the ids of the states that it went
    through.
    """

    execution_id: ExecutionID
    states: tuple[GraphState, ...]
    edges: tuple[tuple[str, str], ...]
    line: frozenset[str] = field(default_factory=frozenset)


class Branches:
    """A run, its origins and all their forks, by id; each behind its origin."""

    def __init__(self, branches: Iterable[Branch]) -> None:
        self._branches = {each.execution_id: each for each in branches}

    def __iter__(self) -> Iterator[Branch]:
        return iter(self._branches.values())

    def __len__(self) -> int:
        return len(self._branches)

    def owner(self, execution_id: ExecutionID, sequence: Seq) -> ExecutionID:
        """Whose own event that event of a run is."""
        branch = self._branches[execution_id]
        while branch.origin is not None and sequence <= branch.forked_at:
            branch = self._branches[branch.origin]
        return branch.execution_id

    def left_at(self) -> Mapping[ExecutionID, frozenset[Seq]]:
        """By run, the events of its own behind which forks leave."""
        found: dict[ExecutionID, set[Seq]] = {}
        for branch in self._branches.values():
            if branch.origin is not None:
                owner = self.owner(branch.origin, branch.forked_at)
                found.setdefault(owner, set()).add(branch.forked_at)
        return {each: frozenset(places) for each, places in found.items()}

    def reached_by(self, execution_id: ExecutionID) -> Mapping[ExecutionID, Seq]:
        """By run, the last event of its own that is in this run's log; 0 = to the end."""
        found: dict[ExecutionID, Seq] = {execution_id: Seq(0)}
        branch, last = self._branches[execution_id], Seq(2**62)
        while branch.origin is not None:
            last = min(last, branch.forked_at)
            branch = self._branches[branch.origin]
            if last > branch.forked_at:
                found[branch.execution_id] = last
        return found


class Walk:
    """Makes states of the events of one run, told in order; only its own ones count."""

    def __init__(self, branch: Branch, left_at: frozenset[Seq] = frozenset()) -> None:
        self._branch = branch
        self._left_at = left_at
        self._states: list[GraphState] = []
        self._newest: Recorded | None = None

    def __len__(self) -> int:
        return len(self._states)

    def observe(self, recorded: Recorded) -> None:
        """Take note of the next event."""
        if recorded.seq <= self._branch.forked_at:
            return
        self._newest = recorded
        is_first = recorded.seq == self._branch.forked_at + 1
        if is_first or recorded.seq in self._left_at or isinstance(recorded.event, _STEPS):
            self._states.append(self._state(recorded, is_first=is_first))

    def states(self) -> tuple[GraphState, ...]:
        """The states in order; the last one is that behind the newest event."""
        newest = self._newest
        if newest is None or (self._states and self._states[-1].sequence == newest.seq):
            return tuple(self._states)
        return (*self._states, self._state(newest, is_first=False))

    def _state(self, recorded: Recorded, *, is_first: bool) -> GraphState:
        summary, status = _told(recorded.event)
        return GraphState(
            self._branch.execution_id,
            recorded.seq,
            summary,
            _node_of(recorded.event),
            status,
            is_first=is_first,
            is_last=recorded.is_terminal,
        )


def join(
    execution_id: ExecutionID,
    branches: Branches,
    states: Mapping[ExecutionID, Sequence[GraphState]],
) -> ExecutionGraph:
    """The graph of the states of some runs, as `Walk` gives them by run."""
    edges: list[tuple[str, str]] = []
    known = {each.id for own in states.values() for each in own}
    for branch in branches:
        own = states.get(branch.execution_id, ())
        if own and branch.origin is not None:
            owner = branches.owner(branch.origin, branch.forked_at)
            before = f"{owner}@{branch.forked_at}"
            if before in known:
                edges.append((before, own[0].id))
        edges.extend((a.id, b.id) for a, b in pairwise(own))
    reach = branches.reached_by(execution_id)
    line = frozenset(
        each.id
        for owner, last in reach.items()
        for each in states.get(owner, ())
        if last == 0 or each.sequence <= last
    )
    everything = tuple(each for branch in branches for each in states.get(branch.execution_id, ()))
    return ExecutionGraph(execution_id, everything, tuple(edges), line)


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
