"""Which nodes may run, are skipped or have to wait, worked out anew from how visits ended.

A reference for small diagrams with at most one loop. Nothing is counted and nothing is remembered
but the ends of this turn, so an end that is taken back takes with it whatever followed from it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

LIVE = "live"
FAILED = "upstream_failed"
NOT_TAKEN = "branch_not_taken"
RANK = (FAILED, "skip_branch", "barrier_skipped", "by_user", "join_not_met", NOT_TAKEN)
"""The reasons of tokens that are not live; where several meet, the first of these is told."""

_PORTS = {"t": "condtrue", "f": "condfalse", "ok": "approved", "no": "rejected", "skip": "skipped"}


@dataclass(frozen=True)
class End:
    """How a visit ended: the ports that fired (or the one edge), and what all other edges get."""

    ports: frozenset[str] = frozenset()
    edge: int | None = None
    otherwise: str = NOT_TAKEN


def dead(reason: str) -> End:
    """Nothing fires, for that reason."""
    return End(otherwise=reason)


def fired(*ports: str) -> End:
    """These ports fire."""
    return End(frozenset(ports))


@dataclass(frozen=True)
class Plan:
    """`s -> a -> g; g.no -> b`: initials tell kinds, `+` before a name is a join of the kind any.

    s start, c condition, g barrier, x asks before it runs again, k fails when it is stopped, r is
    tried twice, o goes on with its error, all others just work.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[str, str, str], ...]
    any_joins: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read chains, with a port after a dot."""
        names: dict[str, bool] = {}
        edges = []
        for chain in text.split(";"):
            stops = [stop.strip().partition(".") for stop in chain.split("->")]
            for name, _, _ in stops:
                key = name.removeprefix("+")
                names[key] = names.get(key, False) or name.startswith("+")
            for (source, _, port), (target, _, _) in itertools.pairwise(stops):
                ends = (source.removeprefix("+"), _PORTS.get(port, port or "default"))
                edges.append((*ends, target.removeprefix("+")))
        return cls(tuple(names), tuple(edges), frozenset(key for key in names if names[key]))

    def out_of(self, name: str) -> list[int]:
        """The edges that begin there."""
        return [number for number, edge in enumerate(self.edges) if edge[0] == name]

    def into(self, name: str) -> list[int]:
        """The edges that end there."""
        return [number for number, edge in enumerate(self.edges) if edge[2] == name]

    @cached_property
    def loop(self) -> frozenset[str]:
        """The nodes that reach themselves, and those that only hear of them, once a turn."""
        reach = {name: {t for s, _, t in self.edges if s == name} for name in self.names}
        for _ in self.names:
            for name in self.names:
                reach[name] |= set().union(*(reach[each] for each in reach[name]))
        core = frozenset(name for name in self.names if name in reach[name])
        inner = {(source, port) for source, port, target in self.edges if target in core}
        while True:
            grown = core | {name for name in self.names if self._is_tail(name, core, inner)}
            if grown == core:
                return core
            core = grown

    def _is_tail(self, name: str, loop: frozenset[str], inner: set[tuple[str, str]]) -> bool:
        """Does all that it hears come from ports that also feed the loop, or from its tail?"""
        sources = [self.edges[edge][:2] for edge in self.into(name)]
        feeds = [(s, p) in inner or not self._feeds(s, loop) for s, p in sources if s in loop]
        return name[0] != "e" and bool(sources) and len(feeds) == len(sources) and all(feeds)

    def _feeds(self, name: str, loop: frozenset[str]) -> bool:
        return any(self.edges[edge][2] in loop for edge in self.out_of(name))

    @cached_property
    def header(self) -> str | None:
        """The node of the loop by which it is entered."""
        entries = [t for s, _, t in self.edges if t in self.loop and s not in self.loop]
        return entries[0] if entries else None

    def is_back(self, edge: int) -> bool:
        """Does it lead from the loop to its header?"""
        source, _, target = self.edges[edge]
        return source in self.loop and target == self.header

    def is_exit(self, edge: int) -> bool:
        """Does it leave the loop?"""
        source, _, target = self.edges[edge]
        return source in self.loop and target not in self.loop

    @cached_property
    def guards(self) -> frozenset[int]:
        """The edges that can be dead by choice."""
        dying: frozenset[int] = frozenset()
        while True:
            grown = frozenset(
                number
                for number, (source, _, _) in enumerate(self.edges)
                if not self.is_back(number) and (source[0] in "cg" or self._may_die(source, dying))
            )
            if grown == dying:
                return dying
            dying = grown

    def _may_die(self, name: str, dying: frozenset[int]) -> bool:
        edges = {edge for edge in self.into(name) if not self.is_back(edge)}
        return edges <= dying and bool(edges) if name in self.any_joins else bool(edges & dying)


@dataclass
class Turn:
    """The loop's turn: which it is, what its back edges brought, what earlier ones left behind."""

    number: int = 1
    back: dict[int, str] = field(default_factory=dict)
    kept: dict[int, list[str]] = field(default_factory=dict)
    has_executed: bool = False


class Flow:
    """What follows from these ends: `fires` may run, `skips` are skipped and why."""

    def __init__(self, plan: Plan, ends: Mapping[str, End], turn: Turn) -> None:
        self._plan, self._turn = plan, turn
        self._ends = dict(ends)
        self.tokens: dict[int, str] = {}
        self.fires: set[str] = set()
        self.skips: dict[str, str] = {}
        while self._grow():
            pass

    @property
    def is_turn_over(self) -> bool:
        """Is every node of the loop settled?"""
        return bool(self._plan.loop) and all(map(self._is_settled, self._plan.loop))

    @property
    def goes_on(self) -> bool:
        """Does the loop take another turn?"""
        backs = [edge for edge in self.tokens if self._plan.is_back(edge)]
        is_wanted = any(self.tokens[edge] == LIVE for edge in backs)
        return self.is_turn_over and is_wanted and self._turn.has_executed

    @property
    def is_settled(self) -> bool:
        """Is there nothing that may still happen?"""
        return all(map(self._is_settled, self._plan.names)) and not self.goes_on

    def next_turn(self) -> Turn:
        """The loop's next turn."""
        backs = {e: t for e, t in self.tokens.items() if self._plan.is_back(e)}
        kept = {edge: list(found) for edge, found in self._turn.kept.items()}
        for name in self._plan.loop:
            for edge in self._plan.out_of(name):
                if self._plan.is_exit(edge):
                    kept.setdefault(edge, []).append(self._token(edge))
        return Turn(self._turn.number + 1, backs, kept)

    def supports(self, name: str) -> bool:
        """Would the node run, with these tokens?"""
        return self._decide(name) == LIVE

    def _is_settled(self, name: str) -> bool:
        awaited, _ = self._awaited(name)
        return name in self._ends and all(edge in self._brought for edge in awaited)

    @property
    def _brought(self) -> Mapping[int, str]:
        """The tokens that have come to their targets; what is on a back edge is for later."""
        found = {e: t for e, t in self.tokens.items() if not self._plan.is_back(e)}
        return {**found, **self._turn.back} if self._turn.number > 1 else found

    def _grow(self) -> bool:
        """Take one more step; False if there is none."""
        before = len(self.tokens), len(self._ends), len(self.fires)
        has_loop_ended = self.is_turn_over and not self.goes_on
        for name in self._ends:
            for edge in self._plan.out_of(name):
                if not self._plan.is_exit(edge):
                    self.tokens[edge] = self._token(edge)
                elif has_loop_ended:
                    brought = [*self._turn.kept.get(edge, ()), self._token(edge)]
                    self.tokens[edge] = latest(brought)
        for name in self._plan.names:
            decision = None if name in self._ends else self._decide(name)
            if decision == LIVE:
                self.fires.add(name)
            elif decision is not None:
                self.skips[name] = decision
                self._ends[name] = dead(decision)
        return before != (len(self.tokens), len(self._ends), len(self.fires))

    def _token(self, edge: int) -> str:
        source, port, _ = self._plan.edges[edge]
        end = self._ends[source]
        is_taken = port in end.ports if end.edge is None else edge == end.edge
        return LIVE if is_taken else end.otherwise

    def _awaited(self, name: str) -> tuple[list[int], list[int]]:
        """The edges that bring a token in this turn, and those whose token stays from before."""
        plan, edges = self._plan, self._plan.into(name)
        is_later = self._turn.number > 1 and name in plan.loop
        forward = [edge for edge in edges if not plan.is_back(edge)]
        if is_later and name == plan.header:
            return [edge for edge in edges if plan.is_back(edge)], forward
        entering = [edge for edge in forward if plan.edges[edge][0] not in plan.loop]
        if is_later:
            return [edge for edge in forward if edge not in entering], entering
        return forward, []

    def _decide(self, name: str) -> str | None:
        """LIVE: it runs; a reason: it is skipped; None: that is open."""
        awaited, sticky = self._awaited(name)
        if not self._plan.into(name):
            return LIVE
        brought = self._brought
        here = {edge: brought[edge] for edge in awaited if edge in brought}
        if name in self._plan.any_joins and LIVE in here.values():
            return LIVE
        if len(here) < len(awaited):
            return None
        if FAILED in here.values() or any(brought.get(edge) == FAILED for edge in sticky):
            return FAILED
        guards = self._plan.guards & here.keys()
        is_held = guards and all(here[edge] != LIVE for edge in guards)
        is_later_header = self._turn.number > 1 and name == self._plan.header
        if LIVE in here.values() and (is_later_header or not is_held):
            return LIVE
        return min((t for t in here.values() if t != LIVE), key=RANK.index, default=NOT_TAKEN)


def latest(tokens: list[str]) -> str:
    """What an exit brings: the latest live token, else a failed one, else a dead one."""
    for kind in (LIVE, FAILED):
        if kind in tokens:
            return kind
    return tokens[-1]
