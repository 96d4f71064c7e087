"""A diagram begins at a start, ends at endpoints, and every node can be reached."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from dipeo_server.domains.diagram.formats.handles import BRANCHES
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity
from dipeo_server.domains.diagram.rules.view import (
    ERROR,
    WARNING,
    View,
    about_edge,
    about_node,
    arrow,
)


def no_start(view: View) -> Iterator[DiagramProblem]:
    """NO_START: something must run first."""
    if not any(node.type == "start" for node in view.nodes.values()):
        yield DiagramProblem(
            Severity.ERROR,
            "NO_START",
            "The diagram has no start node.",
            hint="Add a node of type `start` and connect it to what runs first.",
        )


def start_has_incoming(view: View) -> Iterator[DiagramProblem]:
    """START_HAS_INCOMING: nothing comes before a start."""
    for key, edges in view.incoming.items():
        if view.nodes[key].type == "start":
            for edge in edges:
                message = f"The start {key!r} has an incoming edge: {arrow(edge)}."
                hint = "Connect it to the node after the start; a loop begins there."
                yield about_edge(ERROR, "START_HAS_INCOMING", edge, message, hint)


def endpoint_has_outgoing(view: View) -> Iterator[DiagramProblem]:
    """ENDPOINT_HAS_OUTGOING: nothing comes after an endpoint."""
    for key, edges in view.outgoing.items():
        if view.nodes[key].type == "endpoint":
            for edge in edges:
                message = f"The endpoint {key!r} has an outgoing edge: {arrow(edge)}."
                hint = "Connect the node before the endpoint instead."
                yield about_edge(ERROR, "ENDPOINT_HAS_OUTGOING", edge, message, hint)


def unreachable(view: View) -> Iterator[DiagramProblem]:
    """UNREACHABLE: no path leads from a start to the node."""
    queue = deque(key for key, node in view.nodes.items() if node.type == "start")
    if not queue:
        return
    reached = set(queue)
    while queue:
        for edge in view.outgoing[queue.popleft()]:
            if edge.target not in reached:
                reached.add(edge.target)
                queue.append(edge.target)
    for key, node in view.nodes.items():
        if key not in reached:
            message = f"No start leads to {key!r}: it is skipped."
            yield about_node(WARNING, "UNREACHABLE", node, message, "Connect it, or remove it.")


def condition_branch_missing(view: View) -> Iterator[DiagramProblem]:
    """CONDITION_BRANCH_MISSING: one outcome of a condition leads nowhere."""
    for key, node in view.nodes.items():
        if node.type != "condition":
            continue
        missing = sorted(set(BRANCHES) - {edge.source_handle for edge in view.outgoing[key]})
        if missing:
            branches = " and ".join(missing)
            message = f"Nothing is connected to {branches} of the condition {key!r}."
            yield about_node(WARNING, "CONDITION_BRANCH_MISSING", node, message)
