"""Figures of the runs of a process, for Prometheus: counted as events are committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from dipeo_server.domains.execution.events import (
    BarrierWaiting,
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
    NodeOutputSet,
    NodeReported,
    NodeSkipped,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus

APPEND_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_ENDS: Final[dict[type, ExecutionStatus]] = {
    ExecutionCompleted: ExecutionStatus.COMPLETED,
    ExecutionFailed: ExecutionStatus.FAILED,
    ExecutionAborted: ExecutionStatus.ABORTED,
}
_RUNS_NO_MORE: Final = (
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeOutputSet,
    NodeReported,
    BarrierWaiting,
)


class RunFigures(Collector):
    """What runs now, what has ended and what was appended since this process began.

    Everything is counted in plain numbers, and put into metrics when somebody asks.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._statuses: dict[ExecutionID, ExecutionStatus] = {}
        self._running: dict[ExecutionID, set[str]] = {}
        self._ended: Counter[ExecutionStatus] = Counter()
        self._events: Counter[type] = Counter()
        self._append_seconds = Histogram(
            "dipeo_append_seconds",
            "How long it took until appended events were durable.",
            buckets=APPEND_SECONDS,
            registry=registry,
        )
        registry.register(self)

    def took_over(self, state: ExecutionState) -> None:
        """It counts as it was left."""
        self._statuses[state.id] = state.status
        for node, turn in zip(state.diagram.nodes, state.nodes, strict=True):
            if turn.status is NodeExecutionStatus.RUNNING:
                self._running.setdefault(state.id, set()).add(node.key)

    def saw(self, execution_id: ExecutionID, events: Sequence[Recorded]) -> None:
        """Count them."""
        for recorded in events:
            event = recorded.event
            kind = type(event)
            self._events[kind] += 1
            if kind in _ENDS:
                self._statuses.pop(execution_id, None)
                self._running.pop(execution_id, None)
                self._ended[_ENDS[kind]] += 1
            elif isinstance(event, ExecutionStatusChanged):
                self._statuses[execution_id] = event.after
            elif isinstance(event, ExecutionStarted | ExecutionForked):
                self._statuses[execution_id] = ExecutionStatus.STARTED
            else:
                self._saw_node(execution_id, event)

    def entering(self, execution_id: ExecutionID, run: NodeRun) -> None:
        """Nothing: that it runs was committed."""

    def appended(self, seconds: float) -> None:
        """Note how long it took."""
        self._append_seconds.observe(seconds)

    @override
    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        executions = GaugeMetricFamily(
            "dipeo_executions", "Runs that have not ended, by status.", labels=["status"]
        )
        now = Counter(self._statuses.values())
        for status in filter(lambda each: each.is_active, ExecutionStatus):
            executions.add_metric([status], now[status])
        yield executions
        ended = CounterMetricFamily(
            "dipeo_executions_ended", "Runs that have ended, by status.", labels=["status"]
        )
        for status in _ENDS.values():
            ended.add_metric([status], self._ended[status])
        yield ended
        running = sum(map(len, self._running.values()))
        yield GaugeMetricFamily("dipeo_nodes_running", "Visits of nodes that run.", running)
        events = CounterMetricFamily(
            "dipeo_events_appended", "Events that were committed, by kind.", labels=["kind"]
        )
        for kind, count in sorted(self._events.items(), key=lambda item: item[0].__name__):
            events.add_metric([kind.__name__], count)
        yield events

    def _saw_node(self, execution_id: ExecutionID, event: Event) -> None:
        if isinstance(event, NodeStarted):
            self._running.setdefault(execution_id, set()).add(event.node_run.node)
            return
        running = self._running.get(execution_id)
        if running and (node := _runs_no_more(event)) is not None:
            running.discard(node)


def _runs_no_more(event: Event) -> str | None:
    """The node that does not run any more, if it ran."""
    if isinstance(event, NodeSkipped):
        return event.node
    if isinstance(event, NodeReported) and event.status is not NodeExecutionStatus.WAITING:
        return None
    return event.node_run.node if isinstance(event, _RUNS_NO_MORE) else None
