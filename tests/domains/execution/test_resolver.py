"""Inputs of a node: named by their edges, coerced, transformed, with defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from dipeo_server.domains.diagram.compile import assemble
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.envelope import Envelope, EnvelopeFactory
from dipeo_server.domains.execution.resolver import RuntimeResolver, resolve
from dipeo_server.domains.execution.state import InputRef
from dipeo_server.domains.execution.transformation import (
    TransformationRegistry,
    TransformError,
    TransformRule,
)


def drawn(*edges: DomainEdge, defaults: Mapping[str, Any] | None = None) -> ExecutableDiagram:
    """Two starts A and B, and a node T that the edges go to."""
    props = {"defaults": defaults} if defaults is not None else {}
    nodes = (
        DomainNode("A", "a", "start", "A", dict[str, Any]()),
        DomainNode("B", "b", "start", "B", dict[str, Any]()),
        DomainNode("T", "t", "code_job", "T", props),
    )
    return assemble(DomainDiagram(nodes, edges), {})[0]


def edge(source: str, handle: str = "default", **fields: Any) -> DomainEdge:
    key = f"{source}.{handle}.{len(fields)}"
    return DomainEdge(key, source, "T", handle, fields.pop("to", "default"), **fields)


def envelopes(**bodies: Any) -> dict[str, Envelope]:
    return {key: EnvelopeFactory.create(key, body) for key, body in bodies.items()}


def inputs_of(
    diagram: ExecutableDiagram, outputs: Mapping[str, Envelope], *, registry: Any = None
) -> dict[str, Any]:
    context = ExecutionContext(diagram, "exec_0_x", node_outputs=outputs)
    resolver = RuntimeResolver(registry) if registry else RuntimeResolver()
    return resolver.resolve_inputs(diagram.get_node("T"), context)


def test_an_input_is_named_by_the_label_of_its_edge_else_by_the_handle() -> None:
    diagram = drawn(edge("A", label="topic"), edge("B", to="first"))
    assert inputs_of(diagram, envelopes(A=1, B=2)) == {"topic": 1, "first": 2}


def test_an_edge_whose_source_has_not_run_brings_nothing() -> None:
    diagram = drawn(edge("A", label="a"), edge("B", label="b"))
    assert inputs_of(diagram, envelopes(B=2)) == {"b": 2}


def test_a_default_stands_in_for_what_does_not_come() -> None:
    diagram = drawn(edge("A", label="a"), edge("B", label="b"), defaults={"a": 0, "c": 3})
    assert inputs_of(diagram, envelopes(B=2)) == {"a": 0, "b": 2, "c": 3}
    assert inputs_of(diagram, envelopes(A=1, B=2)) == {"a": 1, "b": 2, "c": 3}


def test_several_edges_of_one_name_give_a_list_in_document_order() -> None:
    diagram = drawn(edge("B", label="x"), edge("A", label="x"))
    assert inputs_of(diagram, envelopes(A=1, B=2)) == {"x": [2, 1]}


@pytest.mark.parametrize(
    "content_type, value",
    [("object", {"n": 1}), ("raw_text", '{"n": 1}'), (None, '{"n": 1}'), ("empty", None)],
)
def test_a_value_is_coerced_to_the_content_type(content_type: str | None, value: Any) -> None:
    diagram = drawn(edge("A", content_type=content_type))
    assert inputs_of(diagram, envelopes(A='{"n": 1}')) == {"default": value}


def test_rules_are_applied_behind_the_coercion() -> None:
    rules = {"wrap": "number", "extract": "n"}
    diagram = drawn(edge("A", content_type="object", transform=rules))
    assert inputs_of(diagram, envelopes(A='{"n": 1}')) == {"default": {"number": 1}}


def test_an_edge_takes_what_its_port_gave() -> None:
    diagram = drawn(edge("A", "left", label="l"), edge("A", "right", label="r"))
    both = EnvelopeFactory.create("A", {"left": 1, "right": 2}, meta={"by_port": True})
    assert inputs_of(diagram, {"A": both}) == {"l": 1, "r": 2}
    plain = EnvelopeFactory.create("A", {"left": 1, "right": 2})
    assert inputs_of(diagram, {"A": plain})["l"] == {"left": 1, "right": 2}


def test_own_transformations_are_usable_on_edges() -> None:
    registry = TransformationRegistry()
    registry.register("twice", lambda value, times: value * times)
    diagram = drawn(edge("A", transform={"twice": 2}))
    assert inputs_of(diagram, envelopes(A="ab"), registry=registry) == {"default": "abab"}
    with pytest.raises(TransformError, match="twice"):
        inputs_of(diagram, envelopes(A="ab"))


def test_rules_may_be_applied_alone() -> None:
    rules = [TransformRule("extract", "a"), TransformRule("wrap", "b")]
    assert RuntimeResolver().apply_transformations({"a": 1}, rules) == {"b": 1}


def test_where_an_input_came_from_is_kept() -> None:
    diagram = drawn(edge("A", label="x", transform={"wrap": "y"}), edge("B", label="x"))
    envelope = EnvelopeFactory.create("A", 1, occurrence=3)
    resolved = resolve(
        diagram,
        [InputRef(0, envelope, "default"), InputRef(1, EnvelopeFactory.create("B", 2), "default")],
    )
    first, second = resolved.sources
    assert (first.name, first.value, first.edge) == ("x", {"y": 1}, diagram.edges[0].key)
    assert (first.produced_by, first.occurrence, first.transforms) == ("A", 3, ("wrap",))
    assert (second.produced_by, second.occurrence, second.transforms) == ("B", 1, ())
    assert resolved.inputs == {"x": [{"y": 1}, 2]}
    assert resolved.envelopes == {"x": envelope}


def test_no_tokens_are_no_inputs() -> None:
    assert resolve(drawn(), []).inputs == {}
