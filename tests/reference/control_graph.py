"""Graphs of runs under control that change: what a change makes of a plan, and of numbers in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tests.reference.control_flow import End, Plan, Turn

T = TypeVar("T")
Edge = tuple[str, str, str]


@dataclass(frozen=True)
class Change:
    """Nodes and edges that are put in and taken out, and other limits of nodes."""

    names: tuple[str, ...] = ()
    edges: tuple[Edge, ...] = ()
    no_names: frozenset[str] = frozenset()
    no_edges: frozenset[Edge] = frozenset()
    limits: Mapping[str, int] = field(default_factory=dict)

    def made_in(self, plan: Plan) -> Plan:
        """The plan with the change; edges of nodes that are taken out go as well."""
        gone = self.no_names
        names = tuple(name for name in plan.names if name not in gone) + self.names
        edges = tuple(
            edge
            for edge in plan.edges
            if edge not in self.no_edges and edge[0] not in gone and edge[2] not in gone
        )
        return Plan(names, edges + self.edges, plan.any_joins - gone)


def reachable(plan: Plan) -> Plan:
    """The plan without what no start leads to."""
    found = {name for name in plan.names if name[0] == "s"}
    size = 0
    while size < len(found):
        size = len(found)
        found |= {target for source, _, target in plan.edges if source in found}
    names = tuple(name for name in plan.names if name in found)
    edges = tuple(edge for edge in plan.edges if edge[0] in found and edge[2] in found)
    return Plan(names, edges, plan.any_joins & found)


def leads_to(plan: Plan, source: str, target: str) -> bool:
    """Is there a way from one node to another, or are they the same?"""
    found, size = {source}, 0
    while size < len(found):
        size = len(found)
        found |= {end for begin, _, end in plan.edges if begin in found}
    return target in found


def form(plan: Plan) -> object:
    """What a loop is, apart from the edges out of it: its nodes, header, and edges into them."""
    into = frozenset(
        (edge, plan.is_back(number))
        for number, edge in enumerate(plan.edges)
        if edge[2] in plan.loop
    )
    return plan.loop, plan.header, into


def inputs(plan: Plan, name: str) -> frozenset[tuple[Edge, bool]]:
    """The edges into a node, and which of them come from its loop's last turn."""
    return frozenset((plan.edges[number], plan.is_back(number)) for number in plan.into(name))


class Numbers:
    """Where the edges of one plan are in another one."""

    def __init__(self, old: Plan, new: Plan) -> None:
        self._places = {
            number: new.edges.index(edge)
            for number, edge in enumerate(old.edges)
            if edge in new.edges
        }

    def of(self, values: Mapping[int, T]) -> dict[int, T]:
        """What was kept by edge."""
        return {self._places[edge]: value for edge, value in values.items() if edge in self._places}

    def ends(self, ends: Mapping[str, End]) -> dict[str, End]:
        """How visits ended; one that went on by an edge that is gone put nothing anywhere else."""
        return {
            name: end if end.edge is None else replace(end, edge=self._places.get(end.edge, -1))
            for name, end in ends.items()
        }

    def turn(self, turn: Turn) -> Turn:
        """The turn of a loop that stays as it is."""
        return replace(turn, back=self.of(turn.back), kept=self.of(turn.kept))
