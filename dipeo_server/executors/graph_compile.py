"""From a Graph to what an execution runs: one token walks it, along the first edge that holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.domains.diagram.compile import compile_diagram
from dipeo_server.domains.diagram.executable import EdgeKind, ExecutableDiagram
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.execution.expression import check_expression
from dipeo_server.domains.execution.registry import HandlerRegistry
from dipeo_server.executors.functions import START, function_type
from dipeo_server.executors.graph import BARRIER, PARALLEL, Graph, GraphEdge, GraphNode
from dipeo_server.executors.graph_errors import InvalidGraph
from dipeo_server.executors.graph_nodes import Reducers, branch_name, node_types
from dipeo_server.node_types import node_types_with

PASSED: Final = "default"
PORTS: Final = {"approved": PASSED, "rejected": "rejected", "skipped": "skipped"}
VISITS_MAX: Final = 1_000_000
"""What bounds a walk is its steps, not how often it comes to one node."""


@dataclass(frozen=True, slots=True)
class CompiledGraph:
    """What runs; `ways` has the edge by source and target where several lead there."""

    diagram: ExecutableDiagram
    registry: HandlerRegistry
    ways: Mapping[tuple[str, str], str]


def compile_graph(graph: Graph, reducers: Reducers) -> CompiledGraph:
    """The graph as an execution runs it. Raises InvalidGraph, NodeNotFound."""
    graph.check()
    registry = node_types_with(node_types(graph, reducers))
    edges = tuple(_edges(graph))
    diagram = DomainDiagram(
        nodes=(
            DomainNode(START, START, "start", START, {}),
            *(_node(graph, node) for node in graph.nodes.values()),
        ),
        edges=(DomainEdge(START, START, graph.start_node), *edges),
        name=graph.name,
        metadata={"reducers": dict(reducers.names)},
    )
    try:
        compiled = compile_diagram(diagram, registry.specs, check_expression)
    except DiagramInvalid as invalid:
        hint = next((each.hint for each in invalid.problems if each.is_error), None)
        raise InvalidGraph(invalid.message, hint=hint) from invalid
    return CompiledGraph(compiled.executable, registry, _ways(edges))


def _node(graph: Graph, node: GraphNode) -> DomainNode[Mapping[str, Any]]:
    if node.branches:
        type_ = PARALLEL
    else:
        type_ = BARRIER if node.function is None else function_type(node.name)
    props = {
        "fan_out": "first",
        "max_iteration": VISITS_MAX,
        "may_end": node.name in graph.end_nodes,
        **node.settings,
    }
    if node.branches:
        props["branches"] = {branch: _branch(node.name, branch) for branch in node.branches}
    return DomainNode(node.name, node.name, type_, node.name, props)


def _branch(node: str, branch: str) -> dict[str, Any]:
    """The diagram of a branch: its function, and nothing else."""
    function = {"label": branch, "type": function_type(branch_name(node, branch))}
    nodes = [{"label": START, "type": "start"}, function]
    return {"diagram_data": {"nodes": nodes, "connections": [{"from": START, "to": branch}]}}


def _edges(graph: Graph) -> Iterator[DomainEdge]:
    names: dict[str, int] = {}
    ends = graph.end_nodes
    for edge in graph.edges:
        if edge.source in ends:
            continue
        for port, kind, condition in _forms(graph, edge):
            suffix = "" if (port, kind) in _PLAIN else f" {kind if port == PASSED else port}"
            name = f"{edge.source} → {edge.target}{suffix}"
            names[name] = names.get(name, 0) + 1
            key = name if names[name] == 1 else f"{name} {names[name]}"
            yield DomainEdge(key, edge.source, edge.target, port, kind=kind, condition=condition)


_PLAIN: Final = {(PASSED, EdgeKind.ALWAYS), (PASSED, EdgeKind.WHEN)}


def _forms(graph: Graph, edge: GraphEdge) -> Iterator[tuple[str, EdgeKind, str | None]]:
    """The port, kind and condition of each edge that one edge of the graph becomes."""
    is_conditional = edge.when is not None
    if edge.is_fallback:
        for port in _ports(graph, edge.source):
            yield port, EdgeKind.DEFAULT, None
        yield PASSED, EdgeKind.FALLBACK, None
    elif edge.predicate is not None:
        # The node itself chooses it, by going there; by itself it never holds.
        yield PASSED, EdgeKind.WHEN, "False"
    elif edge.on is not None:
        kind = EdgeKind.WHEN if is_conditional else EdgeKind.ALWAYS
        yield PORTS[edge.on], kind, _condition(edge)
    elif is_conditional:
        for port in _ports(graph, edge.source):
            yield port, EdgeKind.WHEN, _condition(edge)
    else:
        yield PASSED, EdgeKind.ALWAYS, None


def _ports(graph: Graph, source: str) -> tuple[str, ...]:
    """Where conditions of a node are asked: of a barrier, whatever was decided."""
    if not graph.nodes[source].is_barrier:
        return (PASSED,)
    is_asked = any(edge.when is not None and edge.on is None for edge in graph.edges_from(source))
    return tuple(PORTS.values()) if is_asked else (PASSED,)


def _condition(edge: GraphEdge) -> str | None:
    return None if edge.when is None else str(edge.when)


def _ways(edges: tuple[DomainEdge, ...]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for edge in edges:
        found.setdefault((edge.source, edge.target), edge.key)
    return found
