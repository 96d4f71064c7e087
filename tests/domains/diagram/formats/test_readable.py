"""Readable documents as people and editors write them, in each of their three styles."""

from collections.abc import Callable, Mapping
from textwrap import dedent

import pytest

from dipeo_server.domains.diagram.executable import EdgeKind
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.formats.readable import read_readable
from dipeo_server.domains.diagram.model import DomainDiagram, Location
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity
from dipeo_server.domains.diagram.spec import NodeSpec

Read = Callable[[str], Loaded]

HEAD = """\
version: readable
persons:
- Judge:
    service: OpenAI
    model: m
- Optimist:
    model: m
"""
UNTYPED = """\
nodes:
- Panel @(600,453):
    default_prompt: Argue.
    max_iteration: 2
    person: Optimist
- End @(58,668):
    save_to_file: true
    file_name: out.txt
- db @(431,148):
    operation: read
    file: in.txt
- Start @(279,406): {}
- Check @(785,647):
    condition_type: detect_max_iterations
"""
TYPED = (
    UNTYPED.replace("Panel @", "Panel [person_job] @")
    .replace("End @", "End [ENDPOINT] @")
    .replace("db @", "db [db] @")
    .replace("Start @", "Start [start] @")
    .replace("Check @", "Check [condition] @")
)
OLDER_FLOW = """\
flow:
- Start: db (raw_text)
- db: Panel_first (topic)(raw_text)
- Panel: Check (conversation_state)
- Check_condtrue:
  - End (object)
- Check_condfalse: Panel (conversation_state)
"""
CLAUSE_FLOW = """\
flow:
- Start: to "db" as "raw_text"
- db: to "Panel" in "_first" as "raw_text" naming "topic"
- Panel: to "Check" as "conversation_state"
- Check:
  - from "_condtrue" to "End" as "object"
  - from "_condfalse" to "Panel" as "conversation_state"
"""
MAP_FLOW = """\
flow:
- Start: { to: db, as: raw_text }
- db:
  - { to: Panel, in: _first, as: raw_text, naming: topic }
- Panel: { to: "Check", as: "conversation_state" }
- Check:
  - { from: "_condtrue", to: "End", as: "object" }
  - { from: "_condfalse", to: "Panel", as: "conversation_state" }
"""


@pytest.fixture
def read(specs: Mapping[str, NodeSpec]) -> Read:
    return lambda text: read_readable(dedent(text), specs=specs)


def diagram(loaded: Loaded) -> DomainDiagram:
    assert loaded.problems == ()
    assert loaded.diagram is not None
    return loaded.diagram


def only_problem(loaded: Loaded) -> DiagramProblem:
    [problem] = loaded.problems
    return problem


def joined(found: DomainDiagram) -> list[tuple[str | None, ...]]:
    return [
        (e.key, e.source, e.source_handle, e.target, e.target_handle, e.label, e.content_type)
        for e in found.edges
    ]


# --- the three styles ---------------------------------------------------------------------------


@pytest.mark.parametrize("flow", [OLDER_FLOW, CLAUSE_FLOW, MAP_FLOW])
@pytest.mark.parametrize("nodes", [UNTYPED, TYPED])
def test_every_style_means_the_same(read: Read, nodes: str, flow: str) -> None:
    found = diagram(read(HEAD + nodes + flow))
    assert {node.key: node.type for node in found.nodes} == {
        "Panel": "person_job",
        "End": "endpoint",
        "db": "db",
        "Start": "start",
        "Check": "condition",
    }
    assert joined(found) == [
        ("arrow_0", "Start", "default", "db", "default", None, "raw_text"),
        ("arrow_1", "db", "default", "Panel", "first", "topic", "raw_text"),
        ("arrow_2", "Panel", "default", "Check", "default", None, "conversation_state"),
        ("arrow_3", "Check", "condtrue", "End", "default", None, "object"),
        ("arrow_4", "Check", "condfalse", "Panel", "default", None, "conversation_state"),
    ]
    assert found.edges[3].data == {"branch": "true", "is_conditional": True}
    assert found.format == "readable"


def test_several_destinations_may_stand_in_one_text(read: Read) -> None:
    found = diagram(
        read("""
        nodes: [{s: {}}, {a: {code: x}}, {b: {code: x}}]
        flow:
        - s: to "a" - to "b" as "object" naming "x"
        """)
    )
    assert [(e.target, e.label, e.content_type) for e in found.edges] == [
        ("a", None, "raw_text"),
        ("b", "x", "object"),
    ]


def test_an_arrow_joins_nodes_and_chains_go_on(read: Read) -> None:
    found = diagram(
        read("""
        nodes: [{s: {}}, {a: {default_prompt: x}}, {c: {expression: x}}, {b: {}}]
        flow: ["s -> a_first (object)(x) -> c", 'c_condtrue -> to "b"']
        """)
    )
    assert [(e.source, e.target, e.target_handle, e.label) for e in found.edges] == [
        ("s", "a", "first", "x"),
        ("a", "c", "default", None),
        ("c", "b", "default", None),
    ]
    assert found.edges[2].source_handle == "condtrue"
    assert found.nodes[3].type == "endpoint"


def test_a_map_tells_what_clauses_cannot(read: Read) -> None:
    found = diagram(
        read("""
        nodes: [{s: {}}, {b: {}}]
        flow:
        - s:
            to: b
            label: x
            content_type: object
            condition: x > 1
            priority: 2
            transform: {wrap: y}
            key: mine
            data: {z: 1}
            more: 3
        """)
    )
    [edge] = found.edges
    assert (edge.label, edge.content_type, edge.kind, edge.condition, edge.priority) == (
        "x",
        "object",
        EdgeKind.WHEN,
        "x > 1",
        2,
    )
    assert (edge.transform, edge.key, edge.data, edge.extra) == (
        {"wrap": "y"},
        "mine",
        {"z": 1},
        {"more": 3},
    )


def test_a_long_name_beside_its_short_one_is_kept_as_unknown(read: Read) -> None:
    text = "nodes: [{s: {}}, {b: {}}]\nflow: [{s: {to: b, as: object, content_type: 1}}]"
    [edge] = diagram(read(text)).edges
    assert (edge.content_type, edge.extra) == ("object", {"content_type": 1})


# --- nodes --------------------------------------------------------------------------------------


def test_names_tell_positions_and_fields_may_too(read: Read) -> None:
    found = diagram(
        read("""
        nodes:
        - A @(1,-2.5): {position: {x: 7, y: 7}}
        - B: {position: [3, 4]}
        - C:
        """)
    )
    assert [node.position for node in found.nodes] == [(1, -2.5), (3, 4), (0, 0)]
    assert [node.location for node in found.nodes] == [
        Location(3, 3),
        Location(4, 3),
        Location(5, 3),
    ]


def test_a_type_field_wins_and_brackets_then_belong_to_the_label(read: Read) -> None:
    found = diagram(
        read("nodes: [{'A [db]': {type: condition}}, {'B [DB]': {type: db}}, {C: {label: D}}]")
    )
    assert [(node.label, node.type) for node in found.nodes] == [
        ("A [db]", "condition"),
        ("B", "db"),
        ("D", "start"),
    ]


def test_job_is_an_alias_and_types_of_this_server_are_known(read: Read) -> None:
    found = diagram(read("nodes: [{'A [job]': {}}, {'B [mystep]': {}}, {C: {type: nobodys}}]"))
    assert [node.type for node in found.nodes] == ["person_job", "MyStep", "nobodys"]


def test_fields_are_those_of_every_format(read: Read) -> None:
    found = diagram(
        read("nodes: [{A: {source_details: x, a.b: 1, props: {sub_type: file}, id: n7}}]")
    )
    [node] = found.nodes
    assert (node.type, node.id) == ("db", "n7")
    assert node.props == {"file": "x", "a": {"b": 1}, "sub_type": "file"}


def test_what_nothing_tells_is_an_agent_with_a_warning(read: Read) -> None:
    loaded = read('nodes: [{s: {}}, {a: {}}, {b: {}}]\nflow: ["s -> a -> b"]')
    problem = only_problem(loaded)
    assert (problem.severity, problem.code) == (Severity.WARNING, "TYPE_NOT_TOLD")
    assert (problem.node, problem.location) == ("a", Location(1, 19))
    assert problem.hint == "Add a field, such as `type: person_job`."
    assert loaded.diagram is not None
    assert [node.type for node in loaded.diagram.nodes] == ["start", "person_job", "endpoint"]


def test_a_misspelt_field_is_named_where_no_type_is_told(read: Read) -> None:
    problem = only_problem(read("nodes: [{a: {timeout: 3, defualt_prompt: x}}]"))
    assert (problem.code, problem.hint) == ("TYPE_NOT_TOLD", "Did you mean 'default_prompt'?")


def test_a_misspelt_type_in_brackets_is_told(read: Read) -> None:
    problem = only_problem(read("nodes: [{'A [condittion]': {}}]"))
    assert (problem.severity, problem.code) == (Severity.WARNING, "NAME_BRACKETS")
    assert problem.hint == "Did you mean 'condition'?"


def test_other_brackets_are_nobodys_business(read: Read) -> None:
    assert diagram(read("nodes: [{'A [draft]': {}}]")).nodes[0].label == "A [draft]"


# --- persons ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "persons",
    [
        "[{Judge: {service: X, model: m, mine: 1}}]",
        "{Judge: {llm_config: {service: X, model: m}, mine: 1}}",
        "[{id: Judge, type: person, llm_config: {service: X, model: m}, mine: 1}]",
        "[{id: p1, label: Judge, llm_config: {service: X, model: m}, mine: 1}]",
    ],
)
def test_persons_are_listed_by_name_or_with_an_id(read: Read, persons: str) -> None:
    [person] = diagram(read(f"persons: {persons}")).persons
    assert person.key in ("Judge", "p1")
    assert (person.label, person.service, person.model) == ("Judge", "x", "m")
    assert person.extra == {"mine": 1}


def test_an_older_reference_to_a_person_is_understood(read: Read) -> None:
    text = HEAD + "nodes: [{A: {person: person_Judge}}, {B: {person: person_Nobody}}]"
    assert [n.props["person"] for n in diagram(read(text)).nodes] == ["Judge", "person_Nobody"]
    text = "persons: [{J: {}}, {person_J: {}}]\nnodes: [{A: {person: person_J}}]"
    assert diagram(read(text)).nodes[0].props["person"] == "person_J"


# --- the rest of the document -------------------------------------------------------------------


def test_the_rest_of_the_document_is_kept(read: Read) -> None:
    found = diagram(
        read("""
        version: readable
        name: N
        description: D
        metadata: {author: me, keys: {A: k1}}
        api_keys: [x]
        nodes: [{A: {code: x}}, {B: {code: x}}]
        flow: [{A: B}]
        """)
    )
    assert (found.name, found.description) == ("N", "D")
    assert (found.metadata, found.extra) == ({"author": "me"}, {"api_keys": ["x"]})
    assert [node.key for node in found.nodes] == ["k1", "B"]
    assert found.edges[0].source == "k1"
