"""From diagrams to pictures: shapes by type, words at edges, loops and broken ends."""

from typing import Any

import pytest

from dipeo_server.domains.diagram.compile import assemble
from dipeo_server.domains.diagram.executable import EdgeKind
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode, DomainPerson
from dipeo_server.domains.diagram.rendering.composing import compose, compose_compiled
from dipeo_server.domains.diagram.rendering.picture import Arrow, Box, Line, Shape
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec, Ports
from tests import builders

SPECS = {
    **builders.SPECS,
    "person_job": NodeSpec("person_job", NodeProps, category="ai"),
    "code_job": NodeSpec("code_job", NodeProps, category="code"),
    "db": NodeSpec("db", NodeProps, category="data"),
    "user_response": NodeSpec("user_response", NodeProps, category="people"),
    "sub_diagram": NodeSpec("sub_diagram", NodeProps, category="control"),
    "delay": NodeSpec("delay", NodeProps, category="control"),
    "start": NodeSpec("start", NodeProps, Ports(inputs=()), category="control"),
}


def node(key: str, type_: str = "work", **props: Any) -> DomainNode[dict[str, Any]]:
    return DomainNode(key, key, type_, key, props)


def box(type_: str, **props: Any) -> Box:
    (found,) = compose(DomainDiagram((node("it", type_, **props),), ()), SPECS).boxes
    return found


def arrow(**settings: Any) -> Arrow:
    edge = DomainEdge("e", "a", "b", **settings)
    (found,) = compose(DomainDiagram((node("a"), node("b")), (edge,)), SPECS).arrows
    return found


@pytest.mark.parametrize(
    "type_, shape",
    [
        ("start", Shape.START),
        ("endpoint", Shape.END),
        ("condition", Shape.CHOICE),
        ("person_job", Shape.MODEL),
        ("code_job", Shape.CODE),
        ("db", Shape.DATA),
        ("user_response", Shape.PEOPLE),
        ("sub_diagram", Shape.CHILD),
        ("delay", Shape.OTHER),
        ("unheard_of", Shape.OTHER),
    ],
)
def test_the_shape_says_what_kind_of_step_it_is(type_: str, shape: Shape) -> None:
    assert box(type_).shape is shape


@pytest.mark.parametrize(
    "props, facts",
    [
        ({}, ("work",)),
        ({"join": "any"}, ("work", "waits for any input")),
        ({"join": "first"}, ("work", "takes the first input")),
        ({"join": "k_of_n", "k": 2}, ("work", "waits for 2 inputs")),
        ({"fan_out": "first"}, ("work", "takes the first way that holds")),
        ({"batch": True}, ("work", "for each item, in parallel")),
        ({"batch": True, "batch_parallel": False}, ("work", "for each item, one by one")),
        ({"batch": "maybe", "join": "perhaps"}, ("work",)),
    ],
)
def test_a_box_says_how_its_node_joins_and_repeats(
    props: dict[str, Any], facts: tuple[str, ...]
) -> None:
    assert box("work", **props).facts == facts


def test_a_type_that_is_the_label_already_is_not_said_twice() -> None:
    diagram = DomainDiagram((node("start", "start"), node("Start", "start")), ())
    assert [each.facts for each in compose(diagram, SPECS).boxes] == [(), ()]


def test_a_type_that_the_server_does_not_have_is_told() -> None:
    assert box("unheard_of").details == (
        "it (unheard_of)",
        "This server has no such type of node.",
    )


def test_a_person_is_told_with_its_model_and_without_its_prompt() -> None:
    critic = DomainPerson("p1", "Critic", "echo", "tiny", system_prompt="secret")
    nodes = (node("a", "person_job", person="Critic"), node("b", "person_job", person="Nobody"))
    first, second = compose(DomainDiagram(nodes, (), (critic,)), SPECS).boxes
    assert first.details == ("a (person_job)", "person Critic: echo, tiny")
    assert second.details == ("b (person_job)", "person Nobody")


def test_a_sub_diagram_is_named() -> None:
    found = box("sub_diagram", diagram_name="other.light.yaml")
    assert found.details == ("it (sub_diagram)", "runs other.light.yaml")


@pytest.mark.parametrize(
    "settings, label, line",
    [
        ({}, "", Line.PLAIN),
        ({"source_handle": "condtrue"}, "condtrue", Line.CHOSEN),
        ({"source_handle": "approved", "target_handle": "first"}, "approved → first", Line.CHOSEN),
        ({"target_handle": "first"}, "→ first", Line.PLAIN),
        ({"label": "topic"}, "as topic", Line.PLAIN),
        ({"kind": EdgeKind.WHEN, "condition": "x > 1"}, "if x > 1", Line.CHOSEN),
        ({"kind": EdgeKind.WHEN}, "if ?", Line.CHOSEN),
        ({"kind": EdgeKind.DEFAULT}, "otherwise", Line.CHOSEN),
        ({"kind": EdgeKind.FALLBACK}, "after a failure", Line.FALLBACK),
        (
            {"source_handle": "condtrue", "kind": EdgeKind.WHEN, "condition": "x", "label": "y"},
            "condtrue, if x, as y",
            Line.CHOSEN,
        ),
    ],
)
def test_an_edge_says_when_it_is_followed_and_where_to(
    settings: dict[str, Any], label: str, line: Line
) -> None:
    found = arrow(**settings)
    assert (found.label, found.line) == (label, line)


def test_an_edge_tells_what_becomes_of_its_value() -> None:
    found = arrow(content_type="object", priority=2, transform={"pick": 1, "rename": 2})
    assert found.details == ("e", "content type object", "priority 2", "transformed: pick, rename")


def test_edges_that_begin_the_next_turn_of_a_loop_are_marked() -> None:
    diagram = builders.diagram("s -> a -> c; c.f -> a; c.t -> e")
    arrows = compose_compiled(diagram, SPECS).arrows
    assert [(each.label, each.line) for each in arrows] == [
        ("", Line.PLAIN),
        ("", Line.PLAIN),
        ("↺ condfalse", Line.BACK),
        ("condtrue", Line.CHOSEN),
    ]


def test_a_document_and_what_is_compiled_from_it_give_the_same_picture() -> None:
    nodes = (
        node("s", "start"),
        node("a", "person_job", person="p", join="any"),
        node("c", "condition"),
        node("e", "endpoint"),
    )
    edges = (
        DomainEdge("e0", "s", "a"),
        DomainEdge("e1", "a", "c", label="draft"),
        DomainEdge("e2", "c", "a", "condfalse"),
        DomainEdge("e3", "c", "e", "condtrue", content_type="object"),
    )
    diagram = DomainDiagram(nodes, edges, (DomainPerson("p", "P"),), name="It")
    compiled, _ = assemble(diagram, SPECS)
    assert compose(diagram, SPECS, frozenset({"e2"})) == compose_compiled(compiled, SPECS)


def test_a_broken_document_is_drawn_as_far_as_it_goes() -> None:
    nodes = (node("a"), node("a", "code_job"))
    edges = (DomainEdge("e0", "a", "nowhere"), DomainEdge("e1", "nowhere", "a"))
    picture = compose(DomainDiagram(nodes, edges), SPECS)
    assert [each.shape for each in picture.boxes] == [Shape.OTHER, Shape.CODE, Shape.MISSING]
    assert picture.boxes[2].label == "nowhere"
    assert [(each.source, each.target) for each in picture.arrows] == [(0, 2), (2, 0)]
