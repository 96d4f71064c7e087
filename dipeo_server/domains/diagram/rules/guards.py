"""Where branches and plain data meet: guards that data does not defeat, inputs of one name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from dipeo_server.domains.diagram.executable import EdgeKind, FanOut, JoinPolicy
from dipeo_server.domains.diagram.formats.handles import BRANCHES
from dipeo_server.domains.diagram.loops import strong_components
from dipeo_server.domains.diagram.model import DomainEdge
from dipeo_server.domains.diagram.nearest import listed
from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.diagram.rules.view import WARNING, View, about_node, arrow

# How far up a chain of nodes with one input a decision is looked for.
CHAIN_MAX = 100
# Of more edges of one name than this, the first ones are compared.
SAME_NAME_MAX = 50


def guard_beside_data(view: View) -> Iterator[DiagramProblem]:
    """GUARD_BESIDE_DATA: data from elsewhere does not run a node whose branch was not taken."""
    if view.back_edges is None:
        return
    guards = edges_that_may_die(view)
    for key, edges in view.incoming.items():
        settings = view.settings.get(key)
        awaited = [edge for edge in edges if edge.key not in view.back_edges]
        plain = [edge for edge in awaited if edge.key not in guards]
        if settings is None or settings.join is not JoinPolicy.ALL:
            continue
        if plain and len(plain) < len(awaited):
            guard = next(edge for edge in awaited if edge.key in guards)
            data = listed(arrow(edge) for edge in plain)
            message = f"{key!r} is skipped where {arrow(guard)} is not taken, in spite of {data}."
            hint = "If it should run in any case, use `join: any`, or do not let the branch enter."
            yield about_node(WARNING, "GUARD_BESIDE_DATA", view.nodes[key], message, hint)


def edges_that_may_die(view: View) -> set[str]:
    """Keys of the edges that may be dead by choice, or because their source may be skipped."""
    back = view.back_edges or frozenset()
    sole_exits = _sole_exits(view)
    chosen = [
        edge
        for edges in view.outgoing.values()
        for edge in edges
        if edge.key not in back and edge.key not in sole_exits and _is_guard(view, edge)
    ]
    found = {edge.key for edge in chosen}
    skippable = {edge.target for edge in chosen}
    queue = list(skippable)
    while queue:
        for edge in view.outgoing[queue.pop()]:
            if edge.key not in back:
                found.add(edge.key)
                if edge.target not in skippable:
                    skippable.add(edge.target)
                    queue.append(edge.target)
    return found


def _is_guard(view: View, edge: DomainEdge) -> bool:
    settings = view.settings.get(edge.source)
    return (
        view.is_choice(edge)
        or edge.kind is not EdgeKind.ALWAYS
        or edge.source_handle != "default"
        or (settings is not None and settings.fan_out is FanOut.FIRST)
    )


def _sole_exits(view: View) -> set[str]:
    """Edges of the only port by which a loop is left: they come to life when it ends."""
    index = {key: number for number, key in enumerate(view.nodes)}
    targets = [[index[edge.target] for edge in edges] for edges in view.outgoing.values()]
    component_of: dict[int, int] = {}
    sizes: list[int] = []
    for number, members in enumerate(strong_components(range(len(index)), targets.__getitem__)):
        component_of.update(dict.fromkeys(members, number))
        sizes.append(len(members))
    ports: dict[int, dict[tuple[str, str], list[str]]] = {}
    for key, edges in view.outgoing.items():
        component = component_of[index[key]]
        for edge in edges:
            if sizes[component] > 1 and component_of[index[edge.target]] != component:
                port = (edge.source, edge.source_handle)
                ports.setdefault(component, {}).setdefault(port, []).append(edge.key)
    return {
        key
        for leaving in ports.values()
        if len(leaving) == 1
        for keys in leaving.values()
        for key in keys
    }


# --- inputs of one name -------------------------------------------------------------------------


def duplicate_input(view: View) -> Iterator[DiagramProblem]:
    """DUPLICATE_INPUT: two edges bring a value of the same name into the same turn."""
    if view.back_edges is None:
        return
    for key, edges in view.incoming.items():
        names: dict[str, list[DomainEdge]] = {}
        for edge in edges:
            if edge.key not in view.back_edges:
                names.setdefault(edge.label or edge.target_handle, []).append(edge)
        for name, same in names.items():
            if _may_meet(view, same):
                message = (
                    f"{len(same)} edges bring the input {name!r} of {key!r}: "
                    f"{listed(arrow(edge) for edge in same)}. Their values become a list."
                )
                hint = "Give each edge a `label` of its own to tell the values apart."
                second = same[1]
                yield DiagramProblem(
                    WARNING, "DUPLICATE_INPUT", message, hint, key, second.key, second.location
                )


def _may_meet(view: View, same: list[DomainEdge]) -> bool:
    """Can two of these edges be live together? Not if a condition decides between them."""
    decisions = [decisions_before(view, edge) for edge in same[:SAME_NAME_MAX]]
    return any(not are_exclusive(one, other) for one, other in combinations(decisions, 2))


def are_exclusive(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Do these decisions rule each other out?"""
    return any(node in other and other[node] != port for node, port in one.items())


def decisions_before(view: View, edge: DomainEdge) -> dict[str, str]:
    """The conditions, and their outcomes, on the only way that leads to this edge."""
    found: dict[str, str] = {}
    back = view.back_edges or frozenset()
    for _ in range(CHAIN_MAX):
        if edge.source_handle in BRANCHES:
            found[edge.source] = edge.source_handle
        before = [other for other in view.incoming[edge.source] if other.key not in back]
        if len(before) != 1:
            break
        edge = before[0]
    return found
