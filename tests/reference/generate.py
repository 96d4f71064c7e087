"""Diagrams with scripts to compare implementations on: all small ones, and larger random ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, combinations_with_replacement, permutations, product

from tests.reference.loops import LoopForest
from tests.reference.sketch import Edge, Join, Kind, Port, Script, Sketch

INNER_KINDS: tuple[Kind, ...] = ("plain", "condition", "endpoint")
JOINS: tuple[Join, ...] = ("ALL", "ANY", "FIRST", 2)
PORTS_OF_KIND: dict[Kind, tuple[Port, ...]] = {
    "start": ("default",),
    "plain": ("default",),
    "condition": ("condtrue", "condfalse"),
    "endpoint": (),
}
ONE_ANSWER = ((True,), (False,))
THREE_ANSWERS = tuple(product((True, False), repeat=3))
"""As the last answer repeats, these include all shorter scripts."""


def exhaustive(
    inner: int, *, edges_per_port: int = 2, max_edges: int = 5
) -> Iterator[tuple[Sketch, Script]]:
    """Give every diagram of a start and `inner` nodes, with every join and every script.

    Each port leads to at most `edges_per_port` nodes, the start to at least one, and all ports
    together have at most `max_edges` edges. Left out is what makes no difference: a relabelling
    of the inner nodes, a join on fewer than two edges, a second answer of a condition outside
    loops, any answer of one that nobody hears.
    """
    for inner_kinds in combinations_with_replacement(INNER_KINDS, inner):
        kinds: tuple[Kind, ...] = ("start", *inner_kinds)
        seen: set[frozenset[Edge]] = set()
        for edges in edge_sets(kinds, edges_per_port):
            if len(edges) <= max_edges and edges not in seen:
                seen |= relabellings(kinds, edges)
                yield from joined_and_scripted(unjoined(kinds, sorted(edges)))


def edge_sets(kinds: tuple[Kind, ...], edges_per_port: int) -> Iterator[frozenset[Edge]]:
    """Give every way to lead the ports of these nodes, the first of them a start, to the others."""
    targets = range(1, len(kinds))
    fans = [fan for size in range(edges_per_port + 1) for fan in combinations(targets, size)]
    ports = [(node, port) for node, kind in enumerate(kinds) for port in PORTS_OF_KIND[kind]]
    for chosen in product(fans, repeat=len(ports)):
        if chosen[0]:
            yield frozenset(
                (node, port, target)
                for (node, port), fan in zip(ports, chosen, strict=True)
                for target in fan
            )


def relabellings(kinds: tuple[Kind, ...], edges: frozenset[Edge]) -> set[frozenset[Edge]]:
    """Give the same edges under every renumbering of nodes that keeps their kinds."""
    return {
        frozenset((to[source], port, to[target]) for source, port, target in edges)
        for to in permutations(range(len(kinds)))
        if all(kinds[to[node]] == kind for node, kind in enumerate(kinds))
    }


def unjoined(kinds: tuple[Kind, ...], edges: list[Edge]) -> Sketch:
    """Make a sketch without limits in which every node joins ALL."""
    count = len(kinds)
    names = tuple(f"{kind[0]}{node}" for node, kind in enumerate(kinds))
    return Sketch(kinds, tuple(edges), ("ALL",) * count, (None,) * count, names)


def joined_and_scripted(sketch: Sketch) -> Iterator[tuple[Sketch, Script]]:
    """Give the sketch with every combination of joins and answers that can make a difference."""
    forest = LoopForest(sketch)
    nodes = range(len(sketch.kinds))
    in_degrees = [len(forest.edges.intersection(sketch.edges_into(node))) for node in nodes]
    joins = [JOINS if degree > 1 else ("ALL",) for degree in in_degrees]
    answers = {
        node: answers_worth_asking(forest, node)
        for node in nodes
        if sketch.kinds[node] == "condition"
    }
    for chosen in product(*joins):
        for script in product(*answers.values()):
            yield replace(sketch, joins=chosen), dict(zip(answers, script, strict=True))


def answers_worth_asking(forest: LoopForest, node: int) -> tuple[tuple[bool, ...], ...]:
    """Give the scripts of a condition: one if nobody hears it, two if it runs once at most."""
    if node not in forest.reachable or not forest.sketch.edges_out_of(node):
        return ((True,),)
    return THREE_ANSWERS if forest.loops_holding[node] else ONE_ANSWER


def random_sketch(rng: random.Random, max_nodes: int, *, joins_all: bool) -> tuple[Sketch, Script]:
    """Give a diagram of 2 to `max_nodes` nodes with branches, loops in loops and limits.

    Every node but the start hangs on an earlier one (rarely: on none, so it is unreachable);
    further edges lead anywhere, so about half of them close a loop.
    """
    count = rng.randint(2, max_nodes)
    weights = {"plain": 5, "condition": 4, "endpoint": 2}
    inner = rng.choices(INNER_KINDS, [weights[kind] for kind in INNER_KINDS], k=count - 1)
    kinds: tuple[Kind, ...] = ("start", *inner)
    ranks = [0, *rng.sample(range(1, count), count - 1)]
    edges: dict[Edge, None] = {}

    def connect(sources: list[int], target: int) -> None:
        source = rng.choice([node for node in sources if kinds[node] != "endpoint"])
        edges[source, rng.choice(PORTS_OF_KIND[kinds[source]]), target] = None

    for rank in range(1, count):
        if rng.random() < 0.97:
            connect(ranks[:rank], ranks[rank])
    for _ in range(rng.randint(0, count + 1)):
        connect(ranks, rng.randrange(1, count))
    sketch = unjoined(kinds, list(edges))
    limits = tuple(rng.randint(1, 3) if rng.random() < 0.2 else None for _ in kinds)
    if not joins_all:
        sketch = replace(
            sketch, joins=tuple(random_join(rng, sketch, node) for node in range(count))
        )
    script = {
        node: tuple(rng.random() < 0.5 for _ in range(rng.randint(1, 3)))
        for node, kind in enumerate(kinds)
        if kind == "condition"
    }
    return replace(sketch, limits=limits), script


def random_join(rng: random.Random, sketch: Sketch, node: int) -> Join:
    """Give ALL as often as all others together, and a k only as far as there are edges."""
    edges = len(sketch.edges_into(node))
    return (
        rng.choice(("ALL", "ALL", "ALL", "ANY", "FIRST", rng.randint(2, edges)))
        if edges > 1
        else "ALL"
    )


def random_failures(rng: random.Random, sketch: Sketch) -> frozenset[tuple[int, int]]:
    """Give up to three (node, occurrence) that fail, first occurrences more often than others."""
    nodes = range(len(sketch.kinds))
    return frozenset(
        (rng.choice(nodes), rng.choice((1, 1, 2, 3))) for _ in range(rng.randint(0, 3))
    )
