"""A diagram reduced to what readiness depends on: kinds of nodes, edges, joins and limits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

Kind = Literal["start", "plain", "condition", "endpoint"]
Port = Literal["default", "condtrue", "condfalse"]
Edge = tuple[int, Port, int]
"""(source, port of the source, target)"""
Join = str | int
"""`ALL`, `ANY`, `FIRST`, or the k of K_OF_N."""
Script = Mapping[int, tuple[bool, ...]]
"""What each condition answers, occurrence by occurrence; the last answer repeats."""

_KIND_OF_INITIAL: dict[str, Kind] = {"s": "start", "c": "condition", "e": "endpoint"}
_PORT_OF_SUFFIX: dict[str, Port] = {"": "default", "t": "condtrue", "f": "condfalse"}


@dataclass(frozen=True)
class Sketch:
    """Nodes are numbers in file order, edges are numbers in file order; starts have no in-edges."""

    kinds: tuple[Kind, ...]
    edges: tuple[Edge, ...]
    joins: tuple[Join, ...]
    limits: tuple[int | None, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raise ValueError where the sketch is no diagram the rules speak of."""
        for source, port, target in self.edges:
            if self.kinds[target] == "start":
                raise ValueError(f"an edge leads into start {self.names[target]!r}")
            if (port == "default") is (self.kinds[source] == "condition"):
                raise ValueError(f"{self.names[source]!r} has no port {port!r}")
        if any(limit is not None and limit < 1 for limit in self.limits):
            raise ValueError("a limit is at least 1")

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        limits: Mapping[str, int] | None = None,
        joins: Mapping[str, Join] | None = None,
    ) -> Self:
        """Read `s -> h -> c; c.f -> h; c.t -> e`: chains, with a condition's port after a dot.

        The initial tells the kind: s start, c condition, e endpoint, anything else plain.
        """
        names: list[str] = []
        edges: list[Edge] = []
        for chain in text.split(";"):
            stops = [stop.strip().partition(".") for stop in chain.split("->")]
            names = list(dict.fromkeys([*names, *(name for name, _, _ in stops)]))
            for (source, _, suffix), (target, _, _) in itertools.pairwise(stops):
                port = _PORT_OF_SUFFIX[suffix]
                edges.append((names.index(source), port, names.index(target)))
        limits, joins = limits or {}, joins or {}
        if unknown := (limits.keys() | joins.keys()) - set(names):
            raise ValueError(f"limits or joins of nodes that are not in the text: {unknown}")
        return cls(
            kinds=tuple(_KIND_OF_INITIAL.get(name[0], "plain") for name in names),
            edges=tuple(edges),
            joins=tuple(joins.get(name, "ALL") for name in names),
            limits=tuple(limits.get(name) for name in names),
            names=tuple(names),
        )

    def script(self, **answers: str) -> Script:
        """Turn `script(c="FFT")` into the answers of the node of that name."""
        return {
            self.names.index(name): tuple(letter == "T" for letter in letters)
            for name, letters in answers.items()
        }

    def edges_into(self, node: int) -> list[int]:
        """Give the numbers of the edges that end at the node, in file order."""
        return [edge for edge, (_, _, target) in enumerate(self.edges) if target == node]

    def edges_out_of(self, node: int) -> list[int]:
        """Give the numbers of the edges that begin at the node, in file order."""
        return [edge for edge, (source, _, _) in enumerate(self.edges) if source == node]

    def __str__(self) -> str:
        """Print the sketch so that `parse` can read it back, followed by joins and limits."""
        suffix = {"default": "", "condtrue": ".t", "condfalse": ".f"}
        text = "; ".join(
            f"{self.names[source]}{suffix[port]} -> {self.names[target]}"
            for source, port, target in self.edges
        )
        joins = {n: j for n, j in zip(self.names, self.joins, strict=True) if j != "ALL"}
        limits = {n: m for n, m in zip(self.names, self.limits, strict=True) if m}
        return f"{text} joins={joins} limits={limits}"
