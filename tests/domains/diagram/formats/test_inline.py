"""Diagrams given as nodes and edges."""

from collections.abc import Mapping
from typing import Any

import pytest

from dipeo_server.domains.diagram.executable import EdgeKind
from dipeo_server.domains.diagram.formats.inline import from_inputs
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode, DomainPerson
from dipeo_server.domains.diagram.spec import NodeSpec


def load(
    nodes: list[dict[str, Any]], edges: list[dict[str, Any]] | None = None, persons: Any = None
) -> Loaded:
    return from_inputs(nodes, edges or [], persons, specs={})


A_AND_B = [{"key": "a", "type": "START"}, {"key": "b", "type": "ENDPOINT"}]


def test_nodes_and_edges_become_a_diagram(specs: Mapping[str, NodeSpec]) -> None:
    loaded = from_inputs(
        [
            {"key": "a", "type": "START", "label": "Begin", "position": {"x": 1, "y": 2.5}},
            {"key": "b", "type": "MYSTEP", "props": {"codeX": 1, "filePath": "f"}, "join": "ANY"},
        ],
        [{"source": "a", "target": "b", "label": "topic", "content_type": "OBJECT"}],
        {"Ann": {"model": "m"}},
        specs=specs,
        name="N",
        description="D",
        path="p",
    )
    assert loaded.problems == ()
    empty: dict[str, Any] = {"custom_data": {}, "output_data_structure": {}}
    assert loaded.diagram == DomainDiagram(
        nodes=(
            DomainNode("a", "a", "start", "Begin", empty, (1.0, 2.5)),
            DomainNode("b", "b", "MyStep", "b", {"codeX": 1, "file_path": "f", "join": "any"}),
        ),
        edges=(DomainEdge("arrow_0", "a", "b", label="topic", content_type="object"),),
        persons=(DomainPerson("Ann", "Ann", model="m"),),
        name="N",
        description="D",
        format="native",
        path="p",
    )


def test_every_field_of_an_edge_is_read() -> None:
    loaded = load(
        [{"key": "a", "type": "CONDITION"}, {"key": "b", "type": "ENDPOINT"}],
        [
            {
                "key": "e",
                "source": "a",
                "target": "b",
                "source_handle": "condtrue",
                "target_handle": "default",
                "kind": "WHEN",
                "condition": "x",
                "transform": {"wrap": "y"},
                "priority": 2,
            }
        ],
    )
    assert loaded.diagram is not None
    assert loaded.diagram.edges == (
        DomainEdge(
            "e",
            "a",
            "b",
            source_handle="condtrue",
            content_type="raw_text",
            kind=EdgeKind.WHEN,
            condition="x",
            priority=2,
            transform={"wrap": "y"},
            data={"branch": "true", "is_conditional": True},
        ),
    )


def test_edge_keys_are_made_where_none_are_given() -> None:
    edge = {"source": "a", "target": "b"}
    loaded = load(A_AND_B, [edge, {**edge, "key": "arrow_0"}, edge])
    assert loaded.problems == ()
    assert loaded.diagram is not None
    assert [e.key for e in loaded.diagram.edges] == ["arrow_1", "arrow_0", "arrow_2"]


@pytest.mark.parametrize(
    "persons, keys",
    [
        (None, []),
        ({"Ann": {}, "Bob": {}}, ["Ann", "Bob"]),
        ([{"key": "Ann"}, {"label": "Bob"}, {"id": "Cy", "label": "C"}], ["Ann", "Bob", "Cy"]),
    ],
)
def test_persons_are_a_map_or_a_list(persons: Any, keys: list[str]) -> None:
    loaded = load(A_AND_B, [], persons)
    assert loaded.problems == ()
    assert loaded.diagram is not None
    assert [person.key for person in loaded.diagram.persons] == keys


DEEP: Any = []
for _ in range(100):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "nodes, edges, persons, code",
    [
        ([{"type": "START"}], [], None, "INVALID_FIELD"),
        ([{"key": "a" * 1_001, "type": "START"}], [], None, "LABEL_TOO_LONG"),
        ([*A_AND_B, A_AND_B[0]], [], None, "DUPLICATE_KEY"),
        ([{"key": "a", "type": "START", "props": [1]}], [], None, "INVALID_FIELD"),
        ([{"key": "a", "type": "START", "props": {"x": DEEP}}], [], None, "INVALID_FIELD"),
        ([{"key": "a", "type": "START", "props": {"x": 2**70}}], [], None, "INVALID_FIELD"),
        ([{"key": "a", "type": "START", "props": {"x": 1, "x.y": 1}}], [], None, "INVALID_FIELD"),
        (A_AND_B, [{"source": "a", "target": "c"}], None, "UNKNOWN_NODE"),
        (A_AND_B, [{"source": "a"}], None, "UNKNOWN_NODE"),
        (A_AND_B, [{"key": "e", "source": "a", "target": "b"}] * 2, None, "DUPLICATE_KEY"),
        (A_AND_B, [{"source": "a", "target": "b", "transform": DEEP}], None, "INVALID_FIELD"),
        (A_AND_B, [{"source": "a", "target": "b", "kind": "NEVER"}], None, "INVALID_FIELD"),
        (A_AND_B, [], 1, "INVALID_FIELD"),
        (A_AND_B, [], {"Ann": "x"}, "INVALID_FIELD"),
        (A_AND_B, [], {"Ann": {"model": []}}, "INVALID_FIELD"),
        (A_AND_B, [], [{}], "INVALID_FIELD"),
        (A_AND_B, [], ["Ann"], "INVALID_FIELD"),
        (A_AND_B, [], [{"key": "Ann"}, {"key": "Ann"}], "DUPLICATE_KEY"),
        (A_AND_B, [], DEEP, "INVALID_FIELD"),
    ],
)
def test_what_is_wrong_is_one_error(nodes: Any, edges: Any, persons: Any, code: str) -> None:
    loaded = load(nodes, edges, persons)
    assert [problem.code for problem in loaded.problems] == [code]
    assert loaded.has_errors


def test_an_unknown_node_comes_with_the_nearest_one() -> None:
    nodes = [{"key": "load data", "type": "DB"}]
    [problem] = load(nodes, [{"source": "load data", "target": "loadd data"}]).problems
    assert (problem.edge, problem.hint) == ("arrow_0", "Did you mean 'load data'?")
