"""How an execution went, as figures: another fold over its events (source document 002)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import (
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeOutputSet,
    NodeRetryScheduled,
    NodeSkipped,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.output import TokenUsage


@dataclass(frozen=True, slots=True)
class ExecutionMetrics:
    """Counts of NodeRuns, times, the path in order of starting, and tokens.

    `busy` is the sum of all NodeRuns' times, `elapsed` from the first start to the last end;
    `success_rate` is between 0 and 1 (1 where nothing ended yet).
    """

    node_runs: int
    succeeded: int
    failed: int
    skipped: int
    retried: int
    max_parallelism: int
    busy: timedelta
    elapsed: timedelta
    success_rate: float
    path: tuple[str, ...]
    durations: dict[str, timedelta]
    token_usage: TokenUsage


@dataclass(slots=True)
class ExecutionTracker:
    """Tracks progress: by recording starts and ends, or by folding events with `observe`."""

    _started: dict[str, datetime] = field(default_factory=dict)
    _durations: dict[str, timedelta] = field(default_factory=dict)
    _path: list[str] = field(default_factory=list)
    _runs: int = 0
    _succeeded: int = 0
    _failed: int = 0
    _skipped: int = 0
    _retried: int = 0
    _parallel_max: int = 0
    _first: datetime | None = None
    _last: datetime | None = None
    _usage: TokenUsage = field(default_factory=TokenUsage)

    def record_node_start(self, node_id: str, timestamp: datetime) -> None:
        """A node began."""
        timestamp = timestamp.astimezone(UTC)  # One without a zone means local time.
        self._started[node_id] = timestamp
        self._path.append(node_id)
        self._runs += 1
        self._parallel_max = max(self._parallel_max, len(self._started))
        self._first = self._first or timestamp

    def record_node_complete(
        self, node_id: str, output: Envelope, timestamp: datetime | None = None
    ) -> None:
        """A node ended; its time is the given one, else the envelope's."""
        self._end(node_id, timestamp or output.timestamp)
        if output.has_error():
            self._failed += 1
        else:
            self._succeeded += 1

    def observe(self, recorded: Recorded) -> None:
        """Fold one event; events that say nothing about progress change nothing."""
        match recorded.event:
            case NodeStarted(node_run=run):
                self.record_node_start(run.node, recorded.at)
            case NodeCompleted(node_run=run, output=output, token_usage=usage):
                self.record_node_complete(run.node, output, recorded.at)
                self._usage += usage
            case NodeFailed(node_run=run, token_usage=usage):
                self._end(run.node, recorded.at)
                self._failed += 1
                self._usage += usage
            case NodeSkipped(node=node):
                self._end(node, recorded.at)  # By hand, while it ran.
                self._skipped += 1
            case NodeOutputSet(node_run=run):
                self._end(run.node, recorded.at)
                self._succeeded += 1
            case NodeInterrupted(node_run=run):
                self._end(run.node, recorded.at)
            case NodeRetryScheduled():
                self._retried += 1
            case _:
                pass

    def get_execution_metrics(self) -> ExecutionMetrics:
        """The figures so far."""
        ended = self._succeeded + self._failed
        elapsed = self._last - self._first if self._first and self._last else timedelta()
        return ExecutionMetrics(
            node_runs=self._runs,
            succeeded=self._succeeded,
            failed=self._failed,
            skipped=self._skipped,
            retried=self._retried,
            max_parallelism=self._parallel_max,
            busy=sum(self._durations.values(), timedelta()),
            elapsed=elapsed,
            success_rate=self._succeeded / ended if ended else 1.0,
            path=tuple(self._path),
            durations=dict(self._durations),
            token_usage=self._usage,
        )

    def _end(self, node_id: str, at: datetime | None) -> None:
        started = self._started.pop(node_id, None)
        if started is None or at is None:
            return
        self._last = at
        self._durations[node_id] = self._durations.get(node_id, timedelta()) + (at - started)
