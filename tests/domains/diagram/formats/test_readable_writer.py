"""What is written in readable is read as it was, wherever the diagram came from."""

from collections.abc import Mapping
from dataclasses import replace
from textwrap import dedent
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dipeo_server.domains.diagram.compile import content_hash
from dipeo_server.domains.diagram.formats.readable import read_readable
from dipeo_server.domains.diagram.formats.readable_writer import write_readable
from dipeo_server.domains.diagram.model import (
    DomainDiagram,
    DomainEdge,
    DomainNode,
    DomainPerson,
)
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
    loaded = read_readable(text, specs=specs)
    assert not loaded.has_errors, loaded.problems
    assert loaded.diagram is not None
    return without_places(loaded.diagram)


def node(key: str, type_: str = "db", **props: Any) -> DomainNode[Mapping[str, Any]]:
    return DomainNode(key=key, id="node_0", type=type_, label=key, props=props)


def written(diagram: DomainDiagram) -> Any:
    return yaml.safe_load(write_readable(diagram))


# --- generated documents ------------------------------------------------------------------------

words = st.text(st.sampled_from("ab_ ~1[]():@,#-'\"{}é\n\t.>😀\x07\u2028"), min_size=1, max_size=6)
labels = words | st.sampled_from(
    [
        "A",
        "A_first",
        "A[first]",
        "A @(1,2)",
        "A [db]",
        "A [start] @(0,0)",
        "A (raw_text)",
        'to "A"',
        "A -> B",
        "1",
        "~",
        "<<",
        "null",
    ]
)
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1, 1) | words
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
people = st.sampled_from(["Judge", "person_Judge", "person_Ann", "Ann"])
field_names = words | st.sampled_from(
    [
        "code",
        "expression",
        "save_to_file",
        "file_path",
        "source_details",
        "prompt",
        "memory_profile",
        "passInputData",
        "join",
        "custom_data",
        "a.b",
        "$extra",
        "id",
    ]
)
fields = st.dictionaries(field_names, values, max_size=4)
types = st.sampled_from(["start", "endpoint", "person_job", "CONDITION", "db", "nobodys_type"])
numbers = st.integers(-99, 99) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def nodes(draw: st.DrawFn, label: str) -> dict[str, Any]:
    optional = {"type": types, "person": people, "props": fields, "label": st.just(label)}
    bag = draw(fields) | draw(st.fixed_dictionaries({}, optional=optional))
    suffix = draw(st.just("") | st.tuples(numbers, numbers).map(lambda at: f" @({at[0]},{at[1]})"))
    return {f"{label}{suffix}": bag}


@st.composite
def destinations(draw: st.DrawFn, names: st.SearchStrategy[str]) -> Any:
    to = draw(names)
    style = draw(st.sampled_from(["older", "clauses", "map"]))
    if style == "older":
        return f"{to} (object)(x)" if draw(st.booleans()) else to
    if style == "clauses":
        return f'to "{to}" as "raw_text"'
    optional = {
        "from": st.just("default"),
        "in": st.just("default"),
        "as": st.sampled_from(["object", "RAW_TEXT", "binary"]),
        "naming": words,
        "label": words,
        "type": words,
        "kind": st.sampled_from(["always", "WHEN", "default", "fallback"]),
        "condition": words,
        "priority": st.integers(-3, 3),
        "transform": st.dictionaries(words, values, max_size=2),
        "data": st.none() | st.dictionaries(words | st.just("transform"), values, max_size=2),
        "more": values,
        "$extra": st.dictionaries(st.sampled_from(["to", "label", "x"]), values, max_size=2),
    }
    return {"to": to} | draw(st.fixed_dictionaries({}, optional=optional))


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(labels, min_size=1, max_size=5, unique=True))
    one = destinations(st.sampled_from(names))
    flow = st.dictionaries(st.sampled_from(names), one | st.lists(one, max_size=3), max_size=2)
    config = st.dictionaries(words | st.sampled_from(["label", "model"]), scalars, max_size=3)
    persons = draw(st.dictionaries(words | people, config, max_size=3))
    document = {
        "nodes": [draw(nodes(name)) for name in names],
        "flow": draw(st.lists(flow, max_size=4)),
        "persons": [{name: settings} for name, settings in persons.items()],
        "metadata": draw(st.dictionaries(words, values, max_size=2)),
        "name": draw(words),
    }
    return draw(st.dictionaries(words, values, max_size=2)) | document


@settings(max_examples=150)
@given(document=documents(), handle=st.sampled_from(["default", "first"]))
def test_what_was_read_is_read_again(document: dict[str, Any], handle: str) -> None:
    first = read_readable(yaml.safe_dump(document, sort_keys=False), specs={})
    assert first.diagram is not None
    assume(not first.has_errors)
    speakers = {each.key for each in first.diagram.nodes if each.type == "person_job"}
    diagram = without_places(first.diagram)
    edges = [
        replace(edge, target_handle=handle) if edge.target in speakers else edge
        for edge in diagram.edges
    ]
    diagram = replace(diagram, edges=tuple(edges))
    again = read(write_readable(diagram), {})
    assert again == diagram
    assert content_hash(again) == content_hash(diagram)


# --- single points ------------------------------------------------------------------------------


def test_a_diagram_is_written_as_people_would(specs: Mapping[str, NodeSpec]) -> None:
    text = """\
    version: readable
    name: Debate
    persons:
    - Judge:
        service: openai
        model: m
    nodes:
    - Start @(26,211):
        type: start
    - Panel @(0.5,-3):
        type: person_job
        person: Judge
        default_prompt: |
          Be brief.
          Judge.
    - Check:
        type: condition
        expression: x > 1
    - End:
        type: endpoint
    flow:
    - Start: to "Panel" in "first" as "raw_text" naming "topic"
    - Panel: to "Check" as "conversation_state"
    - Check:
      - from "condtrue" to "End" as "object"
      - from "condfalse" to "Panel" as "conversation_state" key "back"
    - Panel:
        to: End
        as: object
        kind: when
        condition: x > 2
        priority: 1
    """
    assert write_readable(read(dedent(text), specs)) == dedent(text)


def test_a_label_that_reads_as_more_is_written_below_its_name() -> None:
    diagram = DomainDiagram((node("A [db]"), node("B @(1,2)"), node(" C ")), ())
    assert [list(each) for each in written(diagram)["nodes"]] == [
        ["A [db]"],
        ["B @(1,2) @(0,0)"],
        [" C "],
    ]
    again = read(write_readable(diagram), {})
    assert [each.label for each in again.nodes] == ["A [db]", "B @(1,2)", " C "]


def test_labels_that_several_nodes_share_are_numbered_and_told() -> None:
    same = tuple(
        replace(node(key), label="Same", id=key, position=(0, 0)) for key in ("n1", "n2", "n3")
    )
    edge = DomainEdge("arrow_0", "n2", "n3", content_type="raw_text")
    diagram = DomainDiagram(same, (edge,), format="readable")
    assert [list(each) for each in written(diagram)["nodes"]] == [["Same"], ["Same~1"], ["Same~2"]]
    assert read(write_readable(diagram), {}) == diagram


def test_a_person_that_is_called_like_an_older_reference_is_kept() -> None:
    persons = (DomainPerson("Judge", "Judge"),)
    diagram = DomainDiagram((node("A", "person_job", person="person_Judge"),), (), persons)
    again = read(write_readable(diagram), {})
    assert again.nodes[0].props == {"person": "person_Judge"}


def test_the_order_of_edges_is_kept() -> None:
    ends = [("a", "b"), ("a", "c"), ("b", "c"), ("a", "a")]
    edges = tuple(DomainEdge(f"arrow_{n}", *pair, content_type="x") for n, pair in enumerate(ends))
    diagram = DomainDiagram((node("a"), node("b"), node("c")), edges)
    assert [list(item) for item in written(diagram)["flow"]] == [["a"], ["b"], ["a"]]


def test_nothing_is_written_as_an_alias() -> None:
    shared = {"x": [1]}
    text = write_readable(DomainDiagram((node("a", one=shared, two=shared),), ()))
    assert "&" not in text
    assert "*" not in text


def test_an_edge_to_no_node_is_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown node 'b'"):
        write_readable(DomainDiagram((node("a"),), (DomainEdge("x", "a", "b"),)))
