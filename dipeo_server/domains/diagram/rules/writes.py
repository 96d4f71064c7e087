"""Two nodes that run side by side do not write one variable, unless its reducer has no order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Final

from pydantic import ValidationError

from dipeo_server.domains.diagram.executable import JoinPolicy
from dipeo_server.domains.diagram.formats.detect import format_of_fields, read_diagram
from dipeo_server.domains.diagram.model import DomainDiagram
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity
from dipeo_server.domains.diagram.rules.guards import (
    are_exclusive,
    decisions_before,
    edges_that_may_die,
)
from dipeo_server.domains.diagram.rules.view import ERROR, WARNING, Node, View, about_node
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec, Within

ORDERED_REDUCERS: Final = frozenset({"last_write", "append", "extend", "merge"})
"""Of the built-in reducers those for which the order of two values matters."""

# Of more pairs than this the first ones are looked at, since each may lead through all edges.
PAIRS_MAX: Final = 50


def conflict(view: View) -> Iterator[DiagramProblem]:
    """CONFLICT (error): two nodes that certainly run write one variable in no order."""
    certain = _Certain(view)
    for pair in _pairs(view):
        if certain.is_conflict(pair):
            yield _problem(view, pair, ERROR, "run side by side, and both write")


def possible_conflict(view: View) -> Iterator[DiagramProblem]:
    """CONFLICT (warning): two nodes that may run side by side write one variable."""
    if view.back_edges is None:
        return
    certain, forward = _Certain(view), _Ways(view, view.back_edges)
    for pair in _pairs(view):
        if not forward.has_order(pair) and not certain.is_conflict(pair) and _may_meet(view, pair):
            yield _problem(view, pair, WARNING, "may run side by side, and both write")


def branch_conflict(view: View) -> Iterator[DiagramProblem]:
    """CONFLICT (warning): two branches written out in one node write one variable."""
    for node, props in _checked(view.diagram.nodes, view.specs):
        writers: dict[str, list[str]] = {}
        for branch, within in props.branches_within().items():
            for variable in _written_within(within, view.specs):
                writers.setdefault(variable, []).append(branch)
        for variable, branches in writers.items():
            if len(branches) > 1 and _has_order(view, variable):
                first, second = branches[:2]
                message = (
                    f"Branches {first!r} and {second!r} of {node.key!r} may both write the "
                    f"variable {variable!r}."
                )
                yield about_node(WARNING, "CONFLICT", node, message, _way_out(variable))


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two nodes that write one variable."""

    variable: str
    first: str
    second: str


class _Ways:
    """Which nodes come after which, on edges other than `without`."""

    def __init__(self, view: View, without: frozenset[str] = frozenset()) -> None:
        self._view = view
        self._without = without
        self._behind: dict[str, set[str]] = {}

    def has_order(self, pair: _Pair) -> bool:
        """Does a way lead from one of them to the other?"""
        return pair.second in self._after(pair.first) or pair.first in self._after(pair.second)

    def _after(self, key: str) -> set[str]:
        found = self._behind.get(key)
        if found is None:
            found = self._behind[key] = set()
            pending = [key]
            while pending:
                edges = self._view.outgoing[pending.pop()]
                fresh = {edge.target for edge in edges if edge.key not in self._without} - found
                found |= fresh
                pending.extend(fresh)
        return found


class _Certain:
    """Which nodes run whatever is decided."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._ways = _Ways(view)
        self._dying: set[str] | None = None

    def is_conflict(self, pair: _Pair) -> bool:
        """Do both run, and is there no way at all from one to the other?"""
        if self._ways.has_order(pair):
            return False
        return self._runs(pair.first) and self._runs(pair.second)

    def _runs(self, key: str) -> bool:
        """Does every way to it begin at a start, and is none of its edges ever dead by choice?"""
        if self._dying is None:
            self._dying = edges_that_may_die(self._view)
        view, seen, pending = self._view, {key}, [key]
        while pending:
            at = pending.pop()
            incoming = view.incoming[at]
            if not _needs_all(view, at) or any(edge.key in self._dying for edge in incoming):
                return False
            if not incoming and view.nodes[at].type != "start":
                return False
            fresh = {edge.source for edge in incoming} - seen
            seen |= fresh
            pending.extend(fresh)
        return any(view.nodes[each].type == "start" for each in seen)


def _needs_all(view: View, key: str) -> bool:
    settings = view.settings.get(key)
    return settings is not None and settings.join is JoinPolicy.ALL


def _pairs(view: View) -> Iterator[_Pair]:
    return islice(_all_pairs(view), PAIRS_MAX)


def _all_pairs(view: View) -> Iterator[_Pair]:
    writers: dict[str, list[str]] = {}
    for node, props in _checked(view.nodes.values(), view.specs):
        for variable in _written(node, props, view.specs):
            writers.setdefault(variable, []).append(node.key)
    for variable, keys in writers.items():
        if len(keys) > 1 and _has_order(view, variable):
            for first, second in combinations(keys, 2):
                yield _Pair(variable, first, second)


def _checked(
    nodes: Iterable[Node], specs: Mapping[str, NodeSpec]
) -> Iterator[tuple[Node, NodeProps]]:
    """Nodes whose props are valid, with those that can write at all."""
    for node in nodes:
        spec = specs.get(node.type)
        if spec is None or not _can_write(spec.props):
            continue
        try:
            yield node, spec.props.model_validate(node.props)
        except ValidationError:
            continue


def _can_write(props: type[NodeProps]) -> bool:
    is_telling = props.writes is not NodeProps.writes
    return is_telling or props.branches_within is not NodeProps.branches_within


def _written(node: Node, props: NodeProps, specs: Mapping[str, NodeSpec]) -> list[str]:
    inside = (_written_within(within, specs) for within in props.branches_within().values())
    return list(dict.fromkeys([*props.writes(node.label), *(v for each in inside for v in each)]))


def _written_within(within: Within, specs: Mapping[str, NodeSpec]) -> list[str]:
    """What the nodes of a diagram inside a node write; nothing of what cannot be read."""
    inner = _read(within, specs)
    if inner is None:
        return []
    checked = _checked(inner.nodes, specs)
    found = [variable for node, props in checked for variable in _written(node, props, specs)]
    return [variable for variable in dict.fromkeys(found) if variable not in within.own]


def _read(within: Within, specs: Mapping[str, NodeSpec]) -> DomainDiagram | None:
    document = within.document
    try:
        content = document if isinstance(document, str) else json.dumps(document)
    except (TypeError, ValueError, RecursionError):
        return None
    return read_diagram(content, specs=specs, format=format_of_fields(document)).diagram


def _has_order(view: View, variable: str) -> bool:
    reducers = view.diagram.metadata.get("reducers")
    name = reducers.get(variable) if isinstance(reducers, Mapping) else None
    return name is None or name in ORDERED_REDUCERS


def _may_meet(view: View, pair: _Pair) -> bool:
    """Is there a way to each such that no decision rules both out?"""
    back = view.back_edges or frozenset()
    ways = [
        [decisions_before(view, edge) for edge in view.incoming[key] if edge.key not in back]
        for key in (pair.first, pair.second)
    ]
    return any(not are_exclusive(one, other) for one in ways[0] for other in ways[1])


def _problem(view: View, pair: _Pair, severity: Severity, how: str) -> DiagramProblem:
    message = f"{pair.first!r} and {pair.second!r} {how} the variable {pair.variable!r}."
    node = view.nodes[pair.second]
    return about_node(severity, "CONFLICT", node, message, _way_out(pair.variable))


def _way_out(variable: str) -> str:
    return (
        f"Put one after the other, give them variables of their own, or {variable!r} a reducer "
        "without order (add, min, max, union)."
    )
