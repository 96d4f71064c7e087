"""What is written in light is read as it was."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dipeo_server.domains.diagram.formats.light import read_light
from dipeo_server.domains.diagram.formats.light_writer import write_light
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.errors import InvalidInput


def without_places(diagram: DomainDiagram) -> DomainDiagram:
    return replace(
        diagram,
        nodes=tuple(replace(node, location=None) for node in diagram.nodes),
        edges=tuple(replace(edge, location=None) for edge in diagram.edges),
        persons=tuple(replace(person, location=None) for person in diagram.persons),
    )


def read(text: str, specs: Mapping[str, NodeSpec]) -> DomainDiagram:
    loaded = read_light(text, specs=specs)
    assert not loaded.has_errors, loaded.problems
    assert loaded.diagram is not None
    return without_places(loaded.diagram)


def node(key: str, type_: str = "db", **props: Any) -> DomainNode[Mapping[str, Any]]:
    return DomainNode(key=key, id="node_0", type=type_, label=key, props=props)


# --- generated diagrams -------------------------------------------------------------------------

words = st.text(st.sampled_from("ab_ ~1[]:#-'\"{}é\n\t.,😀\x07\u2028"), min_size=1, max_size=6)
labels = words | st.sampled_from(
    ["A", "A_first", "A[first]", "yes", "1", "~", "null", "2025-01-11"]
)
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1, 1) | words
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
fields = st.dictionaries(
    words
    | st.sampled_from(
        [
            "file_path",
            "file_name",
            "source_details",
            "file",
            "code_type",
            "strict",
            "label",
            "memory_profile",
            "memorize_to",
            "passInputData",
            "join",
            "custom_data",
            "props",
            "a.b",
            "a.c",
        ]
    ),
    values,
    max_size=4,
)
types = st.sampled_from(
    [
        "start",
        "endpoint",
        "person_job",
        "CODE_JOB",
        "condition",
        "db",
        "sub_diagram",
        "job",
        "json_schema_validator",
        "nobodys_type",
    ]
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(labels, min_size=1, max_size=5, unique=True))
    nodes = []
    for name in names:
        bag = {k: v for k, v in draw(fields).items() if k not in {"label", "props"}}
        position = draw(st.none() | st.fixed_dictionaries({"x": st.floats(-9, 9), "y": scalars}))
        nodes.append(
            bag | {"label": name, "type": draw(types), "position": position, "props": draw(fields)}
        )
    ends = st.sampled_from(names)
    edge = st.fixed_dictionaries(
        {"from": ends, "to": ends},
        optional={
            "label": words,
            "content_type": st.sampled_from(["object", "RAW_TEXT", "binary"]),
            "type": st.just("object"),
            "kind": st.sampled_from(["always", "WHEN", "default", "fallback"]),
            "condition": words,
            "priority": st.integers(-3, 3),
            "transform": st.dictionaries(words, values, max_size=2),
            "data": st.none() | st.dictionaries(words | st.just("transform"), values, max_size=2),
            "more": values,
        },
    )
    document: dict[str, Any] = {
        "nodes": nodes,
        "connections": draw(st.lists(edge, max_size=4)),
        "persons": draw(st.dictionaries(words, st.dictionaries(words, scalars, max_size=2))),
        "metadata": draw(st.dictionaries(words, values, max_size=2)),
        "name": draw(words),
    }
    return document | draw(st.dictionaries(words, values, max_size=2))


@settings(max_examples=300)
@given(document=documents(), handle=st.sampled_from(["default", "first"]))
def test_what_was_read_is_read_again(document: dict[str, Any], handle: str) -> None:
    first = read_light(yaml.safe_dump(document, sort_keys=False), specs={})
    assert first.diagram is not None
    assume(not first.has_errors)
    speakers = {node.key for node in first.diagram.nodes if node.type == "person_job"}
    diagram = without_places(first.diagram)
    edges = [
        replace(edge, target_handle=handle) if edge.target in speakers else edge
        for edge in diagram.edges
    ]
    diagram = replace(diagram, edges=tuple(edges))
    try:
        written = write_light(diagram)
    except InvalidInput:
        assume(condition=False)
    assert read(written, {}) == diagram


# --- single points ------------------------------------------------------------------------------


def test_older_names_are_written_back(specs: Mapping[str, NodeSpec]) -> None:
    text = """
version: light
nodes:
- {label: a, type: start}
- {label: b, type: endpoint, file_path: out.txt}
- {label: c, type: code_job, code_type: bash, filePath: a.sh}
- {label: d, type: db, source_details: a.csv}
- {label: e, type: json_schema_validator, strict: true}
- {label: f, type: sub_diagram, passInputData: true}
"""
    written = yaml.safe_load(write_light(read(text, specs)))
    for item in written["nodes"]:
        del item["position"]
    assert written["nodes"] == [
        {"label": "a", "type": "start"},
        {"label": "b", "type": "endpoint", "file_path": "out.txt"},
        {"label": "c", "type": "code_job", "code_type": "bash", "file_path": "a.sh"},
        {"label": "d", "type": "db", "source_details": "a.csv"},
        {"label": "e", "type": "json_schema_validator", "strict": True},
        {"label": "f", "type": "sub_diagram", "passInputData": True},
    ]


def test_only_empty_data_of_a_start_is_left_out() -> None:
    diagram = read("nodes: [{label: s, type: start, custom_data: [], x: {}}]", {})
    assert diagram.nodes[0].props["custom_data"] == []
    assert read(write_light(diagram), {}) == diagram


def test_long_texts_are_written_as_blocks() -> None:
    diagram = DomainDiagram(nodes=(node("a", code="one\ntwo\n"),), edges=())
    assert "  code: |\n    one\n    two\n" in write_light(diagram)


def test_nothing_is_written_as_an_alias() -> None:
    shared = {"x": [1]}
    text = write_light(DomainDiagram(nodes=(node("a", one=shared, two=shared),), edges=()))
    assert "&" not in text
    assert "*" not in text


def test_branch_marks_are_left_out_for_the_handle_says_them() -> None:
    text = (
        "nodes: [{label: c, type: condition}, {label: e, type: endpoint}]\n"
        "connections: [{from: c_condtrue, to: e, data: {x: 1}}]"
    )
    [edge] = yaml.safe_load(write_light(read(text, {})))["connections"]
    assert edge == {
        "from": "c[condtrue]",
        "to": "e",
        "content_type": "raw_text",
        "data": {"x": 1},
    }


def test_labels_that_several_nodes_share_are_numbered_and_kept() -> None:
    nodes = tuple(replace(node(key), label="Same") for key in ("n1", "n2", "n3"))
    edge = DomainEdge("e1", "n2", "n3")
    text = write_light(DomainDiagram(nodes=nodes, edges=(edge,)))
    written = yaml.safe_load(text)
    assert [item["label"] for item in written["nodes"]] == ["Same", "Same~1", "Same~2"]
    assert written["connections"] == [{"from": "Same~1", "to": "Same~2", "key": "e1"}]
    again = read(text, {})
    assert [item.label for item in again.nodes] == ["Same", "Same", "Same"]
    assert [item.key for item in again.nodes] == ["n1", "n2", "n3"]
    assert (again.edges[0].source, again.edges[0].target) == ("n2", "n3")


def test_an_endpoint_is_written_so_that_no_other_label_takes_it(
    specs: Mapping[str, NodeSpec],
) -> None:
    nodes = (node("A", "person_job"), node("A[first]"))
    diagram = DomainDiagram(nodes, (DomainEdge("arrow_0", "A[first]", "A", target_handle="first"),))
    written = write_light(diagram)
    assert yaml.safe_load(written)["connections"][0]["to"] == "A_first"
    assert read(written, specs).edges[0].target_handle == "first"


def test_an_endpoint_that_cannot_be_written_is_refused() -> None:
    nodes = (node("A", "person_job"), node("A[first]"), node("A_first"))
    edge = DomainEdge("arrow_0", "A[first]", "A", target_handle="first")
    with pytest.raises(InvalidInput, match="reads as another node"):
        write_light(DomainDiagram(nodes, (edge,)))


def test_an_edge_to_no_node_is_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown node 'b'"):
        write_light(DomainDiagram((node("a"),), (DomainEdge("x", "a", "b"),)))
