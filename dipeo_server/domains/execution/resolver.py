"""What a node gets from its edges: values by input name, coerced and transformed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableDiagram, ExecutableNode
from dipeo_server.domains.execution.coercion import coerce
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.state import InputRef
from dipeo_server.domains.execution.transformation import (
    TRANSFORMATIONS,
    TransformationRegistry,
    TransformRule,
    rules_of,
)


@dataclass(frozen=True, slots=True)
class ResolvedInput:
    """Where one input value came from: edge, producing run, transformations applied."""

    name: str
    value: Any
    edge: str
    produced_by: str
    occurrence: int
    transforms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolved:
    """A NodeRun's inputs by name; several edges of one name give a list in document order."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    envelopes: Mapping[str, Envelope] = field(default_factory=dict)
    sources: tuple[ResolvedInput, ...] = ()


def resolve(
    diagram: ExecutableDiagram,
    refs: Sequence[InputRef],
    transformations: TransformationRegistry = TRANSFORMATIONS,
) -> Resolved:
    """The inputs that these tokens bring. Raises TransformError, TemplateError, ExpressionError."""
    sources = tuple(_source(diagram, ref, transformations) for ref in refs)
    by_name: dict[str, list[Any]] = {}
    envelopes: dict[str, Envelope] = {}
    for source, ref in zip(sources, refs, strict=True):
        by_name.setdefault(source.name, []).append(source.value)
        envelopes.setdefault(source.name, ref.envelope)
    inputs = {name: found[0] if len(found) == 1 else found for name, found in by_name.items()}
    return Resolved(inputs, envelopes, sources)


def _source(
    diagram: ExecutableDiagram, ref: InputRef, transformations: TransformationRegistry
) -> ResolvedInput:
    edge = diagram.edges[ref.edge]
    value = coerce(ref.envelope.value_at(ref.port), edge.content_type)
    rules = rules_of(edge.transform)
    return ResolvedInput(
        name=edge.input_name,
        value=transformations.apply(value, rules),
        edge=edge.key,
        produced_by=ref.envelope.produced_by,
        occurrence=ref.envelope.occurrence,
        transforms=tuple(rule.name for rule in rules),
    )


class RuntimeResolver:
    """Resolves runtime inputs for nodes (source document 002)."""

    def __init__(self, transformations: TransformationRegistry = TRANSFORMATIONS) -> None:
        self._transformations = transformations

    def resolve_inputs(self, node: ExecutableNode, context: ExecutionContext) -> dict[str, Any]:
        """The inputs of a node from the outputs that the context holds, by input name.

        An edge whose source has no output yet brings nothing; a value of the node's own `defaults`
        takes its place.
        """
        refs = tuple(
            InputRef(edge.index, envelope, edge.source_handle)
            for edge in (context.diagram.edges[index] for index in node.incoming)
            if (envelope := context.node_outputs.get(context.diagram.nodes[edge.source].key))
        )
        defaults = node.props.get("defaults")
        found = dict(resolve(context.diagram, refs, self._transformations).inputs)
        return {**defaults, **found} if isinstance(defaults, Mapping) else found

    def apply_transformations(self, value: Any, rules: Sequence[TransformRule]) -> Any:
        """The value behind an ordered list of rules."""
        return self._transformations.apply(value, rules)
