"""What a run of a Graph tells while it goes: one event after the other, and its result last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from dipeo_server.domains.execution import events as facts
from dipeo_server.domains.execution.checkpoint import CheckpointTrigger
from dipeo_server.domains.execution.events import PauseCause, Recorded
from dipeo_server.domains.execution.ids import BarrierID, NodeRun
from dipeo_server.domains.execution.status import BarrierStatus, ExecutionStatus
from dipeo_server.executors.functions import START
from dipeo_server.executors.graph_errors import (
    GraphCancelled,
    GraphError,
    GraphResult,
    LogEntry,
    error_of,
)


@dataclass(frozen=True, slots=True)
class GraphStart:
    """The first event."""

    trace_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class NodeStart:
    """A node begins; `span_id` is the same in everything that tells of this visit of it."""

    trace_id: str
    at: datetime
    node: str
    span_id: str
    step: int


@dataclass(frozen=True, slots=True)
class NodeEnd:
    """A node has ended; `duration` in seconds."""

    trace_id: str
    at: datetime
    node: str
    span_id: str
    step: int
    success: bool
    duration: float


@dataclass(frozen=True, slots=True)
class ObservedError:
    """Something went wrong that does not end the run; the code of a fallback is DEGRADED."""

    trace_id: str
    at: datetime
    node: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class StateChanged:
    """A key of the state was put, as its reducer made it, or deleted."""

    trace_id: str
    at: datetime
    node: str | None
    key: str
    value: Any = None
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class ParallelStarted:
    """A group of branches begins."""

    trace_id: str
    at: datetime
    node: str
    span_id: str
    branches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BranchCompleted:
    """One branch of a group has ended."""

    trace_id: str
    at: datetime
    node: str
    span_id: str
    branch: str
    success: bool
    duration: float


@dataclass(frozen=True, slots=True)
class ParallelCompleted:
    """Every branch of a group has ended."""

    trace_id: str
    at: datetime
    node: str
    span_id: str
    duration: float


@dataclass(frozen=True, slots=True)
class BarrierWaiting:
    """A person is asked: `handle.decide(event.barrier_id, …)`."""

    trace_id: str
    at: datetime
    node: str
    span_id: str
    barrier_id: BarrierID
    prompt: Any


@dataclass(frozen=True, slots=True)
class BarrierResolved:
    """A barrier has its one decision, a timeout or the end of the run included."""

    trace_id: str
    at: datetime
    node: str
    span_id: str
    barrier_id: BarrierID
    decision: BarrierStatus
    reason: str | None
    decided_by: str | None


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """The state behind the event `sequence` is kept; `node` is what comes next, if anything does.

    Behind the last one `node` is `__complete__`. `step` is how many steps there were by then.
    """

    trace_id: str
    at: datetime
    checkpoint_id: str
    node: str | None
    step: int
    sequence: int
    trigger: CheckpointTrigger


@dataclass(frozen=True, slots=True)
class CheckpointFailed:
    """No checkpoint could be taken; the run goes on without it."""

    trace_id: str
    at: datetime
    trigger: CheckpointTrigger
    message: str


@dataclass(frozen=True, slots=True)
class GraphPaused:
    """Nothing starts until `handle.resume()`; `cause` says what holds the run."""

    trace_id: str
    at: datetime
    cause: PauseCause | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class GraphResumed:
    """The run goes on after a pause."""

    trace_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class GraphComplete:
    """The last event of a run that went well."""

    trace_id: str
    at: datetime
    result: GraphResult


@dataclass(frozen=True, slots=True)
class GraphFailed:
    """The last event of any other run."""

    trace_id: str
    at: datetime
    error: GraphError
    state: Mapping[str, Any]


GraphEvent: TypeAlias = (
    GraphStart
    | NodeStart
    | NodeEnd
    | ObservedError
    | StateChanged
    | ParallelStarted
    | BranchCompleted
    | ParallelCompleted
    | BarrierWaiting
    | BarrierResolved
    | CheckpointSaved
    | CheckpointFailed
    | GraphPaused
    | GraphResumed
    | GraphComplete
    | GraphFailed
)

DEGRADED: Final = "degraded"
"""In the metadata of what a node gave that fell back."""


class Narrator:
    """Turns the log of one run into its events, and keeps what its result is made of."""

    def __init__(self, trace_id: str) -> None:
        self._id = trace_id
        self._at: datetime | None = None
        self._began_at: datetime | None = None
        self._steps = 0
        self._open: dict[NodeRun, tuple[int, datetime]] = {}
        self._entries: list[LogEntry] = []
        self._state: dict[str, Any] = {}
        self._is_paused = False

    def tell(self, recorded: Recorded) -> Iterator[GraphEvent]:
        """The events that a fact of the log is."""
        self._at = recorded.at
        event, at = recorded.event, recorded.at
        run = getattr(event, "node_run", None)
        if isinstance(run, NodeRun) and run.node == START:
            return
        for tell in (self._of_run, self._of_node, self._of_groups, self._of_the_rest):
            yield from tell(event, at)

    def result(self) -> GraphResult:
        """What the run has given so far."""
        seconds = 0.0
        if self._at is not None and self._began_at is not None:
            seconds = (self._at - self._began_at).total_seconds()
        return GraphResult(self._id, dict(self._state), tuple(self._entries), seconds)

    def _of_run(self, event: facts.Event, at: datetime) -> Iterator[GraphEvent]:
        match event:
            case facts.ExecutionStarted(variables=variables):
                self._began_at = at
                self._state = dict(variables)
                yield GraphStart(self._id, at)
            case facts.ExecutionStatusChanged():
                yield from self._of_status(event, at)
            case facts.ExecutionCompleted():
                yield GraphComplete(self._id, at, self.result())
            case facts.ExecutionFailed(errors=errors, failure=failure):
                error = error_of(errors or (failure,), self.result())
                yield GraphFailed(self._id, at, error, error.state)
            case facts.ExecutionAborted(reason=reason):
                why = f": {reason}" if reason else ""
                error = GraphCancelled(f"The run was cancelled{why}.", self.result())
                yield GraphFailed(self._id, at, error, error.state)
            case _:
                return

    def _of_status(self, event: facts.ExecutionStatusChanged, at: datetime) -> Iterator[GraphEvent]:
        is_paused = event.after is ExecutionStatus.PAUSED
        if is_paused and not self._is_paused:
            yield GraphPaused(self._id, at, event.cause, event.reason)
        elif self._is_paused and not is_paused:
            yield GraphResumed(self._id, at)
        self._is_paused = is_paused

    def _of_node(self, event: facts.Event, at: datetime) -> Iterator[GraphEvent]:
        match event:
            case facts.NodeStarted(node_run=run):
                self._steps += 1
                self._open[run] = (self._steps, at)
                yield NodeStart(self._id, at, run.node, span_of(run), self._steps)
            case facts.NodeCompleted(node_run=run, output=output):
                yield from self._ended(run, at, success=DEGRADED not in output.meta)
            case facts.NodeFailed(node_run=run) | facts.NodeInterrupted(node_run=run):
                yield from self._ended(run, at, success=False)
            case facts.ObservedError(failure=failure):
                told = (failure.node, failure.code, failure.message)
                yield ObservedError(self._id, at, *told)
            case facts.StateChanged(key=key, value=value, is_deleted=is_deleted):
                self._state.pop(key, None)
                if not is_deleted:
                    self._state[key] = value
                node = event.node_run.node if event.node_run else None
                yield StateChanged(self._id, at, node, key, value, is_deleted)
            case _:
                return

    def _ended(self, run: NodeRun, at: datetime, *, success: bool) -> Iterator[GraphEvent]:
        begun = self._open.pop(run, None)
        if begun is None:
            return
        step, since = begun
        self._entries.append(LogEntry(step, run.node, since, at, success))
        seconds = (at - since).total_seconds()
        yield NodeEnd(self._id, at, run.node, span_of(run), step, success, seconds)

    def _of_groups(self, event: facts.Event, at: datetime) -> Iterator[GraphEvent]:
        match event:
            case facts.ParallelStarted(node_run=run, branches=branches):
                yield ParallelStarted(self._id, at, run.node, span_of(run), branches)
            case facts.BranchCompleted(node_run=run, branch=branch, duration_seconds=seconds):
                success = event.failure is None
                place = (self._id, at, run.node, span_of(run))
                yield BranchCompleted(*place, branch, success, seconds)
            case facts.ParallelCompleted(node_run=run, duration_seconds=seconds):
                yield ParallelCompleted(self._id, at, run.node, span_of(run), seconds)
            case _:
                return

    def _of_the_rest(self, event: facts.Event, at: datetime) -> Iterator[GraphEvent]:
        match event:
            case facts.BarrierWaiting(node_run=run, prompt=prompt):
                place = (self._id, at, run.node, span_of(run))
                yield BarrierWaiting(*place, run.barrier, prompt)
            case facts.BarrierResolved(node_run=run, status=status):
                place = (self._id, at, run.node, span_of(run))
                told = (run.barrier, status, event.reason, event.decided_by)
                yield BarrierResolved(*place, *told)
            case facts.CheckpointSaved(checkpoint_id=kept, at=seq, trigger=trigger):
                node = None if event.next_node == START else event.next_node
                yield CheckpointSaved(self._id, at, kept, node, self._steps, seq, trigger)
            case facts.CheckpointFailed(trigger=trigger, message=message):
                yield CheckpointFailed(self._id, at, trigger, message)
            case _:
                return


def span_of(run: NodeRun) -> str:
    """The id of one attempt of one visit, within its run."""
    return f"{run.node}#{run.occurrence}.{run.attempt}"
