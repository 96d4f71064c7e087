"""Native documents: by id, as lists or maps, as editors and servers save them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from dipeo_server.domains.diagram.executable import EdgeKind
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.formats.native import read_native
from dipeo_server.domains.diagram.judgement import problems_of
from dipeo_server.domains.diagram.model import DomainDiagram, Location
from dipeo_server.domains.diagram.problem import Severity
from dipeo_server.domains.diagram.spec import NodeSpec

Specs = Mapping[str, NodeSpec]

START: Mapping[str, Any] = {"type": "start", "data": {"label": "Begin"}}
AGENT: Mapping[str, Any] = {
    "type": "person_job",
    "position": {"x": 1, "y": 2.5},
    "data": {"label": "Agent", "person": "p1", "default_prompt": "Go on"},
}
ARROW: Mapping[str, Any] = {"source": "n_1_default_output", "target": "n_2_first_input"}


def load(document: Any, specs: Specs) -> Loaded:
    return read_native(json.dumps(document), specs=specs)


def diagram_of(document: Any, specs: Specs) -> DomainDiagram:
    loaded = load(document, specs)
    assert loaded.problems == ()
    assert loaded.diagram is not None
    return loaded.diagram


def codes(document: Any, specs: Specs) -> list[str]:
    return [problem.code for problem in load(document, specs).problems]


# --- what it says -------------------------------------------------------------------------------


def test_nodes_arrows_and_persons_are_read(specs: Specs) -> None:
    person = {"label": "Judge", "type": "person", "llm_config": {"service": "OLLAMA", "model": "m"}}
    diagram = diagram_of(
        {
            "nodes": {"n_1": START, "n_2": AGENT},
            "arrows": {"a": {**ARROW, "label": "topic", "content_type": "object"}},
            "persons": {"p1": person},
            "metadata": {"name": "It", "description": "Does it.", "author": "Ann"},
        },
        specs,
    )
    begin, agent = diagram.nodes
    assert (begin.key, begin.id, begin.label, begin.type) == ("n_1", "n_1", "Begin", "start")
    assert (agent.key, agent.position) == ("n_2", (1.0, 2.5))
    assert agent.props == {"person": "p1", "default_prompt": "Go on"}
    [edge] = diagram.edges
    assert (edge.key, edge.source, edge.target) == ("a", "n_1", "n_2")
    assert (edge.source_handle, edge.target_handle) == ("default", "first")
    assert (edge.label, edge.content_type) == ("topic", "object")
    [judge] = diagram.persons
    assert (judge.key, judge.label, judge.service, judge.model) == ("p1", "Judge", "ollama", "m")
    assert (diagram.name, diagram.description) == ("It", "Does it.")
    assert (diagram.format, dict(diagram.metadata)) == ("native", {"author": "Ann"})


def test_lists_say_the_same_as_maps_by_id(specs: Specs) -> None:
    sections: dict[str, dict[str, Any]] = {
        "nodes": {"n_1": dict(START), "n_2": dict(AGENT)},
        "arrows": {"a": dict(ARROW)},
        "handles": {"h": {"node_id": "n_1", "label": "default", "direction": "output"}},
        "persons": {"p1": {"label": "Judge"}},
    }
    as_lists = {
        name: [{"id": id_, **item} for id_, item in section.items()]
        for name, section in sections.items()
    }
    by_id, listed = diagram_of(sections, specs), diagram_of(as_lists, specs)
    assert [(node.key, node.props) for node in by_id.nodes] == [
        (node.key, node.props) for node in listed.nodes
    ]
    assert [(edge.key, edge.source, edge.target) for edge in by_id.edges] == [
        (edge.key, edge.source, edge.target) for edge in listed.edges
    ]
    assert [(each.key, each.label) for each in by_id.persons] == [
        (each.key, each.label) for each in listed.persons
    ]


def test_what_a_server_says_of_types_is_dropped_everywhere(specs: Specs) -> None:
    def typed(item: Mapping[str, Any], name: str) -> dict[str, Any]:
        return {"__typename": name, **item}

    node = {**AGENT, "position": typed({"x": 1, "y": 2}, "Vec2")}
    person = typed({"label": "J", "llm_config": typed({"model": "m"}, "Config")}, "Person")
    diagram = diagram_of(
        {
            "__typename": "Diagram",
            "nodes": {"__typename": "Map", "n_1": typed(START, "Node"), "n_2": typed(node, "Node")},
            "arrows": [typed(ARROW, "Arrow")],
            "handles": {"__typename": "Map"},
            "persons": {"p1": person},
            "metadata": typed({}, "Metadata"),
        },
        specs,
    )
    assert "__typename" not in repr(diagram)
    assert len(diagram.nodes) == 2


def test_null_says_nothing(specs: Specs) -> None:
    diagram = diagram_of(
        {
            "nodes": {"n_1": {**START, "position": None}, "n_2": AGENT},
            "arrows": {"a": {**ARROW, "content_type": None, "label": None, "data": None}},
            "handles": None,
            "persons": None,
            "metadata": None,
        },
        specs,
    )
    assert diagram.nodes[0].position == (0.0, 0.0)
    [edge] = diagram.edges
    assert (edge.content_type, edge.label, edge.data) == ("raw_text", None, None)


def test_unknown_fields_are_kept_where_they_are(specs: Specs) -> None:
    diagram = diagram_of(
        {
            "nodes": {"n_1": {**START, "flipped": True}, "n_2": AGENT},
            "arrows": {"a": {**ARROW, "colour": "red"}},
            "persons": {"p1": {"label": "J", "mood": "calm", "llm_config": {"top_p": 1}}},
            "version": "2.0.0",
            "viewport": {"zoom": 2},
        },
        specs,
    )
    assert diagram.nodes[0].extra == {"flipped": True}
    assert diagram.edges[0].extra == {"colour": "red"}
    assert diagram.persons[0].extra == {"mood": "calm", "top_p": 1}
    assert diagram.extra == {"version": "2.0.0", "viewport": {"zoom": 2}}


def test_an_edge_says_in_native_what_it_may_say_in_light(specs: Specs) -> None:
    fields = {"condition": "default > 1", "priority": 3, "transform": {"extract": "a.b"}}
    edge = diagram_of(
        {"nodes": {"n_1": START, "n_2": AGENT}, "arrows": [{**ARROW, **fields}]}, specs
    ).edges[0]
    assert (edge.key, edge.kind, edge.condition) == ("arrow_0", EdgeKind.WHEN, "default > 1")
    assert (edge.priority, edge.transform) == (3, {"extract": "a.b"})


def test_metadata_tell_the_keys_that_a_converted_diagram_keeps(specs: Specs) -> None:
    diagram = diagram_of(
        {
            "nodes": {"n_1": START, "n_2": AGENT},
            "arrows": {"a": ARROW},
            "metadata": {"keys": {"n_2": "Agent", "gone": "x"}},
        },
        specs,
    )
    assert [(node.key, node.id) for node in diagram.nodes] == [("n_1", "n_1"), ("Agent", "n_2")]
    assert diagram.edges[0].target == "Agent"
    assert diagram.metadata == {"keys": {"gone": "x"}}


def test_a_key_that_is_not_free_is_not_given(specs: Specs) -> None:
    loaded = load(
        {"nodes": {"n_1": START, "n_2": AGENT}, "metadata": {"keys": {"n_2": "n_1"}}}, specs
    )
    [problem] = loaded.problems
    assert (problem.code, problem.node) == ("DUPLICATE_KEY", "n_2")
    assert loaded.diagram is not None
    assert [node.key for node in loaded.diagram.nodes] == ["n_1", "n_2"]


# --- the ends of arrows -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nodes, target, found",
    [
        (["n_2"], "n_2_default_input", ("n_2", "default")),
        (["n_2"], "n_2_first_input", ("n_2", "first")),
        (["n_2"], "n_2_FIRST_input", ("n_2", "first")),
        (["n_2"], "n_2_first", ("n_2", "first")),
        (["n_2"], "n_2", ("n_2", "default")),
        (["n_2"], "h1", ("n_2", "first")),
        (["n_2", "n_2_first"], "n_2_first_first_input", ("n_2_first", "first")),
        (["n_2", "n_2_first_input"], "n_2_first_input", ("n_2_first_input", "default")),
    ],
)
def test_handles_are_known_by_their_entry_or_else_by_their_id(
    nodes: list[str], target: str, found: tuple[str, str], specs: Specs
) -> None:
    diagram = diagram_of(
        {
            "nodes": dict.fromkeys(nodes, AGENT) | {"n_1": START},
            "arrows": [{"source": "n_1_default_output", "target": target}],
            "handles": {"h1": {"node_id": "n_2", "label": "first", "direction": "input"}},
        },
        specs,
    )
    [edge] = diagram.edges
    assert (edge.target, edge.target_handle) == found


def test_an_arrow_to_an_absent_node_is_told_and_the_rest_is_read(specs: Specs) -> None:
    text = (
        '{"nodes": {"n_1": {"type": "start"}, "n_2": {"type": "db"}},\n'
        ' "arrows": [\n'
        '  {"id": "a", "source": "n_1_default_output",\n'
        '   "target": "n_3_default_input"},\n'
        '  {"id": "b", "source": "n_1_default_output", "target": "n_2_default_input"}]}'
    )
    loaded = read_native(text, specs=specs)
    [problem] = loaded.problems
    assert (problem.code, problem.edge, problem.location) == ("UNKNOWN_NODE", "a", Location(4, 4))
    assert "'n_3'" in problem.message
    assert problem.hint is not None
    assert "n_" in problem.hint
    assert loaded.diagram is not None
    assert [edge.key for edge in loaded.diagram.edges] == ["b"]


def test_a_handle_that_the_type_does_not_have_is_told_with_those_it_has(specs: Specs) -> None:
    loaded = load(
        {
            "nodes": {"n_1": START, "n_2": AGENT},
            "arrows": {"a": {**ARROW, "target": "n_2_true_input"}},
            "handles": {"n_2_true_input": {"node_id": "n_2", "label": "true"}},
        },
        specs,
    )
    [problem] = loaded.problems
    assert (problem.code, problem.node, problem.edge) == ("UNKNOWN_HANDLE", "n_2", "a")
    assert problem.hint == "Its inputs are: default, first."
    assert loaded.diagram is not None
    assert loaded.diagram.edges[0].target_handle == "true"


def test_stray_handles_are_one_warning(specs: Specs) -> None:
    handles = {f"gone_{n}": {"node_id": f"gone{n}", "label": "default"} for n in range(3)}
    [problem] = load({"nodes": {"n_1": START}, "handles": handles}, specs).problems
    assert (problem.code, problem.severity) == ("HANDLE_IGNORED", Severity.WARNING)
    assert "gone0, gone1, gone2" in problem.message


# --- what is wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document, found",
    [
        ([], ["DOCUMENT_NOT_A_MAP"]),
        (None, ["DOCUMENT_EMPTY"]),
        ({"nodes": 7}, ["INVALID_FIELD"]),
        ({"nodes": [7]}, ["INVALID_FIELD"]),
        ({"nodes": {"a": 7}}, ["INVALID_FIELD"]),
        ({"nodes": [{"type": "start"}]}, ["MISSING_ID"]),
        ({"nodes": [{"id": "a"}, {"id": "a"}]}, ["DUPLICATE_KEY"]),
        ({"nodes": {"x" * 2_000: START}}, ["LABEL_TOO_LONG"]),
        ({"nodes": {"a": {"type": "db", "data": {"label": "x" * 2_000}}}}, ["LABEL_TOO_LONG"]),
        ({"nodes": {"a": {"type": "db", "data": []}}}, ["INVALID_FIELD"]),
        ({"nodes": {"a": {"type": ["db"]}}}, ["INVALID_FIELD"]),
        ({"nodes": {"a": {"position": "left"}}}, ["POSITION_IGNORED"]),
        ({"nodes": {"a": START}, "arrows": [{"source": "a"}]}, ["INVALID_FIELD"]),
        ({"nodes": {"a": START}, "arrows": [{"source": [], "target": {}}]}, ["INVALID_FIELD"] * 2),
        ({"persons": [{}]}, ["MISSING_ID"]),
        ({"persons": [{"id": "p"}, {"id": "p"}]}, ["DUPLICATE_KEY"]),
        ({"persons": {"p": {"llm_config": {"model": []}}}}, ["INVALID_FIELD"]),
        ({"metadata": []}, ["INVALID_FIELD"]),
        ({"version": "light"}, ["FORMAT_VERSION"]),
    ],
)
def test_what_is_wrong_is_told_and_the_rest_is_read(
    document: Any, found: list[str], specs: Specs
) -> None:
    assert codes(document, specs) == found


def test_two_arrows_with_one_id_are_one_too_many(specs: Specs) -> None:
    arrow = {"id": "a", "source": "n_1_default_output", "target": "n_2_default_input"}
    loaded = load({"nodes": {"n_1": START, "n_2": AGENT}, "arrows": [arrow, arrow]}, specs)
    [problem] = loaded.problems
    assert (problem.code, problem.edge) == ("DUPLICATE_KEY", "a")


def test_what_is_no_json_is_told_with_its_place(specs: Specs) -> None:
    loaded = read_native('{"nodes": {"a": 1,\n"a": 2}}', specs=specs)
    [problem] = loaded.problems
    assert loaded.diagram is None
    assert (problem.code, problem.location) == ("JSON_DUPLICATE_KEY", Location(2, 1))


def test_a_diagram_of_too_many_nodes_is_refused_at_the_first_that_is_too_many(
    specs: Specs,
) -> None:
    lines = ",\n".join(f'"n{number}": {{"type": "db"}}' for number in range(10_002))
    [problem] = problems_of(read_native(f'{{"nodes": {{\n{lines}}}}}', specs=specs), specs)
    assert problem.code == "TOO_MANY_NODES"
    assert problem.location == Location(10_002, 1)


def test_a_handle_that_tells_nothing_leaves_its_id_to_tell_it(specs: Specs) -> None:
    diagram = diagram_of(
        {
            "nodes": {"n_1": START, "n_2": AGENT},
            "arrows": {"a": ARROW},
            "handles": [{"id": "n_2_first_input", "node_id": "n_2"}, {"label": "first"}],
        },
        specs,
    )
    assert diagram.edges[0].target_handle == "first"
