"""What a log tells beyond the present state: every visit, its inputs, the timeline, the figures.

Pure folds over recorded events; nothing here reads a clock or a store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import (
    BarrierWaiting,
    DiagramMutated,
    ExecutionForked,
    ExecutionStarted,
    Failure,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeMaxIterationsReached,
    NodeOutputSet,
    NodeReported,
    NodeSkipped,
    NodeStarted,
    Recorded,
    StateChanged,
)
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine.evolve import begin, evolve
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.state import ExecutionState, InputRef
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.domains.execution.tracker import ExecutionMetrics, ExecutionTracker

_Visit = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One attempt of one visit, as far as the log goes; `ready_at` None where it never queued.

    `revision` is that of the diagram it ran with.
    """

    node_run: NodeRun
    status: NodeExecutionStatus
    ready_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure: Failure | None = None
    token_usage: TokenUsage | None = None
    output: Envelope | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """A folded log: `runs` in order of starting, `inputs` by (node key, occurrence).

    The edges of inputs are those of the diagram that ran then: `diagrams` has it for each.
    """

    runs: tuple[RunRecord, ...]
    inputs: dict[_Visit, tuple[InputRef, ...]]
    diagrams: dict[_Visit, ExecutableDiagram]
    metrics: ExecutionMetrics
    wait: timedelta
    critical_path: tuple[str, ...]

    def runs_of(self, node: str) -> list[RunRecord]:
        """The attempts of one node, in order."""
        return [run for run in self.runs if run.node_run.node == node]


def fold(log: Iterable[Recorded]) -> History:
    """The history that a log tells, from its first event on."""
    folding = _Folding()
    for recorded in log:
        folding.add(recorded)
    return folding.history()


@dataclass(slots=True)
class _Folding:
    state: ExecutionState | None = None
    tracker: ExecutionTracker = field(default_factory=ExecutionTracker)
    runs: list[RunRecord] = field(default_factory=list)
    open: dict[str, int] = field(default_factory=dict)
    ready: dict[int, datetime] = field(default_factory=dict)
    inputs: dict[_Visit, tuple[InputRef, ...]] = field(default_factory=dict)
    diagrams: dict[_Visit, ExecutableDiagram] = field(default_factory=dict)

    def add(self, recorded: Recorded) -> None:
        self.tracker.observe(recorded)
        if self.state is None:
            self.state = begin(recorded)
        else:
            before = self.state.diagram
            evolve(self.state, recorded)
            self._follow(before, self.state.diagram)
            self._note(self.state, recorded)
        self._note_ready(self.state, recorded.at)

    def _follow(self, before: ExecutableDiagram, now: ExecutableDiagram) -> None:
        """Where the graph was changed, nodes have other indexes."""
        if before is not now:
            keys = {before.nodes[index].key: at for index, at in self.ready.items()}
            kept = {key: at for key, at in keys.items() if key in now.index_of}
            self.ready = {now.index_of[key]: at for key, at in kept.items()}

    def history(self) -> History:
        waits = (
            run.started_at - run.ready_at for run in self.runs if run.started_at and run.ready_at
        )
        return History(
            runs=tuple(self.runs),
            inputs=self.inputs,
            diagrams=self.diagrams,
            metrics=self.tracker.get_execution_metrics(),
            wait=sum(waits, timedelta()),
            critical_path=_critical_path(self.runs, self.inputs),
        )

    def _note(self, state: ExecutionState, recorded: Recorded) -> None:
        match recorded.event:
            case NodeStarted(node_run=run):
                self._started(state, run, recorded.at)
            case NodeMaxIterationsReached(node_run=run):
                status = NodeExecutionStatus.MAXITER_REACHED
                self._pop_ready(state, run)
                record = RunRecord(run, status, None, recorded.at, recorded.at)
                self.runs.append(replace(record, revision=state.revision))
            case NodeReported(node_run=run, status=NodeExecutionStatus.WAITING):
                self._change(run, RunRecord(run, NodeExecutionStatus.WAITING))
            case BarrierWaiting(node_run=run):
                self._change(run, RunRecord(run, NodeExecutionStatus.WAITING))
            case NodeCompleted() | NodeFailed() | NodeInterrupted() | NodeOutputSet() as event:
                self._change(event.node_run, _end_of(event, recorded.at))
                self.open.pop(event.node_run.node, None)
            case NodeSkipped(node=node) if node in self.open:
                run = self.runs[self.open[node]].node_run
                skipped = RunRecord(run, NodeExecutionStatus.SKIPPED, ended_at=recorded.at)
                self._change(run, skipped)
                self.open.pop(node)
            case _:
                pass

    def _started(self, state: ExecutionState, run: NodeRun, at: datetime) -> None:
        ready_at = self._pop_ready(state, run)
        self.open[run.node] = len(self.runs)
        running = RunRecord(run, NodeExecutionStatus.RUNNING, ready_at, at)
        self.runs.append(replace(running, revision=state.revision))
        index = state.diagram.index_of[run.node]
        visit = (run.node, run.occurrence)
        if visit not in self.inputs:
            self.inputs[visit] = state.inputs.get(index, ())
            self.diagrams[visit] = state.diagram

    def _change(self, run: NodeRun, change: RunRecord) -> None:
        """The open run, with the status and the end that `change` has."""
        place = self.open.get(run.node)
        if place is None:
            # A node that this server cannot run fails without having been started; one that is
            # given its result ends without it.
            revision = self.state.revision if self.state else 0
            self.runs.append(replace(change, revision=revision))
            return
        before = self.runs[place]
        self.runs[place] = replace(
            change,
            node_run=run,
            ready_at=before.ready_at,
            started_at=before.started_at,
            revision=before.revision,
        )

    def _note_ready(self, state: ExecutionState, at: datetime) -> None:
        # The newest are at the end, so what is known already ends the search.
        for index in reversed(state.ready):
            if index in self.ready:
                break
            self.ready[index] = at

    def _pop_ready(self, state: ExecutionState, run: NodeRun) -> datetime | None:
        return self.ready.pop(state.diagram.index_of[run.node], None)


def _end_of(
    event: NodeCompleted | NodeFailed | NodeInterrupted | NodeOutputSet, at: datetime
) -> RunRecord:
    run = event.node_run
    match event:
        case NodeOutputSet(output=output):
            return RunRecord(run, NodeExecutionStatus.COMPLETED, ended_at=at, output=output)
        case NodeCompleted(output=output, token_usage=usage):
            return RunRecord(
                run,
                NodeExecutionStatus.COMPLETED,
                ended_at=at,
                token_usage=usage,
                output=output,
            )
        case NodeFailed(failure=failure, token_usage=usage, output=output):
            return RunRecord(
                run,
                NodeExecutionStatus.FAILED,
                ended_at=at,
                failure=failure,
                token_usage=usage,
                output=output,
            )
        case NodeInterrupted():
            return RunRecord(run, NodeExecutionStatus.ABORTED, ended_at=at)


def _critical_path(
    runs: list[RunRecord], inputs: dict[_Visit, tuple[InputRef, ...]]
) -> tuple[str, ...]:
    """From the run that ended last, back along the input that came last, to a start."""
    ended: dict[_Visit, datetime] = {}
    last: _Visit | None = None
    for run in runs:
        if run.ended_at is None:
            continue
        visit = (run.node_run.node, run.node_run.occurrence)
        ended[visit] = run.ended_at
        if last is None or run.ended_at >= ended[last]:
            last = visit
    path: list[str] = []
    seen: set[_Visit] = set()
    while last is not None and last not in seen:
        seen.add(last)
        path.append(last[0])
        sources = [
            (ref.envelope.produced_by, ref.envelope.occurrence) for ref in inputs.get(last, ())
        ]
        known = [source for source in sources if source in ended]
        last = max(known, key=lambda source: ended[source], default=None)
    return tuple(reversed(path))


class Before:
    """What telling an event needs of the log before it: when things began, and how often.

    Folded from the first event on it knows everything; folded from later on it says what it lacks.
    """

    def __init__(self, *, is_complete: bool) -> None:
        self._is_complete = is_complete
        self._started_at: datetime | None = None
        self._content_hash = ""
        self._variables: dict[str, Any] = {}
        self._open: dict[NodeRun, datetime] = {}
        self._visits: dict[str, int] = {}

    def knows(self, recorded: Recorded) -> bool:
        """Is everything known that telling this event needs?"""
        if self._is_complete:
            return True
        match recorded.event:
            case NodeCompleted() | NodeFailed() as event:
                return event.node_run in self._open
            case NodeSkipped(node=node):
                return node in self._visits
            case ExecutionForked():
                return False
            case _:
                return not recorded.is_terminal or self._started_at is not None

    def observe(self, recorded: Recorded) -> None:
        """Fold one event, after it was told."""
        match recorded.event:
            case ExecutionStarted(diagram=diagram, variables=variables):
                self._started_at = recorded.at
                self._content_hash, self._variables = diagram.content_hash, dict(variables)
            case ExecutionForked():
                self._started_at = recorded.at
            case DiagramMutated(content_hash=content_hash):
                self._content_hash = content_hash
            case StateChanged(key=key, is_deleted=True):
                self._variables.pop(key, None)
            case StateChanged(key=key, value=value):
                self._variables[key] = value
            case _:
                self._observe_node(recorded)

    def _observe_node(self, recorded: Recorded) -> None:
        match recorded.event:
            case NodeStarted(node_run=run):
                self._open[run] = recorded.at
                self._visits[run.node] = run.occurrence
            case NodeMaxIterationsReached(node_run=run):
                self._visits[run.node] = run.occurrence
            case NodeOutputSet(node_run=run):
                self._visits[run.node] = run.occurrence
                self._open.pop(run, None)
            case NodeCompleted() | NodeFailed() | NodeInterrupted() as event:
                self._open.pop(event.node_run, None)
            case _:
                pass

    def duration_of(self, recorded: Recorded) -> timedelta:
        """How long what ends with this event took; zero where nothing ends."""
        started = self._started_at if recorded.is_terminal else None
        if isinstance(recorded.event, NodeCompleted | NodeFailed):
            started = self._open.get(recorded.event.node_run)
        return timedelta(0) if started is None else recorded.at - started

    def content_hash(self) -> str:
        """What tells the diagram from others; empty unless everything is known."""
        return self._content_hash

    def variables(self) -> dict[str, Any]:
        """The execution variables by now, if everything is known."""
        return dict(self._variables)

    def visits_of(self, node: str) -> int:
        """How often the node has been visited."""
        return self._visits.get(node, 0)
