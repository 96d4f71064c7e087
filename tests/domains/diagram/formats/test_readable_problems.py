"""What is wrong in a readable document is told: what, where, and how to mend it."""

from collections.abc import Callable, Mapping

import pytest

from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.formats.readable import read_readable
from dipeo_server.domains.diagram.formats.readable_links import LINKS_MAX
from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.diagram.spec import NodeSpec

Read = Callable[[str], Loaded]


@pytest.fixture
def read(specs: Mapping[str, NodeSpec]) -> Read:
    return lambda text: read_readable(text, specs=specs)


def only_problem(loaded: Loaded) -> DiagramProblem:
    [problem] = loaded.problems
    return problem


NODES = "nodes: [{Start: {}}, {Panel: {person: x}}, {Check: {expression: x}}]\n"


@pytest.mark.parametrize(
    "flow, code, hint, place",
    [
        ("- Sstart: Panel", "UNKNOWN_NODE", "Did you mean 'Start'?", (3, 3)),
        ("- Start: Panell (raw_text)", "UNKNOWN_NODE", "Did you mean 'Panel'?", (3, 3)),
        ("- Start -> Panle", "UNKNOWN_NODE", "Did you mean 'Panel'?", (3, 3)),
        ('- Start: to "Panl"', "UNKNOWN_NODE", "Did you mean 'Panel'?", (3, 3)),
        ("- Start:\n  - {as: object, to: Panl}", "UNKNOWN_NODE", "Did you", (4, 18)),
        ('- Start: to "Panel" as raw_text', "INVALID_FIELD", "It is written as", (3, 3)),
        ("- Start: {to: Panel, in: firsst}", "UNKNOWN_HANDLE", "Its inputs are: d", (3, 22)),
        ('- Start: to "Panel" in "x"', "UNKNOWN_HANDLE", "Its inputs are: default", (3, 3)),
        ("- Check[condtru]: Panel", "UNKNOWN_HANDLE", "Its outputs are: condtrue", (3, 3)),
        ("- Check_yes: Panel", "UNKNOWN_HANDLE", "Its outputs are: condtrue", (3, 3)),
        ("- Start: {to: Panel, as: txt}", "INVALID_FIELD", "One of: raw_text", (3, 22)),
        ('- Start: to "Panel" as "txt"', "INVALID_FIELD", "One of: raw_text", (3, 3)),
        ("- Start: {to: Panel, content_type: txt}", "INVALID_FIELD", "One of", (3, 22)),
        ("- Start: {to: Panel, kind: no}", "INVALID_FIELD", "One of: always", (3, 22)),
        ("- Start: {to: Panel, priority: no}", "INVALID_FIELD", None, (3, 22)),
        ("- Start: {as: object}", "INVALID_FIELD", "It is written as", (3, 3)),
        ("- Start: {to: [Panel]}", "INVALID_FIELD", "It is written as", (3, 11)),
        ("- Start:", "INVALID_FIELD", "Write it as", (3, 3)),
        ("- Start: [[Panel]]", "INVALID_FIELD", "Write it as", (3, 11)),
        ("- Start", "INVALID_FIELD", "Write it as", (3, 3)),
        ("- 7", "INVALID_FIELD", "Write it as", (3, 3)),
        ("- Start: [{to: Panel, key: k}, {to: Panel, key: k}]", "DUPLICATE_KEY", None, (3, 44)),
    ],
)
def test_a_fault_in_the_flow_is_told_with_its_place(
    read: Read, flow: str, code: str, hint: str | None, place: tuple[int, int]
) -> None:
    problem = only_problem(read(f"{NODES}flow:\n{flow}\n"))
    assert problem.code == code
    assert (problem.hint or "").startswith(hint or "")
    assert problem.location is not None
    assert (problem.location.line, problem.location.column) == place


@pytest.mark.parametrize(
    "text, code, message",
    [
        ("nodes: {A: {}}", "INVALID_FIELD", "`nodes` must be a list."),
        ("nodes: [A]", "INVALID_FIELD", "Item 1 of `nodes` must be a map."),
        ("nodes: [{A: , code: x}]", "INVALID_FIELD", "Item 1 of `nodes` must be a map from one"),
        ("nodes: [{}]", "INVALID_FIELD", "Item 1 of `nodes` must be a map from one"),
        ("nodes: [{A: x}]", "INVALID_FIELD", "The fields of 'A' must be a map."),
        ("nodes: [{'@(1,2)': {}}]", "MISSING_LABEL", "A node has no name."),
        ("nodes: [{A: {type: [x]}}]", "INVALID_FIELD", "`type` must be a text."),
        ("nodes: [{A: {type: db, props: x}}]", "INVALID_FIELD", "A: `props` must be a map."),
        (f"nodes: [{{{'A' * 1001}: {{}}}}]", "LABEL_TOO_LONG", "A label has more"),
        ("nodes: [{A: {}},\n {'A @(1,2)': {}}]", "DUPLICATE_LABEL", "Two nodes have the label 'A'"),
        ("flow: {A: B}", "INVALID_FIELD", "`flow` must be a list."),
        ("persons: x", "INVALID_FIELD", "`persons` must be a list of maps."),
        ("persons: [x]", "INVALID_FIELD", "Item 1 of `persons` tells no name."),
        ("persons: [{a: 1, b: 2}]", "INVALID_FIELD", "Item 1 of `persons` tells no name."),
        ("persons: [{A: }]", "PERSON_IGNORED", "The person 'A' has no map of settings"),
        ("persons: [{A: {}}, {A: {}}]", "DUPLICATE_KEY", "Two persons have the name 'A'."),
        ("persons: [{A: {model: [x]}}]", "INVALID_FIELD", "A: `model` must be a text."),
        ("version: light", "FORMAT_VERSION", "The document is read as readable"),
        ("metadata: 1", "INVALID_FIELD", "`metadata` must be a map."),
        ("[]", "DOCUMENT_NOT_A_MAP", "A readable document must be a map"),
        ("", "DOCUMENT_EMPTY", "The document is empty."),
        ("a: &x 1", "YAML_ANCHOR", "The anchor &x is not allowed."),
        ("nodes: [{A: {}, A: {}}]", "YAML_DUPLICATE_KEY", "The key 'A' is written twice"),
    ],
)
def test_a_fault_elsewhere_is_told_too(read: Read, text: str, code: str, message: str) -> None:
    problem = only_problem(read(text))
    assert problem.code == code
    assert problem.message.startswith(message)
    assert problem.location is not None


def test_an_edge_with_a_fault_leaves_the_keys_of_others_as_they_are(read: Read) -> None:
    loaded = read(NODES + "flow: [{Start: [Nowhere, Panel]}]")
    assert loaded.diagram is not None
    assert [edge.key for edge in loaded.diagram.edges] == ["arrow_1"]


@pytest.mark.slow
def test_a_flow_has_a_limit(read: Read) -> None:
    loaded = read(f"nodes: [{{s: {{}}}}, {{e: {{}}}}]\nflow: [{{s: [{'e,' * (LINKS_MAX + 9)}]}}]")
    problem = only_problem(loaded)
    assert (problem.code, problem.hint) == (
        "TOO_MANY_EDGES",
        "Split the diagram into sub-diagrams.",
    )
    assert loaded.diagram is not None
    assert len(loaded.diagram.edges) == LINKS_MAX + 1
