"""The nodes of a light document."""

from collections.abc import Callable
from typing import Any

import pytest

from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.model import DomainNode, Location

Read = Callable[[str], Loaded]


def first_node(loaded: Loaded) -> DomainNode[Any]:
    assert loaded.diagram is not None
    return loaded.diagram.nodes[0]


def test_props_and_direct_fields_are_one_bag_and_direct_ones_win(read: Read) -> None:
    node = first_node(
        read("""
        nodes:
          - label: Run
            type: code_job
            props: {code: a, language: bash}
            code: b
            mine: 1
        """)
    )
    assert node.props == {"code": "b", "language": "bash", "mine": 1}
    assert (node.key, node.id, node.label) == ("Run", "node_0", "Run")
    assert node.location == Location(3, 5)


@pytest.mark.parametrize(
    "written, type_",
    [
        ("CODE_JOB", "code_job"),
        ("Person_Job", "person_job"),
        ("job", "person_job"),
        ("JOB", "person_job"),
        ("mystep", "MyStep"),
        ("MyStep", "MyStep"),
        ("ir_builder", "ir_builder"),
        ("Whatever", "Whatever"),
    ],
)
def test_types_may_be_in_any_case(read: Read, written: str, type_: str) -> None:
    assert first_node(read(f"nodes: [{{label: A, type: {written}}}]")).type == type_


def test_a_node_without_type_is_a_job(read: Read) -> None:
    assert first_node(read("nodes: [{label: A}]")).type == "person_job"


@pytest.mark.parametrize(
    "written, place",
    [
        ("null", (0, 0)),
        ("{x: 1, y: 2.5}", (1, 2.5)),
        ("{y: -2}", (0, -2)),
        ("[3, 4]", (3, 4)),
    ],
)
def test_positions_have_a_default(read: Read, written: str, place: tuple[float, float]) -> None:
    assert first_node(read(f"nodes: [{{label: A, position: {written}}}]")).position == place


@pytest.mark.parametrize("written", ["{x: a, y: 1}", "[1]", "here", "{x: 1, z: 2}"])
def test_a_strange_position_is_ignored_with_a_warning(read: Read, written: str) -> None:
    loaded = read(f"nodes: [{{label: A, position: {written}}}]")
    assert [(p.code, p.is_error) for p in loaded.problems] == [("POSITION_IGNORED", False)]
    assert first_node(loaded).position == (0.0, 0.0)


def test_labels_are_unique_and_both_lines_are_named(read: Read) -> None:
    loaded = read("""
        nodes:
          - label: A
            type: start
          - label: B
          - type: endpoint
            label: A
        """)
    [problem] = loaded.problems
    assert problem.code == "DUPLICATE_LABEL"
    assert "in line 3 and in line 7" in problem.message
    assert problem.location == Location(7, 5)
    assert loaded.diagram is not None
    assert [(node.key, node.type) for node in loaded.diagram.nodes] == [
        ("A", "start"),
        ("B", "person_job"),
    ]


def test_a_tilde_is_just_part_of_a_label(read: Read) -> None:
    loaded = read("nodes: [{label: X}, {label: X~1}]")
    assert loaded.problems == ()
    assert loaded.diagram is not None
    assert [node.key for node in loaded.diagram.nodes] == ["X", "X~1"]


def test_labels_that_look_like_numbers_or_truths_are_texts(read: Read) -> None:
    loaded = read("nodes: [{label: 1}, {label: true}]\nconnections: [{from: 1, to: true}]")
    assert loaded.problems == ()
    assert loaded.diagram is not None
    assert [edge.target for edge in loaded.diagram.edges] == ["true"]


def test_a_node_without_label_is_reported_and_the_numbering_goes_on(read: Read) -> None:
    loaded = read("nodes: [{type: start}, {label: B}]")
    assert [problem.code for problem in loaded.problems] == ["MISSING_LABEL"]
    assert first_node(loaded).id == "node_1"


def test_a_label_has_a_limit(read: Read) -> None:
    for length, codes in ((1_000, []), (1_001, ["LABEL_TOO_LONG"])):
        loaded = read(f"nodes: [{{label: {'a' * length}}}]")
        assert [problem.code for problem in loaded.problems] == codes


def test_a_written_id_is_the_nodes_id_and_no_prop(read: Read) -> None:
    node = first_node(read("nodes: [{label: A, id: 77}]"))
    assert (node.id, node.props, node.extra) == ("77", {}, {})


def test_an_id_belongs_to_the_first_that_claims_it(read: Read) -> None:
    loaded = read("nodes: [{label: A}, {label: B, id: node_0}, {label: C, id: node_0}]")
    assert loaded.diagram is not None
    assert [node.id for node in loaded.diagram.nodes] == ["node_0~1", "node_0", "node_2"]
    assert loaded.diagram.nodes[2].extra == {"id": "node_0"}


def test_fields_below_extra_are_neither_props_nor_lost(read: Read) -> None:
    node = first_node(read("nodes: [{label: A, $extra: {width: 3, label: x}}]"))
    assert (node.label, node.props, node.extra) == ("A", {}, {"width": 3, "label": "x"})


def test_faults_of_fields_name_the_node(read: Read) -> None:
    loaded = read("nodes: [{label: A, config: 1, config.url: x}]")
    [problem] = loaded.problems
    assert (problem.code, problem.node) == ("INVALID_FIELD", "A")
    assert "'config.url' needs a map" in problem.message
