"""Which edges of a node get a live token, and with what: ports, kinds of edges, conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dipeo_server.domains.diagram.executable import (
    EdgeKind,
    ExecutableDiagram,
    ExecutableEdge,
    ExecutableNode,
    FanOut,
)
from dipeo_server.domains.execution.expression import evaluate
from dipeo_server.domains.execution.state import Emission
from dipeo_server.domains.execution.tokens import Token, TokenKind
from dipeo_server.errors import NodeError

FALLBACK_PORT = "fallback"
VALUE_CHARACTERS_MAX = 200
"""So much of a condition's value is told where no edge holds."""


class Unrouted(NodeError):
    """No edge of a node that follows the first match holds; the message lists what was tried."""

    code = "UNROUTED"


@dataclass(frozen=True, slots=True)
class Tried:
    """A condition on an edge, evaluated once."""

    edge: str
    text: str
    value: Any


def tokens_for(
    diagram: ExecutableDiagram, node: ExecutableNode, emission: Emission
) -> dict[int, Token]:
    """One token per outgoing edge: live on those that fire, `emission.otherwise` on all others."""
    chosen = None if emission.edges is None else frozenset(emission.edges)
    tokens: dict[int, Token] = {}
    for index in node.outgoing:
        edge = diagram.edges[index]
        fires = emission.envelope is not None and (
            edge.key in chosen if chosen is not None else _fires(edge, emission.ports)
        )
        if fires:
            tokens[index] = Token(TokenKind.LIVE, emission.envelope, edge.source_handle)
        else:
            tokens[index] = emission.otherwise
    return tokens


def _fires(edge: ExecutableEdge, ports: tuple[str, ...]) -> bool:
    if edge.kind is EdgeKind.FALLBACK:
        return FALLBACK_PORT in ports
    return edge.source_handle in ports


def has_choice(diagram: ExecutableDiagram, node: ExecutableNode) -> bool:
    """Do conditions or `fan_out: first` decide which of the node's edges fire?"""
    if node.fan_out is FanOut.FIRST:
        return True
    for index in node.outgoing:
        kind = diagram.edges[index].kind
        if kind is EdgeKind.WHEN or kind is EdgeKind.DEFAULT:
            return True
    return False


def chosen_edges(
    diagram: ExecutableDiagram,
    node: ExecutableNode,
    ports: tuple[str, ...],
    names: Mapping[str, Any],
) -> tuple[str, ...] | None:
    """Keys of the edges that fire where conditions or `fan_out: first` decide; else None.

    Every condition is evaluated at most once. Raises ExpressionError, and Unrouted where nothing
    matches on a node that follows the first match only.
    """
    if not has_choice(diagram, node):
        return None
    edges = [diagram.edges[index] for index in node.outgoing]
    firing = [edge for edge in edges if _fires(edge, ports)]
    tried: list[Tried] = []
    if node.fan_out is FanOut.FIRST:
        return _first_match(node, firing, names, tried)
    held: list[str] = []
    for port in dict.fromkeys(edge.source_handle for edge in firing):
        held.extend(_all_matches([e for e in firing if e.source_handle == port], names, tried))
    return tuple(held)


def _all_matches(
    edges: list[ExecutableEdge], names: Mapping[str, Any], tried: list[Tried]
) -> list[str]:
    held = [edge for edge in edges if edge.kind is EdgeKind.WHEN and _holds(edge, names, tried)]
    defaults = [] if held else [edge for edge in edges if edge.kind is EdgeKind.DEFAULT]
    always = [edge for edge in edges if edge.kind in {EdgeKind.ALWAYS, EdgeKind.FALLBACK}]
    return [edge.key for edge in sorted([*held, *defaults, *always], key=lambda e: e.index)]


def _first_match(
    node: ExecutableNode,
    edges: list[ExecutableEdge],
    names: Mapping[str, Any],
    tried: list[Tried],
) -> tuple[str, ...]:
    when = [edge for edge in edges if edge.kind is EdgeKind.WHEN]
    for edge in sorted(when, key=lambda edge: (-edge.priority, edge.index)):
        if _holds(edge, names, tried):
            return (edge.key,)
    for kind in (EdgeKind.ALWAYS, EdgeKind.FALLBACK, EdgeKind.DEFAULT):
        for edge in edges:
            if edge.kind is kind:
                return (edge.key,)
    if not node.outgoing:
        return ()
    attempts = "; ".join(f"{each.text} = {_told(each.value)}" for each in tried) or "no condition"
    message = f"No edge of {node.key!r} holds: {attempts}."
    raise Unrouted(message, hint="Add an edge of kind default.")


def _told(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}…"


def _holds(edge: ExecutableEdge, names: Mapping[str, Any], tried: list[Tried]) -> bool:
    text = edge.condition or "False"
    value = evaluate(text, names)
    tried.append(Tried(edge.key, text, value))
    return bool(value)
