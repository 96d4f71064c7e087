"""The connections of a light document."""

from collections.abc import Callable

import pytest

from dipeo_server.domains.diagram.executable import EdgeKind
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.model import DomainEdge, Location
from dipeo_server.domains.diagram.problem import DiagramProblem

Read = Callable[[str], Loaded]

NODES = """version: light
nodes:
  - {label: s, type: start}
  - {label: Load Data, type: db}
  - {label: ask, type: person_job}
  - {label: check, type: condition}
  - {label: e, type: endpoint}
  - {label: odd, type: nobodys_type}
connections:
"""


@pytest.fixture
def connect(read: Read) -> Callable[..., Loaded]:
    def load(*lines: str) -> Loaded:
        return read(NODES + "".join(f"  - {line}\n" for line in lines))

    return load


Connect = Callable[..., Loaded]


def edges(loaded: Loaded) -> tuple[DomainEdge, ...]:
    assert loaded.problems == ()
    assert loaded.diagram is not None
    return loaded.diagram.edges


def only_problem(loaded: Loaded) -> DiagramProblem:
    [problem] = loaded.problems
    return problem


def test_a_connection_is_an_edge_between_labels(connect: Connect) -> None:
    [edge] = edges(connect("{from: s, to: Load Data}"))
    assert edge == DomainEdge(
        key="arrow_0",
        source="s",
        target="Load Data",
        content_type="raw_text",
        location=Location(10, 5),
    )


@pytest.mark.parametrize(
    "source, target, handles",
    [
        ("Load Data", '"ask[first]"', ("default", "first")),
        ("Load Data", '"ask[FIRST]"', ("default", "first")),
        ("Load_Data", "ask_first", ("default", "first")),
        ("Load_Data", "ask__first", ("default", "first")),
        ("check_condtrue", "ask", ("condtrue", "default")),
        ('"check[condfalse]"', "ask", ("condfalse", "default")),
        ('"Load Data[error]"', "ask", ("error", "default")),
        ('"odd[anything]"', "ask", ("anything", "default")),
    ],
)
def test_handles_are_read_in_both_spellings(
    connect: Connect, source: str, target: str, handles: tuple[str, str]
) -> None:
    [edge] = edges(connect(f"{{from: {source}, to: {target}}}"))
    assert (edge.source_handle, edge.target_handle) == handles


def test_an_unknown_handle_in_brackets_is_an_error_that_lists_the_handles(
    connect: Connect,
) -> None:
    problem = only_problem(connect('{from: s, to: "Load Data[first]"}'))
    assert (problem.code, problem.is_error, problem.edge) == ("UNKNOWN_HANDLE", True, "arrow_0")
    assert problem.message == "'Load Data' (db) has no input 'first'."
    assert problem.hint == "Its inputs are: default."
    assert problem.location == Location(10, 15)
    problem = only_problem(connect('{from: "check[yes]", to: e}'))
    assert problem.hint == "Its outputs are: condtrue, condfalse, error."


def test_an_unknown_handle_in_the_older_spelling_is_the_default_one(connect: Connect) -> None:
    loaded = connect("{from: s, to: Load Data_fisrt}")
    problem = only_problem(loaded)
    assert (problem.code, problem.is_error) == ("UNKNOWN_HANDLE", False)
    assert loaded.diagram is not None
    assert loaded.diagram.edges[0].target_handle == "default"


def test_an_unknown_label_is_an_error_with_the_nearest_one(connect: Connect) -> None:
    loaded = connect("{from: s, to: ask}", "{from: s, to: Loadd Data}")
    problem = only_problem(loaded)
    assert (problem.code, problem.is_error, problem.edge) == ("UNKNOWN_NODE", True, "arrow_1")
    assert problem.hint == "Did you mean 'Load Data'?"
    assert problem.location == Location(11, 15)
    assert loaded.diagram is not None
    assert [edge.key for edge in loaded.diagram.edges] == ["arrow_0"]


def test_the_nearest_label_is_found_behind_a_handle_too(connect: Connect) -> None:
    problem = only_problem(connect('{from: s, to: "askk[first]"}'))
    assert problem.hint == "Did you mean 'ask'?"


def test_keys_count_the_connections_of_the_document(connect: Connect) -> None:
    loaded = connect("{from: s, to: nobody at all}", "{from: s, to: ask}")
    assert loaded.diagram is not None
    assert [edge.key for edge in loaded.diagram.edges] == ["arrow_1"]


def test_a_connection_may_have_a_key_of_its_own(connect: Connect) -> None:
    assert edges(connect("{from: s, to: ask, key: mine}"))[0].key == "mine"
    loaded = connect("{from: s, to: ask, key: arrow_1}", "{from: s, to: e}")
    assert only_problem(loaded).code == "DUPLICATE_KEY"


def test_branches_mark_their_data(connect: Connect) -> None:
    yes, no = edges(
        connect("{from: check_condtrue, to: e, data: {x: 1}}", "{from: check_condfalse, to: ask}")
    )
    assert yes.data == {"x": 1, "branch": "true", "is_conditional": True}
    assert no.data == {"branch": "false", "is_conditional": True}


def test_every_field_of_ours_is_read_and_unknown_ones_are_kept(connect: Connect) -> None:
    [edge] = edges(
        connect(
            "{from: s, to: ask, label: topic, content_type: OBJECT, kind: When, condition: x > 1,"
            " priority: 3, transform: {extract: a}, data: null, colour: red, type: own}"
        )
    )
    assert edge.label == "topic"
    assert edge.content_type == "object"
    assert (edge.kind, edge.condition, edge.priority) == (EdgeKind.WHEN, "x > 1", 3)
    assert edge.transform == {"extract": "a"}
    assert edge.data is None
    assert edge.extra == {"colour": "red", "type": "own"}


def test_a_condition_makes_a_when_edge(connect: Connect) -> None:
    assert edges(connect("{from: s, to: ask, condition: true}"))[0].kind is EdgeKind.WHEN


def test_data_may_hold_the_content_type_and_the_transform(connect: Connect) -> None:
    data = "{contentType: object, transform: {wrap: a}}"
    [edge] = edges(connect(f"{{from: s, to: ask, data: {data}}}"))
    assert edge.content_type == "object"
    assert edge.transform == {"wrap": "a"}


@pytest.mark.parametrize(
    "fields, code, place",
    [
        ("to: ask", "INVALID_FIELD", "arrow_0"),
        ("from: [s], to: ask", "INVALID_FIELD", "arrow_0"),
        ("from: s, to: ask, kind: sometimes", "INVALID_FIELD", "arrow_0"),
        ("from: s, to: ask, priority: high", "INVALID_FIELD", "arrow_0"),
        ("from: s, to: ask, priority: true", "INVALID_FIELD", "arrow_0"),
        ("from: s, to: ask, transform: [1]", "INVALID_FIELD", "arrow_0"),
        ("from: s, to: ask, data: x", "INVALID_FIELD", "arrow_0"),
        ("from: s, to: ask, label: {}", "INVALID_FIELD", "arrow_0"),
        ("from: s, to: ask, content_type: yaml", "INVALID_FIELD", "arrow_0"),
        ("from: s, to: ask, type: [1]", "INVALID_FIELD", "arrow_0"),
    ],
)
def test_a_wrong_field_is_an_error(connect: Connect, fields: str, code: str, place: str) -> None:
    problem = only_problem(connect(f"{{{fields}}}"))
    assert (problem.code, problem.edge, problem.is_error) == (code, place, True)


def test_a_connection_that_is_no_map_is_an_error(connect: Connect) -> None:
    assert only_problem(connect("s -> ask")).code == "INVALID_FIELD"
