"""Conditional edges have a condition that can be evaluated, and a way out when none holds."""

from __future__ import annotations

from collections.abc import Iterator

from dipeo_server.domains.diagram.executable import EdgeKind
from dipeo_server.domains.diagram.model import DomainEdge
from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.diagram.rules.view import (
    ERROR,
    WARNING,
    View,
    about_edge,
    about_node,
    arrow,
)


def edge_condition_missing(view: View) -> Iterator[DiagramProblem]:
    """EDGE_CONDITION_MISSING: a `when` edge says when."""
    for edge in view.diagram.edges:
        if edge.kind is EdgeKind.WHEN and not (edge.condition or "").strip():
            message = f"The edge {arrow(edge)} is of kind `when` and has no condition."
            hint = "Add `condition:` with an expression, or use another kind."
            yield about_edge(ERROR, "EDGE_CONDITION_MISSING", edge, message, hint)


def edge_condition_unused(view: View) -> Iterator[DiagramProblem]:
    """EDGE_CONDITION_UNUSED: only `when` edges look at their condition."""
    for edge in view.diagram.edges:
        if edge.kind is not EdgeKind.WHEN and edge.condition:
            message = f"The edge {arrow(edge)} is of kind `{edge.kind}`: its condition is ignored."
            hint = "Use `kind: when`, or remove the condition."
            yield about_edge(WARNING, "EDGE_CONDITION_UNUSED", edge, message, hint)


def invalid_edge_condition(view: View) -> Iterator[DiagramProblem]:
    """INVALID_EXPRESSION (error): the condition of an edge cannot be read."""
    for edge in view.diagram.edges:
        if edge.kind is EdgeKind.WHEN and edge.condition and view.check_expression:
            fault = view.check_expression(edge.condition)
            if fault is not None:
                message = f"The condition of {arrow(edge)}: {fault}"
                yield about_edge(ERROR, "INVALID_EXPRESSION", edge, message)


def invalid_node_expression(view: View) -> Iterator[DiagramProblem]:
    """INVALID_EXPRESSION (warning): a condition node that will fail when it is reached.

    Older files carry expressions that never worked and were taken as false, so they may still run.
    """
    for node in view.nodes.values():
        expression = node.props.get("expression")
        is_custom = node.type == "condition" and node.props.get("condition_type") == "custom"
        if is_custom and isinstance(expression, str) and view.check_expression:
            fault = view.check_expression(expression)
            if fault is not None:
                message = f"{node.label}: the expression: {fault}"
                yield about_node(WARNING, "INVALID_EXPRESSION", node, message)


def no_default_edge(view: View) -> Iterator[DiagramProblem]:
    """NO_DEFAULT_EDGE: every edge of a port is conditional, so the path may end there."""
    for key, edges in view.outgoing.items():
        ports: dict[str, list[DomainEdge]] = {}
        for edge in edges:
            if edge.kind is not EdgeKind.FALLBACK:
                ports.setdefault(edge.source_handle, []).append(edge)
        for port, leaving in ports.items():
            if all(edge.kind is EdgeKind.WHEN for edge in leaving):
                message = f"Every edge from {port!r} of {key!r} is of kind `when`."
                hint = "Add an edge of kind `default` for the case that none of them holds."
                yield about_node(WARNING, "NO_DEFAULT_EDGE", view.nodes[key], message, hint)
