"""All rules together: order, bounds, and what reading has told already."""

from collections.abc import Callable, Mapping
from typing import Any

from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.diagram.problem import Severity
from dipeo_server.domains.diagram.rules.identity import NODES_MAX
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.diagram.validate import PER_RULE_MAX, report, validate

Read = Callable[[str], Loaded]
Specs = Mapping[str, NodeSpec]


def node(key: str, type_: str) -> DomainNode[Mapping[str, Any]]:
    return DomainNode(key, key, type_, key, {})


def test_a_sound_diagram_has_no_problems(read: Read, specs: Specs) -> None:
    loaded = read("""
        nodes:
          - {label: s, type: start}
          - {label: work, type: code_job, code: x}
          - {label: check, type: condition, expression: a > 1}
          - {label: e, type: endpoint}
        connections:
          - {from: s, to: work}
          - {from: work, to: check}
          - {from: check_condfalse, to: work}
          - {from: check_condtrue, to: e}
        """)
    assert report(loaded, specs, back_edges=frozenset({"arrow_2"})) == ()


def test_problems_are_in_the_order_of_the_document(read: Read, specs: Specs) -> None:
    loaded = read("""
        nodes:
          - {label: a, type: nobodys}
          - {label: b, type: code_job, timeout: -1, cod: x}
        connections:
          - {from: a, to: b, kind: when}
        """)
    problems = report(loaded, specs)
    assert [(p.code, p.location.line if p.location else None) for p in problems] == [
        ("NO_START", None),
        ("UNKNOWN_NODE_TYPE", 3),
        ("NO_DEFAULT_EDGE", 3),
        ("INVALID_PROPS", 4),
        ("UNKNOWN_PROP", 4),
        ("EDGE_CONDITION_MISSING", 6),
    ]


def test_an_error_is_never_hidden_by_many_warnings(specs: Specs) -> None:
    nodes = [node(f"n{i}", "hook") for i in range(PER_RULE_MAX + 9)]
    nodes.append(node("bad", "nobodys"))
    codes = [problem.code for problem in validate(DomainDiagram(tuple(nodes), ()), specs)]
    assert codes.count("NODE_TYPE_UNAVAILABLE") == PER_RULE_MAX
    assert codes.count("UNKNOWN_NODE_TYPE") == 1


def test_a_diagram_that_is_too_large_is_not_judged_further(specs: Specs) -> None:
    nodes = (node("n", "nobodys"),) * (NODES_MAX + 1)
    [problem] = validate(DomainDiagram(nodes, ()), specs)
    assert (problem.code, problem.severity) == ("TOO_MANY_NODES", Severity.ERROR)
    assert "10001" in problem.message


def test_ten_thousand_nodes_are_judged(specs: Specs) -> None:
    nodes = [node("s", "start"), *(node(f"n{i}", "db") for i in range(NODES_MAX - 1))]
    edges = [DomainEdge("e", "s", "n0")]
    edges += [DomainEdge(f"e{i}", f"n{i}", f"n{i + 1}") for i in range(NODES_MAX - 2)]
    diagram = DomainDiagram(tuple(nodes), tuple(edges))
    assert validate(diagram, specs, back_edges=frozenset()) == ()


def test_what_reading_has_told_is_not_told_again(read: Read, specs: Specs) -> None:
    loaded = read("""
        nodes: [{label: s, type: start}, {label: d, type: db}]
        connections: [{from: s, to: "d[first]"}]
        """)
    assert [problem.code for problem in loaded.problems] == ["UNKNOWN_HANDLE"]
    assert report(loaded, specs) == loaded.problems


def test_mere_consequences_of_a_fault_are_left_out(read: Read, specs: Specs) -> None:
    loaded = read("""
        nodes: [{label: s, type: start}, {label: load, type: db}]
        connections: [{from: s, to: loadd}]
        """)
    assert [problem.code for problem in report(loaded, specs)] == ["UNKNOWN_NODE"]
    assert loaded.diagram is not None
    assert [problem.code for problem in validate(loaded.diagram, specs)] == ["UNREACHABLE"]


def test_what_could_not_be_read_is_not_judged(read: Read, specs: Specs) -> None:
    loaded = read("a: *b")
    assert report(loaded, specs) == loaded.problems
