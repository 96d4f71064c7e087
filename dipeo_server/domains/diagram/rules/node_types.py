"""Every node is of a type that this server, or at least DiPeO, knows."""

from __future__ import annotations

from collections.abc import Iterator

from dipeo_server.domains.diagram.formats.handles import DIPEO_TYPES
from dipeo_server.domains.diagram.nearest import did_you_mean, listed
from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.diagram.rules.view import ERROR, WARNING, View, about_node


def unknown_node_type(view: View) -> Iterator[DiagramProblem]:
    """UNKNOWN_NODE_TYPE: the type is nobody's."""
    for node in view.nodes.values():
        if node.type not in view.specs and node.type not in DIPEO_TYPES:
            known = sorted({*view.specs, *DIPEO_TYPES})
            message = f"{node.label}: there is no node type {node.type!r}."
            hint = did_you_mean(node.type, known) or f"Node types: {listed(sorted(view.specs))}."
            yield about_node(ERROR, "UNKNOWN_NODE_TYPE", node, message, hint)


def node_type_unavailable(view: View) -> Iterator[DiagramProblem]:
    """NODE_TYPE_UNAVAILABLE: DiPeO has the type, this server does not."""
    for node in view.nodes.values():
        if node.type not in view.specs and node.type in DIPEO_TYPES:
            message = f"{node.label}: this server cannot run nodes of type {node.type!r}."
            hint = "The node fails when it is reached; everything else runs."
            yield about_node(WARNING, "NODE_TYPE_UNAVAILABLE", node, message, hint)
