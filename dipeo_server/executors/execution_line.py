"""One run of an execution graph as a line of states: each is a stretch of its log."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from dipeo_server.domains.execution.events import (
    DiagramMutated,
    Event,
    ExecutionForked,
    ExecutionStarted,
    ExecutionStatusChanged,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeOutputSet,
    NodeRetryScheduled,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.machine.evolve import begin, evolve
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.state import ExecutionState as RunState
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.executors.execution_evaluation import (
    OperationExecutionEvent,
    OperationExecutionStatus,
)
from dipeo_server.executors.execution_state import DISPATCHED
from dipeo_server.executors.operation_diagram import INPUT, OPERATION, OUTPUT
from dipeo_server.executors.operations import operation_id_of
from dipeo_server.executors.state_ids import ROOT_ID, derived_id, state_of_actor

PAGE_EVENTS = 500
_N = NodeExecutionStatus
_S = OperationExecutionStatus


@dataclass(slots=True)
class Segment:
    """The events of a log that make one state: from `first` to `last`, so far.

    `index` is its place in the line. It is whole where the run came to rest behind it; not where
    what ran was `interrupted`, which a step of the run held it at, and has to run again.
    """

    id: UUID
    index: int
    first: Seq
    last: Seq
    summary: str
    status: NodeExecutionStatus | None = None
    is_whole: bool = False
    is_failed: bool = False
    interrupted: NodeRun | None = None
    runs: set[NodeRun] = field(default_factory=set)
    fresh: set[int] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Line:
    """One run: the states that are its own, and the fold of its whole log.

    A fork's own states begin behind `forked_at`. A call is the run of a function that was
    dispatched by an operation: it has two states, before and after.
    """

    def __init__(self, execution_id: ExecutionID) -> None:
        self.id = execution_id
        self.run: RunState | None = None
        self.segments: list[Segment] = []
        self.origin: ExecutionID | None = None
        self.forked_at = Seq(0)
        self.caller: tuple[ExecutionID, NodeRun] | None = None
        self.last = Seq(0)
        self._is_own = True
        self._catching_up = asyncio.Lock()

    @property
    def newest(self) -> Segment | None:
        """The state that it is at, or None before the first."""
        return self.segments[-1] if self.segments else None

    @property
    def is_call(self) -> bool:
        """Is it the run of a function?"""
        return self.caller is not None

    @property
    def stopped(self) -> NodeRun | None:
        """What was interrupted in the newest state, where the run is held there."""
        segment = self.newest
        is_held = self.run is not None and self.run.is_paused and not self.run.running
        return segment.interrupted if segment is not None and is_held else None

    def segment_at(self, sequence: Seq) -> Segment | None:
        """The state of its own that an event belongs to."""
        place = bisect_right(self.segments, sequence, key=lambda each: each.first)
        return self.segments[place - 1] if place else None

    async def catch_up(self, store: StateStore) -> list[OperationExecutionEvent]:
        """Read what was committed since; what operations did in it. Raises StorageError."""
        found: list[OperationExecutionEvent] = []
        async with self._catching_up:
            while page := await store.read(self.id, after=self.last, limit=PAGE_EVENTS):
                found.extend(self.absorb(page))
        for each in self.segments[-2:]:
            each.changed.set()
        return found

    def absorb(self, events: Sequence[Recorded]) -> Iterator[OperationExecutionEvent]:
        """Take note of events, in order; those that are known change nothing."""
        return iter([told for each in events for told in self._absorb(each)])

    def _absorb(self, recorded: Recorded) -> Iterator[OperationExecutionEvent]:
        if recorded.seq <= self.last:
            return
        self.last = recorded.seq
        self.run = begin(recorded) if self.run is None else evolve(self.run, recorded)
        event = recorded.event
        if isinstance(event, ExecutionStarted | ExecutionForked):
            self._is_own = event.execution_id == self.id
        if isinstance(event, ExecutionForked):
            self.origin, self.forked_at = event.origin, event.forked_at
        if not self._is_own:
            return  # A state of the run that it was forked from.
        segment = self._segment_for(recorded)
        if not recorded.is_terminal or self.is_call:
            segment.last = recorded.seq
        yield from self._noted(segment, event)
        segment.is_whole = self._is_at_rest(segment)

    def _segment_for(self, recorded: Recorded) -> Segment:
        event, newest = recorded.event, self.newest
        state_id = self._state_of(recorded)
        if newest is not None and state_id in (None, newest.id):
            return newest
        seq, index = recorded.seq, len(self.segments)
        made = Segment(state_id or ROOT_ID, index, seq, seq, _told(event))
        self.segments.append(made)
        return made

    def _state_of(self, recorded: Recorded) -> UUID | None:
        event = recorded.event
        if isinstance(event, ExecutionStarted) and event.parent is not None:
            if event.parent_id is not None:
                self.caller = (event.parent_id, event.parent)
            return derived_id(recorded.at, f"{self.id} before")
        if self.is_call:
            is_first = len(self.segments) == 1
            return derived_id(recorded.at, f"{self.id} after") if is_first else None
        return state_of_actor(getattr(event, "actor", None))

    def _is_at_rest(self, segment: Segment) -> bool:
        run = self.run
        if run is None:
            return False
        if self.is_call:
            return segment.index == 0 or run.status.is_terminal
        is_held = run.is_paused and run.stepping is None and not run.running
        is_done = segment.interrupted is None and INPUT in run.outputs
        return run.status.is_terminal or (is_held and is_done)

    def _noted(self, segment: Segment, event: Event) -> Iterator[OperationExecutionEvent]:
        match event:
            case NodeStarted(node_run=run):
                segment.runs.add(run)
                segment.interrupted, told = None, self._begun(run)
            case NodeInterrupted(node_run=run, will_rerun=True) if not self.is_call:
                segment.interrupted = run
                return
            case NodeCompleted(node_run=run) | NodeOutputSet(node_run=run):
                segment.status, told = _N.COMPLETED, _S.COMPLETED
            case NodeFailed(node_run=run, will_retry=False):
                segment.status, segment.is_failed, told = _N.FAILED, True, _S.ERROR
            case DiagramMutated(revision_number=number):
                segment.summary = f"graph: revision {number}"
                return
            case _:
                return
        if run.node in (INPUT, OUTPUT):
            return
        segment.summary = self._name(run.node)
        operation = operation_id_of(run.node)
        key = DISPATCHED if operation is None else operation
        if told is _S.COMPLETED:
            segment.fresh.add(key)
        yield OperationExecutionEvent(segment.id, key, told)

    def _begun(self, run: NodeRun) -> OperationExecutionStatus:
        props = {} if self.run is None else self.run.diagram.get_node(run.node).props
        return _S.LONG_RUNNING if props.get("is_long_running") else _S.RUNNING

    def _name(self, key: str) -> str:
        assert self.run is not None
        node = self.run.diagram.get_node(key)
        return node.label if node.type == OPERATION else f"{node.props.get('name', key)}()"


def _told(event: Event) -> str:
    match event:
        case ExecutionStarted(parent=None):
            return "root"
        case ExecutionForked():
            return "another way"
        case ExecutionStatusChanged(step=run) if run is not None:
            return run.node
        case NodeRetryScheduled(node_run=run):
            return run.node
        case _:
            return "called"
