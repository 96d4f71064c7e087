"""What is written in native is read as it was, and editors find what they look for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dipeo_server.domains.diagram.formats.native import read_native
from dipeo_server.domains.diagram.formats.native_writer import write_native
from dipeo_server.domains.diagram.model import (
    DomainDiagram,
    DomainEdge,
    DomainNode,
    DomainPerson,
)
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.errors import InvalidInput

Specs = Mapping[str, NodeSpec]
Node = DomainNode[Mapping[str, Any]]


def node(key: str, type_: str = "db", **props: Any) -> Node:
    return DomainNode(key=key, id=key, type=type_, label=key, props=props, position=(0.0, 0.0))


def diagram_of(*nodes: Node, edges: tuple[DomainEdge, ...] = (), **fields: Any) -> DomainDiagram:
    return DomainDiagram(nodes, edges, format="native", **fields)


def written(diagram: DomainDiagram) -> Any:
    return json.loads(write_native(diagram))


def read_again(diagram: DomainDiagram, specs: Specs) -> DomainDiagram:
    loaded = read_native(write_native(diagram), specs=specs)
    assert loaded.problems == ()
    assert loaded.diagram is not None
    return replace(
        loaded.diagram,
        nodes=tuple(replace(each, location=None) for each in loaded.diagram.nodes),
        edges=tuple(replace(each, location=None) for each in loaded.diagram.edges),
        persons=tuple(replace(each, location=None) for each in loaded.diagram.persons),
    )


def test_a_diagram_is_five_maps_by_id(specs: Specs) -> None:
    diagram = diagram_of(
        node("a", "start"),
        node("b", "endpoint", save_to_file=False),
        edges=(DomainEdge("e", "a", "b", content_type="raw_text"),),
        persons=(DomainPerson("p", "Judge", model="m"),),
        name="It",
    )
    assert written(diagram) == {
        "nodes": {
            "a": {"type": "start", "position": {"x": 0, "y": 0}, "data": {"label": "a"}},
            "b": {
                "type": "endpoint",
                "position": {"x": 0, "y": 0},
                "data": {"label": "b", "save_to_file": False},
            },
        },
        "arrows": {
            "e": {
                "source": "a_default_output",
                "target": "b_default_input",
                "content_type": "raw_text",
            }
        },
        "handles": {
            "a_default_output": {
                "node_id": "a",
                "label": "default",
                "direction": "output",
                "data_type": "any",
                "position": "right",
            },
            "b_default_input": {
                "node_id": "b",
                "label": "default",
                "direction": "input",
                "data_type": "any",
                "position": "left",
            },
        },
        "persons": {
            "p": {
                "label": "Judge",
                "type": "person",
                "llm_config": {"service": "openai", "model": "m"},
            }
        },
        "metadata": {"name": "It"},
    }


def test_every_handle_of_a_type_is_written_and_others_that_edges_use() -> None:
    edge = DomainEdge("e", "c", "d", source_handle="error")
    handles = written(diagram_of(node("c", "condition"), node("d"), edges=(edge,)))["handles"]
    assert list(handles) == [
        "c_default_input",
        "c_condtrue_output",
        "c_condfalse_output",
        "d_default_input",
        "d_default_output",
        "c_error_output",
    ]
    assert handles["c_condtrue_output"]["data_type"] == "boolean"


def test_a_branch_is_marked_for_editors_and_not_twice_in_what_is_read(specs: Specs) -> None:
    edge = DomainEdge("e", "c", "d", source_handle="condtrue", content_type="object", data={"x": 1})
    diagram = diagram_of(node("c", "condition"), node("d"), edges=(edge,))
    data = {"x": 1, "branch": "true", "is_conditional": True}
    assert written(diagram)["arrows"]["e"]["data"] == data
    assert read_again(diagram, specs).edges == (replace(edge, data=data),)


def test_keys_that_are_no_ids_are_kept_in_the_metadata(specs: Specs) -> None:
    nodes = (replace(node("Ask me"), id="node_0"), node("b"))
    diagram = diagram_of(*nodes, metadata={"author": "Ann"})
    assert written(diagram)["metadata"] == {"author": "Ann", "keys": {"node_0": "Ask me"}}
    assert read_again(diagram, specs) == diagram


def test_handles_of_ids_that_look_alike_are_told_apart(specs: Specs) -> None:
    edges = (
        DomainEdge("e1", "a", "a_first", target_handle="first", content_type="raw_text"),
        DomainEdge("e2", "a_first", "a", target_handle="first", content_type="raw_text"),
        DomainEdge("e3", "a", "a_first_input", content_type="raw_text"),
    )
    people = (node(key, "person_job") for key in ("a", "a_first", "a_first_input"))
    diagram = diagram_of(*people, edges=edges)
    assert read_again(diagram, specs) == diagram


def test_fields_with_a_meaning_of_their_own_are_set_aside(specs: Specs) -> None:
    strange: dict[str, Any] = {"label": "a prop", "source": 1, "props": {"x": 1}}
    diagram = diagram_of(
        replace(node("a", **strange), extra={"data": [1], "type": 2, "flipped": True}),
        node("b"),
        edges=(DomainEdge("e", "a", "b", content_type="raw_text", extra={"source": "x", "y": 1}),),
        persons=(DomainPerson("p", "p", extra={"llm_config": 1, "type": "person", "z": {}}),),
        metadata={"name": "not the name", "description": None, "keys": {"x": "y"}},
        extra={"nodes": "unknown", "version": 2, "more": None, "$extra": {"a": 1}},
    )
    assert read_again(diagram, specs) == diagram
    both = replace(diagram, name="The name", description="What it is")
    assert read_again(both, specs) == both


def test_texts_are_written_as_they_are(specs: Specs) -> None:
    diagram = diagram_of(node("Größe 😀\n\x00\u2028", text='"\\'))
    assert "Größe 😀\\n" in write_native(diagram)
    assert read_again(diagram, specs) == diagram


@pytest.mark.parametrize(
    "diagram, told",
    [
        (diagram_of(node("a"), edges=(DomainEdge("e", "a", "x"),)), "unknown node 'x'"),
        (diagram_of(node("a"), edges=(DomainEdge("e", "a", "a"),) * 2), "Two edges have one key"),
        (diagram_of(node("a"), persons=(DomainPerson("p", "p"),) * 2), "Two persons have one key"),
    ],
)
def test_what_cannot_be_a_map_by_id_is_refused(diagram: DomainDiagram, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        write_native(diagram)
