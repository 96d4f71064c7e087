"""Figures of the API, for Prometheus; no label of theirs is chosen by a client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from strawberry.extensions import SchemaExtension
from strawberry.types.graphql import OperationType
from typing_extensions import override

OPERATION_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30)


class ApiMetrics:
    """What one server counts; `registry` holds that, and whatever else it tells about itself."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        self.requests = Counter(
            "dipeo_http_requests",
            "Requests over HTTP that were answered.",
            ["path", "code"],
            registry=registry,
        )
        self.sockets = Gauge("dipeo_sockets", "WebSockets that are open.", registry=registry)
        self.subscribers = Gauge(
            "dipeo_subscribers", "Subscriptions that are open.", registry=registry
        )
        self.stalled_readers = Counter(
            "dipeo_stalled_readers_closed",
            "Readers that took nothing for too long.",
            ["transport"],
            registry=registry,
        )
        self.operation_seconds = Histogram(
            "dipeo_operation_seconds",
            "How long queries and mutations took.",
            ["type"],
            buckets=OPERATION_SECONDS,
            registry=registry,
        )
        self.refused = Counter(
            "dipeo_operations_refused", "Operations that were not run.", registry=registry
        )
        self.mutations = Counter(
            "dipeo_mutations", "Mutations that were run, by field.", ["name"], registry=registry
        )
        ProcessCollector(registry=registry)


class MeasuredOperation(SchemaExtension):
    """Counts one operation, and how long it takes; a subscription is counted while it is open."""

    _type: OperationType | None = None
    """What is run; None as long as it is not known whether it may be."""

    @override
    def on_operation(self) -> Iterator[None]:
        """Around all of it."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._count(time.monotonic() - began)

    @override
    def on_execute(self) -> Iterator[None]:
        """Where it is about to be run."""
        self._type = self.execution_context.operation_type
        if self._type is OperationType.SUBSCRIPTION:
            self._metrics.subscribers.inc()
        yield

    @property
    def _metrics(self) -> ApiMetrics:
        metrics: ApiMetrics = self.execution_context.context.services.metrics
        return metrics

    def _count(self, seconds: float) -> None:
        if self._type is None:
            self._metrics.refused.inc()
        elif self._type is OperationType.SUBSCRIPTION:
            self._metrics.subscribers.dec()
        else:
            self._metrics.operation_seconds.labels(self._type.value).observe(seconds)
        document = self.execution_context.graphql_document
        if self._type is OperationType.MUTATION and document is not None:
            for name in root_fields(document, self.execution_context.operation_name):
                self._metrics.mutations.labels(name).inc()


def root_fields(document: DocumentNode, operation_name: str | None) -> Iterator[str]:
    """The names of the fields that a valid operation asks for at its root."""
    fragments = {
        each.name.value: each.selection_set
        for each in document.definitions
        if isinstance(each, FragmentDefinitionNode)
    }
    pending = list(islice(_selections(document, operation_name), 1))
    while pending:
        for selection in pending.pop().selections:
            if isinstance(selection, FieldNode):
                yield selection.name.value
            elif isinstance(selection, InlineFragmentNode):
                pending.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode):
                pending.append(fragments[selection.name.value])


def _selections(document: DocumentNode, name: str | None) -> Iterator[SelectionSetNode]:
    """What operations of that name select; None = of any."""
    for each in document.definitions:
        if isinstance(each, OperationDefinitionNode) and (
            name is None or (each.name is not None and each.name.value == name)
        ):
            yield each.selection_set
