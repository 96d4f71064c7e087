"""Keys are unique, edges join nodes that exist, and there are not too many of them."""

from __future__ import annotations

from collections.abc import Iterator

from dipeo_server.domains.diagram.nearest import did_you_mean
from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.diagram.rules.view import ERROR, View, about_edge, about_node

NODES_MAX = 10_000


def too_many_nodes(view: View) -> Iterator[DiagramProblem]:
    """TOO_MANY_NODES: a diagram has a limit."""
    count = len(view.diagram.nodes)
    if count > NODES_MAX:
        message = f"The diagram has {count} nodes; at most {NODES_MAX} are allowed."
        hint = "Split it into sub-diagrams."
        yield about_node(ERROR, "TOO_MANY_NODES", view.diagram.nodes[NODES_MAX], message, hint)


def duplicate_key(view: View) -> Iterator[DiagramProblem]:
    """DUPLICATE_KEY: no two nodes and no two edges share a key."""
    for node in view.diagram.nodes:
        if view.nodes[node.key] is not node:
            message = f"Two nodes have the key {node.key!r}."
            yield about_node(ERROR, "DUPLICATE_KEY", node, message)
    seen: set[str] = set()
    for edge in view.diagram.edges:
        if edge.key in seen:
            message = f"Two edges have the key {edge.key!r}."
            yield about_edge(ERROR, "DUPLICATE_KEY", edge, message)
        seen.add(edge.key)


def unknown_node(view: View) -> Iterator[DiagramProblem]:
    """UNKNOWN_NODE: both ends of an edge exist."""
    for edge in view.diagram.edges:
        for end in (edge.source, edge.target):
            if end not in view.nodes:
                message = f"The edge {edge.key!r} names the unknown node {end!r}."
                hint = did_you_mean(end, view.nodes)
                yield about_edge(ERROR, "UNKNOWN_NODE", edge, message, hint)
