"""Traces of executions (OpenTelemetry): a trace a run, a span a visit, told by what is committed.

Their ids follow from the execution, so what a restarted server tells belongs to the same trace, and
is what clients see as `traceId` and `spanId`. A run is no part of the request that asked for it,
which is over long before; it is linked to that, to the visit it is a child of, and to its origin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.events import (
    BarrierResolved,
    BarrierWaiting,
    DiagramMutated,
    Event,
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionForked,
    ExecutionStarted,
    Failure,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeOutputSet,
    NodeSkipped,
    NodeStarted,
    Recorded,
    RunnerRestarted,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.state import ExecutionState, WaitKind
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.domains.execution.trace_ids import root_span_id, span_id, trace_id

TRACER: Final = "dipeo_server"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_OPEN: Final = (NodeExecutionStatus.RUNNING, NodeExecutionStatus.WAITING)


def is_configured(provider: trace.TracerProvider) -> bool:
    """Does anybody take spans? Without an SDK nothing need be traced."""
    return not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)


class _Ids(Protocol):
    """What gives a tracer of the SDK its ids."""

    def generate_trace_id(self) -> int: ...

    def generate_span_id(self) -> int: ...


class _DerivedIds:
    """Gives the ids that are wanted for a span, otherwise those of another source."""

    def __init__(self, otherwise: _Ids) -> None:
        self._otherwise = otherwise
        self._trace_id: int | None = None
        self._span_id: int | None = None

    @contextmanager
    def wanting(self, trace_: str, span: str) -> Iterator[None]:
        """What begins inside has these ids, given in hexadecimal."""
        self._trace_id, self._span_id = int(trace_, 16), int(span, 16)
        try:
            yield
        finally:
            self._trace_id = self._span_id = None

    def generate_trace_id(self) -> int:
        return self._trace_id or self._otherwise.generate_trace_id()

    def generate_span_id(self) -> int:
        return self._span_id or self._otherwise.generate_span_id()

    def is_trace_id_random(self) -> bool:
        return False


@dataclass(slots=True)
class _Run:
    """The open spans of one execution, those of visits by node."""

    root: Span
    diagram: ExecutableDiagram | None
    visits: dict[str, tuple[NodeRun, Span]] = field(default_factory=dict)


class Tracing:
    """An observer that makes spans of what runs do."""

    def __init__(self, provider: trace.TracerProvider, version: str) -> None:
        self._tracer = trace.get_tracer(TRACER, version, tracer_provider=provider)
        self._ids = _take_over_ids(self._tracer)
        self._runs: dict[ExecutionID, _Run] = {}

    def took_over(self, state: ExecutionState) -> None:
        """Its spans go on: the process before did not end them, so it has told of none."""
        known = self._runs.get(state.id)
        if known is not None:
            known.diagram = state.diagram
            return
        links = [] if state.fork_of is None else [_link_to(state.fork_of)]
        run = self._begin(state.id, state.created_at, state.diagram, links)
        for node, turn in zip(state.diagram.nodes, state.nodes, strict=True):
            waits = state.waiting.get(node.index)
            is_over = waits is not None and waits.kind is WaitKind.RETRY
            if turn.status in _OPEN and not is_over:
                visit = NodeRun(node.key, turn.occurrence, turn.attempt)
                self._open(state.id, run, visit, _nanoseconds(turn.started_at))

    def saw(self, execution_id: ExecutionID, events: Sequence[Recorded]) -> None:
        """Begin and end spans."""
        for recorded in events:
            event = recorded.event
            if isinstance(event, ExecutionStarted):
                links = _links_of(event.parent_id, event.parent)
                self._begin(execution_id, recorded.at, event.diagram, links)
            elif isinstance(event, ExecutionForked):
                links = [_link_to(event.origin), *_links_of(event.parent_id, event.parent)]
                self._begin(execution_id, recorded.at, None, links)
            elif (run := self._runs.get(execution_id)) is not None:
                self._tell(execution_id, run, event, _nanoseconds(recorded.at))

    def entering(self, execution_id: ExecutionID, run: NodeRun) -> None:
        """What the handler does, and tells others, is part of its visit."""
        known = self._runs.get(execution_id)
        visit, span = (None, None) if known is None else known.visits.get(run.node, (None, None))
        if span is None or visit != run:
            # It runs ahead of the disk: that it began, or even the whole run, is not committed yet.
            flags = TraceFlags(TraceFlags.SAMPLED)
            if known is not None:
                flags = known.root.get_span_context().trace_flags
            span = trace.NonRecordingSpan(_place(execution_id, run, flags))
        contexts.attach(trace.set_span_in_context(span))

    def appended(self, seconds: float) -> None:
        """Nothing: that is for figures."""

    # --- spans ----------------------------------------------------------------------------------

    def _begin(
        self,
        execution_id: ExecutionID,
        at: datetime | None,
        diagram: ExecutableDiagram | None,
        links: Sequence[Link],
    ) -> _Run:
        attributes = {"dipeo.execution.id": execution_id}
        parent = contexts.Context()
        if self._ids is None:  # The trace can only be chosen by a parent, which nobody ever sees.
            place = _place(execution_id, None, TraceFlags(TraceFlags.SAMPLED))
            parent = trace.set_span_in_context(trace.NonRecordingSpan(place), parent)
        with self._wanting(execution_id, root_span_id(execution_id)):
            root = self._tracer.start_span(
                "run", parent, SpanKind.INTERNAL, attributes, links, _nanoseconds(at)
            )
        run = self._runs[execution_id] = _Run(root, diagram)
        return run

    def _open(
        self, execution_id: ExecutionID, run: _Run, visit: NodeRun, start: int | None
    ) -> None:
        type_ = _type_of(run.diagram, visit.node)
        attributes: dict[str, str | int] = {
            "dipeo.execution.id": execution_id,
            "dipeo.node.key": visit.node,
            "dipeo.node.type": type_,
            "dipeo.node.occurrence": visit.occurrence,
            "dipeo.node.attempt": visit.attempt,
        }
        parent = trace.set_span_in_context(run.root, contexts.Context())
        with self._wanting(execution_id, span_id(execution_id, visit)):
            span = self._tracer.start_span(
                f"{type_} {visit.node}", parent, attributes=attributes, start_time=start
            )
        run.visits[visit.node] = (visit, span)

    def _wanting(self, execution_id: ExecutionID, span: str) -> AbstractContextManager[None]:
        return self._ids.wanting(trace_id(execution_id), span) if self._ids else nullcontext()

    def _tell(self, execution_id: ExecutionID, run: _Run, event: Event, now: int | None) -> None:
        match event:
            case NodeStarted(node_run=visit):
                _close(run, visit.node, now)
                self._open(execution_id, run, visit, now)
            case NodeCompleted(node_run=visit) | NodeOutputSet(node_run=visit):
                _close(run, visit.node, now, usage=getattr(event, "token_usage", None))
            case NodeFailed(node_run=visit):
                _close(run, visit.node, now, failure=event.failure, usage=event.token_usage)
            case NodeInterrupted(node_run=visit):
                _close(run, visit.node, now, ending="interrupted")
            case NodeSkipped(node=node):
                _close(run, node, now, ending="skipped")
            case _:
                self._tell_of_the_run(execution_id, run, event, now)

    def _tell_of_the_run(
        self, execution_id: ExecutionID, run: _Run, event: Event, now: int | None
    ) -> None:
        match event:
            case BarrierWaiting(node_run=visit):
                _, span = run.visits.get(visit.node, (None, run.root))
                span.add_event("barrier waiting", {"dipeo.node.key": visit.node}, now)
            case BarrierResolved(status=status):
                run.root.add_event("barrier resolved", {"dipeo.barrier.status": status}, now)
            case RunnerRestarted():
                run.root.add_event("runner restarted", None, now)
            case DiagramMutated(diagram=diagram):
                run.diagram = diagram
            case ExecutionCompleted() | ExecutionFailed() | ExecutionAborted():
                del self._runs[execution_id]
                _end(run, event, now)
            case _:
                pass


def _take_over_ids(tracer: trace.Tracer) -> _DerivedIds | None:
    """Let our own tracer, and no other, take ids from us; None where it has no such source."""
    source: _Ids | None = getattr(tracer, "id_generator", None)
    if source is None:
        return None
    ids = _DerivedIds(source)
    setattr(tracer, "id_generator", ids)  # noqa: B010 - the attribute is the SDK's, not the API's.
    return ids


def _place(
    execution_id: ExecutionID, visit: NodeRun | None, flags: TraceFlags | None = None
) -> SpanContext:
    """Where a run, or a visit in it, is found among all spans."""
    span = root_span_id(execution_id) if visit is None else span_id(execution_id, visit)
    trace_ = int(trace_id(execution_id), 16)
    return SpanContext(trace_, int(span, 16), is_remote=True, trace_flags=flags)


def _link_to(execution_id: ExecutionID, visit: NodeRun | None = None) -> Link:
    return Link(_place(execution_id, visit))


def _links_of(parent_id: ExecutionID | None, parent: NodeRun | None) -> list[Link]:
    """What a run came from: the visit that it is a child of, else the request that asked for it."""
    if parent_id is not None and parent is not None:
        return [_link_to(parent_id, parent)]
    asking = trace.get_current_span().get_span_context()
    return [Link(asking)] if asking.is_valid else []


def _type_of(diagram: ExecutableDiagram | None, key: str) -> str:
    index = None if diagram is None else diagram.index_of.get(key)
    return "node" if diagram is None or index is None else diagram.nodes[index].type


def _nanoseconds(at: datetime | None) -> int | None:
    """Since 1970; None means now."""
    return None if at is None else (at - _EPOCH) // _MICROSECOND * 1_000


def _close(
    run: _Run,
    node: str,
    now: int | None,
    *,
    failure: Failure | None = None,
    usage: TokenUsage | None = None,
    ending: str | None = None,
) -> None:
    """End the span of the node's visit, if one is open."""
    _, span = run.visits.pop(node, (None, None))
    if span is None:
        return
    if usage is not None and usage.total:
        span.set_attribute("gen_ai.usage.input_tokens", usage.input)
        span.set_attribute("gen_ai.usage.output_tokens", usage.output)
    if ending is not None:
        span.set_attribute("dipeo.node.ending", ending)
    _fail(span, failure)
    span.end(now)


def _end(run: _Run, event: Event, now: int | None) -> None:
    """End the span of the run, and what is left open in it."""
    for node in list(run.visits):
        _close(run, node, now, ending="interrupted")
    run.root.set_attribute("dipeo.execution.ending", type(event).__name__)
    _fail(run.root, event.failure if isinstance(event, ExecutionFailed) else None)
    run.root.end(now)


def _fail(span: Span, failure: Failure | None) -> None:
    if failure is not None:
        span.set_attribute("error.type", failure.code)
        span.set_status(Status(StatusCode.ERROR, failure.message))
