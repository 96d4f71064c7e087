"""A diagram as the rules see it: indexed by key, with the node types and the engine settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.diagram.node_settings import settings_of
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity
from dipeo_server.domains.diagram.spec import NodeSettings, NodeSpec

Node = DomainNode[Mapping[str, Any]]
# Given the text of an expression, says what is wrong with it, or None.
CheckExpression = Callable[[str], str | None]

ERROR = Severity.ERROR
WARNING = Severity.WARNING


@dataclass(frozen=True, slots=True)
class View:
    """`incoming` and `outgoing` hold the edges between nodes that exist, in document order.

    `settings` leaves out nodes whose settings are invalid; `back_edges` is None while the loops
    are not known.
    """

    diagram: DomainDiagram
    specs: Mapping[str, NodeSpec]
    nodes: Mapping[str, Node]
    incoming: Mapping[str, tuple[DomainEdge, ...]]
    outgoing: Mapping[str, tuple[DomainEdge, ...]]
    settings: Mapping[str, NodeSettings]
    back_edges: frozenset[str] | None = None
    check_expression: CheckExpression | None = None

    def spec(self, node: Node) -> NodeSpec | None:
        """What the server knows of the node's type."""
        return self.specs.get(node.type)

    def is_choice(self, edge: DomainEdge) -> bool:
        """Is it the source's choice whether the edge is live?"""
        source = self.nodes[edge.source]
        spec = self.spec(source)
        return spec.branches if spec is not None else source.type == "condition"


def view_of(
    diagram: DomainDiagram,
    specs: Mapping[str, NodeSpec],
    check_expression: CheckExpression | None = None,
    back_edges: frozenset[str] | None = None,
) -> View:
    """The view of a diagram; where two nodes share a key, the first has it."""
    nodes: dict[str, Node] = {}
    for node in diagram.nodes:
        nodes.setdefault(node.key, node)
    incoming: dict[str, list[DomainEdge]] = {key: [] for key in nodes}
    outgoing: dict[str, list[DomainEdge]] = {key: [] for key in nodes}
    for edge in diagram.edges:
        if edge.source in nodes and edge.target in nodes:
            incoming[edge.target].append(edge)
            outgoing[edge.source].append(edge)
    return View(
        diagram=diagram,
        specs=specs,
        nodes=nodes,
        incoming={key: tuple(edges) for key, edges in incoming.items()},
        outgoing={key: tuple(edges) for key, edges in outgoing.items()},
        settings=_settings(nodes, specs),
        back_edges=back_edges,
        check_expression=check_expression,
    )


def _settings(nodes: Mapping[str, Node], specs: Mapping[str, NodeSpec]) -> dict[str, NodeSettings]:
    found = {}
    for key, node in nodes.items():
        try:
            found[key] = settings_of(node, specs.get(node.type))
        except ValidationError:
            continue
    return found


def about_node(
    severity: Severity, code: str, node: Node, message: str, hint: str | None = None
) -> DiagramProblem:
    """A problem of a node, at its place."""
    return DiagramProblem(severity, code, message, hint, node=node.key, location=node.location)


def about_edge(
    severity: Severity, code: str, edge: DomainEdge, message: str, hint: str | None = None
) -> DiagramProblem:
    """A problem of an edge, at its place."""
    return DiagramProblem(severity, code, message, hint, edge=edge.key, location=edge.location)


def arrow(edge: DomainEdge) -> str:
    """The edge as people speak of it."""
    port = "" if edge.source_handle == "default" else f"[{edge.source_handle}]"
    return f"{edge.source}{port} → {edge.target}"
