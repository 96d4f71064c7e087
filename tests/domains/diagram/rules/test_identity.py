"""Keys and ends of edges."""

from dataclasses import replace
from typing import Any

from dipeo_server.domains.diagram.validate import validate


def test_keys_are_unique(judge: Any) -> None:
    diagram = judge.diagram("s>a a>e")
    doubled = replace(
        diagram,
        nodes=(*diagram.nodes, replace(diagram.nodes[1])),
        edges=(*diagram.edges, diagram.edges[0]),
    )
    problems = [p for p in validate(doubled, judge.specs) if p.code == "DUPLICATE_KEY"]
    assert [(p.node, p.edge, p.is_error) for p in problems] == [
        ("a", None, True),
        (None, "0:s>a", True),
    ]


def test_both_ends_of_an_edge_exist(judge: Any) -> None:
    diagram = judge.diagram("s>load load>e")
    edge = replace(diagram.edges[1], source="loadd", target="nobody")
    problems = [
        p
        for p in validate(replace(diagram, edges=(diagram.edges[0], edge)), judge.specs)
        if p.code == "UNKNOWN_NODE"
    ]
    assert [(p.edge, p.hint, p.is_error) for p in problems] == [
        (edge.key, "Did you mean 'load'?", True),
        (edge.key, None, True),
    ]
