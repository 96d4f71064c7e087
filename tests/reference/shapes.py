"""Every small diagram once: shapes up to relabelling, and the sketches each of them stands for.

A shape says which nodes there are and where each port leads. Two diagrams that differ in the
names of nodes, or in which port of a condition is called true, are one shape: the rules know
neither, and every script is run with every script that answers the other way round. What the
rules do know is the order of the file, where a loop has several entries that rank alike; a shape
gives a sketch for each choice of headers that some order of the file leads to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, combinations_with_replacement, permutations, product

from tests.reference.generate import INNER_KINDS, PORTS_OF_KIND
from tests.reference.loops import LoopForest
from tests.reference.sketch import Edge, Join, Kind, Sketch

Fans = tuple[tuple[int, ...], ...]
"""Of the start and of every inner node: where each of its ports leads, as a set of bits (inner
node n is bit n). The two of a condition are in ascending order."""
Relabelling = tuple[int, ...]
"""Inner node → inner node."""
Headers = frozenset[tuple[frozenset[int], int]]
"""The core of every loop, and where its turns begin."""

JOINS: tuple[Join, ...] = ("ALL", "ANY")


@dataclass(frozen=True)
class Size:
    """A set of diagrams: a start and `inner` nodes, each port leading to at most `fan` of them."""

    inner: int
    fan: int

    def __str__(self) -> str:
        """Print it for a table."""
        return f"start + {self.inner}, {self.fan} a port"


@dataclass(frozen=True)
class Shape:
    """A diagram without names, order and joins."""

    kinds: tuple[Kind, ...]
    """Of the inner nodes, in the order of INNER_KINDS."""
    fans: Fans

    @property
    def edge_count(self) -> int:
        """How many edges there are."""
        return sum(fan.bit_count() for node in self.fans for fan in node)


def kinds_of(size: Size) -> Iterator[tuple[Kind, ...]]:
    """Every choice of inner nodes, whatever their order."""
    return combinations_with_replacement(INNER_KINDS, size.inner)


def shapes(
    kinds: tuple[Kind, ...], fan: int, *, only_reached: bool = True
) -> Iterator[tuple[Shape, list[Relabelling]]]:
    """Every shape of these nodes once, with the relabellings that leave it as it is.

    Of all its relabellings the one whose fans sort first stands for a shape. Without
    `only_reached` there are also those with nodes that no start reaches, which rule 1 drops.
    """
    ways = relabellings(kinds)
    for fans in all_fans(kinds, fan):
        if only_reached and not is_reached(fans, len(kinds)):
            continue
        same: list[Relabelling] = []
        for way in ways:
            image = relabelled(fans, way)
            if image < fans:
                break
            if image == fans:
                same.append(way)
        else:
            yield Shape(kinds, fans), same


def all_fans(kinds: tuple[Kind, ...], fan: int) -> Iterator[Fans]:
    """Every way to lead the ports; the start leads somewhere."""
    masks = [
        sum(1 << node for node in chosen)
        for size in range(fan + 1)
        for chosen in combinations(range(len(kinds)), size)
    ]
    choices: list[list[tuple[int, ...]]] = [[(mask,) for mask in masks if mask]]
    for kind in kinds:
        ports = len(PORTS_OF_KIND[kind])
        choices.append(list(combinations_with_replacement(sorted(masks), ports)))
    return product(*choices)


def relabellings(kinds: tuple[Kind, ...]) -> list[Relabelling]:
    """Every renumbering of the inner nodes that keeps their kinds."""
    return [
        way
        for way in permutations(range(len(kinds)))
        if all(kinds[to] == kind for to, kind in zip(way, kinds, strict=True))
    ]


def relabelled(fans: Fans, way: Relabelling) -> Fans:
    """The same diagram with its inner nodes renumbered."""
    moved = _moved_masks(way)
    inner: list[tuple[int, ...]] = [()] * len(way)
    for node, ports in enumerate(fans[1:]):
        if len(ports) > 1:
            ports = tuple(sorted([moved[mask] for mask in ports]))
        elif ports:
            ports = (moved[ports[0]],)
        inner[way[node]] = ports
    return ((moved[fans[0][0]],), *inner)


@cache
def _moved_masks(way: Relabelling) -> tuple[int, ...]:
    return tuple(
        sum(1 << to for node, to in enumerate(way) if mask >> node & 1)
        for mask in range(1 << len(way))
    )


def is_reached(fans: Fans, inner: int) -> bool:
    """Is there a way from the start to every node?"""
    found = fresh = fans[0][0]
    while fresh:
        reached = 0
        for node in range(inner):
            if fresh >> node & 1:
                for mask in fans[node + 1]:
                    reached |= mask
        fresh = reached & ~found
        found |= reached
    return found == (1 << inner) - 1


def sketches(shape: Shape, same: list[Relabelling]) -> Iterator[Sketch]:
    """Every diagram of that shape that can run differently: headers chosen by the file, joins.

    A node with fewer than two edges has one join. What only a relabelling from `same` tells
    apart comes once.
    """
    seen: set[tuple[Headers, tuple[Join, ...]]] = set()
    for headers, plain in choices_of_headers(shape):
        degrees = in_degrees(shape)
        for joins in product(*(JOINS if degree > 1 else JOINS[:1] for degree in degrees)):
            if (headers, joins) in seen:
                continue
            seen.update((_moved(headers, way), _placed(joins, way)) for way in same)
            yield with_joins(plain, joins)


def in_degrees(shape: Shape) -> list[int]:
    """How many edges lead into each inner node."""
    masks = [mask for node in shape.fans for mask in node]
    return [sum(mask >> node & 1 for mask in masks) for node in range(len(shape.kinds))]


def choices_of_headers(shape: Shape) -> Iterator[tuple[Headers, Sketch]]:
    """Every choice of headers that the order of the file can lead to, with such a file."""
    identity = tuple(range(len(shape.kinds)))
    sketch = sketch_of(shape, identity)
    headers = headers_of(sketch)
    yield headers, sketch
    if headers_of(sketch_of(shape, identity[::-1])) == headers:
        return  # The first in the file is the last in the file: no two entries rank alike.
    seen = {headers}
    for order in permutations(identity):
        sketch = sketch_of(shape, order)
        headers = headers_of(sketch)
        if headers not in seen:
            seen.add(headers)
            yield headers, sketch


def sketch_of(shape: Shape, order: tuple[int, ...]) -> Sketch:
    """The shape as a file that has the inner nodes in this order; every node joins ALL."""
    place = {node: index for index, node in enumerate(order, start=1)}
    kinds: tuple[Kind, ...] = ("start", *(shape.kinds[node] for node in order))
    sources = [0, *(place[node] for node in range(len(order)))]
    edges: list[Edge] = [
        (source, port, place[target])
        for source, masks in zip(sources, shape.fans, strict=True)
        for port, mask in zip(PORTS_OF_KIND[kinds[source]], masks, strict=True)
        for target in range(len(order))
        if mask >> target & 1
    ]
    names = ("s", *(f"{shape.kinds[node][0]}{node + 1}" for node in order))
    count = len(kinds)
    return Sketch(kinds, tuple(sorted(edges)), ("ALL",) * count, (None,) * count, names)


def with_joins(sketch: Sketch, joins: tuple[Join, ...]) -> Sketch:
    """The sketch with a join for each inner node of its shape."""
    return replace(sketch, joins=("ALL", *(joins[_inner(name)] for name in sketch.names[1:])))


def _inner(name: str) -> int:
    """Which inner node of its shape the node of a sketch is; its name tells."""
    return int(name[1:]) - 1


def headers_of(sketch: Sketch) -> Headers:
    """Where the turns of each loop begin, in the numbers of the shape."""
    inner = [-1, *(_inner(name) for name in sketch.names[1:])]
    return frozenset(
        (frozenset(inner[node] for node in loop.core), inner[loop.header])
        for loop in LoopForest(sketch).loops
        if loop.header is not None
    )


def _moved(headers: Headers, way: Relabelling) -> Headers:
    return frozenset((frozenset(way[node] for node in core), way[head]) for core, head in headers)


def _placed(joins: tuple[Join, ...], way: Relabelling) -> tuple[Join, ...]:
    placed = list(joins)
    for node, join in enumerate(joins):
        placed[way[node]] = join
    return tuple(placed)
