"""Edges leave and enter nodes by handles that the node types have."""

from __future__ import annotations

from collections.abc import Iterator

from dipeo_server.domains.diagram.formats.handles import inputs_of, outputs_of
from dipeo_server.domains.diagram.model import DomainEdge
from dipeo_server.domains.diagram.nearest import listed
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity
from dipeo_server.domains.diagram.rules.view import ERROR, WARNING, Node, View


def unknown_handle(view: View) -> Iterator[DiagramProblem]:
    """UNKNOWN_HANDLE (error): the type has no such handle."""
    for edge, node, handle, role, known in _strange_ends(view):
        if handle != "default":
            yield _problem(ERROR, edge, node, f"has no {role} {handle!r}", role, known)


def missing_handle(view: View) -> Iterator[DiagramProblem]:
    """UNKNOWN_HANDLE (warning): no handle was written, and the type has no default one."""
    for edge, node, handle, role, known in _strange_ends(view):
        if handle == "default":
            reason = f"has no default {role}, so this edge never carries anything"
            yield _problem(WARNING, edge, node, reason, role, known)


def _strange_ends(
    view: View,
) -> Iterator[tuple[DomainEdge, Node, str, str, tuple[str, ...]]]:
    for edges in view.outgoing.values():
        for edge in edges:
            source, target = view.nodes[edge.source], view.nodes[edge.target]
            outputs = outputs_of(source.type, view.specs)
            if outputs and edge.source_handle not in outputs:
                yield edge, source, edge.source_handle, "output", outputs
            inputs = inputs_of(target.type, view.specs)
            if inputs and edge.target_handle not in inputs:
                yield edge, target, edge.target_handle, "input", inputs


def _problem(
    severity: Severity,
    edge: DomainEdge,
    node: Node,
    reason: str,
    role: str,
    known: tuple[str, ...],
) -> DiagramProblem:
    message = f"{node.label!r} ({node.type}) {reason}."
    hint = f"Its {role}s are: {listed(known)}."
    return DiagramProblem(
        severity, "UNKNOWN_HANDLE", message, hint, node.key, edge.key, edge.location
    )
