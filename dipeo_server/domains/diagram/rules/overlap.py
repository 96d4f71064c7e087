"""Where only the first edge that holds is followed, each one can be reached."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from dataclasses import dataclass

from dipeo_server.domains.diagram.executable import EdgeKind, FanOut
from dipeo_server.domains.diagram.model import DomainEdge
from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.diagram.rules.view import WARNING, View, about_edge, arrow

# Longer conditions, and of more edges than this the later ones, are not compared.
CONDITION_CHARACTERS_MAX = 1_000
EDGES_MAX = 50


def condition_overlap(view: View) -> Iterator[DiagramProblem]:
    """CONDITION_OVERLAP: an edge is never followed, since one before it holds whenever it does."""
    for key, edges in view.outgoing.items():
        settings = view.settings.get(key)
        if settings is None or settings.fan_out is not FanOut.FIRST:
            continue
        for port in dict.fromkeys(edge.source_handle for edge in edges):
            leaving = [edge for edge in edges if edge.source_handle == port]
            yield from _overlaps(_in_order(leaving)[:EDGES_MAX])


def _in_order(edges: list[DomainEdge]) -> list[DomainEdge]:
    """As they are tried: `when` by priority, then those without condition, then `default`."""
    when = [edge for edge in edges if edge.kind is EdgeKind.WHEN]
    plain = [edge for edge in edges if edge.kind is EdgeKind.ALWAYS]
    default = [edge for edge in edges if edge.kind is EdgeKind.DEFAULT]
    return [*sorted(when, key=lambda edge: -edge.priority), *plain, *default]


def _overlaps(edges: list[DomainEdge]) -> Iterator[DiagramProblem]:
    claims = [_claim(edge) for edge in edges]
    for place, edge in enumerate(edges):
        covering = next((n for n in range(place) if _covers(claims[n], claims[place])), None)
        if covering is None:
            continue
        first = arrow(edges[covering])
        message = f"{arrow(edge)} is never followed: {first} holds whenever it does."
        hint = "Give it another condition, or a higher `priority`."
        yield about_edge(WARNING, "CONDITION_OVERLAP", edge, message, hint)


@dataclass(frozen=True, slots=True)
class _Claim:
    """When an edge holds: always, as its condition is written, or for what between which bounds.

    A bound is its value and how near one may come: 0 = the bound itself, 1 = only beyond it.
    """

    is_always: bool = False
    text: str | None = None
    what: str | None = None
    low: tuple[float, int] = (-math.inf, 0)
    high: tuple[float, int] = (math.inf, 0)


def _covers(first: _Claim, second: _Claim) -> bool:
    """Does the first hold wherever the second does?"""
    if first.is_always or (first.text is not None and first.text == second.text):
        return True
    if first.what is None or first.what != second.what:
        return False
    return first.low <= second.low and _mirrored(first.high) <= _mirrored(second.high)


def _mirrored(bound: tuple[float, int]) -> tuple[float, int]:
    return -bound[0], bound[1]


def _claim(edge: DomainEdge) -> _Claim:
    if edge.kind is not EdgeKind.WHEN:
        return _Claim(is_always=True)
    tree = _parsed(edge.condition or "")
    if tree is None:
        return _Claim()
    if isinstance(tree, ast.Name) and tree.id == "true":
        return _Claim(is_always=True)
    if isinstance(tree, ast.Constant):
        return _Claim(is_always=bool(tree.value), text=ast.unparse(tree))
    return _bounded(tree) or _Claim(text=ast.unparse(tree))


def _parsed(text: str) -> ast.expr | None:
    if len(text) > CONDITION_CHARACTERS_MAX:
        return None
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _bounded(tree: ast.expr) -> _Claim | None:
    """What one comparison with a number says: `x > 3`."""
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
        return None
    limit = _number(tree.comparators[0])
    if limit is None:
        return None
    text, what = ast.unparse(tree), ast.unparse(tree.left)
    match tree.ops[0]:
        case ast.Gt():
            return _Claim(text=text, what=what, low=(limit, 1))
        case ast.GtE():
            return _Claim(text=text, what=what, low=(limit, 0))
        case ast.Lt():
            return _Claim(text=text, what=what, high=(limit, 1))
        case ast.LtE():
            return _Claim(text=text, what=what, high=(limit, 0))
        case ast.Eq():
            return _Claim(text=text, what=what, low=(limit, 0), high=(limit, 0))
        case _:
            return None


def _number(tree: ast.expr) -> float | None:
    is_negative = isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub)
    value = tree.operand if is_negative and isinstance(tree, ast.UnaryOp) else tree
    written = value.value if isinstance(value, ast.Constant) else None
    if isinstance(written, bool) or not isinstance(written, int | float):
        return None
    try:
        number = float(written)
    except OverflowError:
        return None
    return -number if is_negative else number
