"""The enumeration of small diagrams leaves nothing out, and takes for one what is the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import pytest

from tests.reference.enumeration import SIZES, strata
from tests.reference.exploring import Explorer
from tests.reference.generate import PORTS_OF_KIND, edge_sets
from tests.reference.shapes import (
    Fans,
    Shape,
    Size,
    all_fans,
    choices_of_headers,
    headers_of,
    is_reached,
    kinds_of,
    relabelled,
    relabellings,
    shapes,
    sketch_of,
    sketches,
)
from tests.reference.sketch import Edge, Kind, Port, Sketch

SMALL = [stratum for size in SIZES[:2] for stratum in strata(size)]
SWAPPED: dict[Port, Port] = {
    "condtrue": "condfalse",
    "condfalse": "condtrue",
    "default": "default",
}

Verdict = tuple[tuple[object, ...], ...]


def test_there_are_as_many_shapes_as_orbits() -> None:
    for size, only_reached in product([*SIZES[:2], Size(3, 1)], [True, False]):
        for kinds in kinds_of(size):
            found = [shape.fans for shape, _ in shapes(kinds, size.fan, only_reached=only_reached)]
            everything = set(all_fans(kinds, size.fan))
            if only_reached:
                everything = {fans for fans in everything if reaches_all(Shape(kinds, fans))}
            orbits = {
                frozenset(relabelled(fans, way) for way in relabellings(kinds))
                for fans in everything
            }
            assert len(found) == len(set(found)) == len(orbits)
            assert {min(orbit) for orbit in orbits} == set(found)


def test_the_orbits_are_counted_as_burnside_counts_them() -> None:
    for kinds in kinds_of(Size(3, 2)):
        ways = relabellings(kinds)
        everything: list[Fans] = list(all_fans(kinds, 1))
        fixed = sum(relabelled(fans, way) == fans for fans in everything for way in ways)
        count = sum(1 for _ in shapes(kinds, 1, only_reached=False))
        assert fixed == count * len(ways)


def test_every_diagram_has_a_shape_whatever_its_ports_are_called() -> None:
    for kinds in kinds_of(Size(2, 2)):
        found = {shape.fans for shape, _ in shapes(kinds, 2, only_reached=False)}
        for edges in edge_sets(("start", *kinds), 2):
            fans = fans_of(kinds, edges)
            assert min(relabelled(fans, way) for way in relabellings(kinds)) in found


def fans_of(kinds: tuple[Kind, ...], edges: frozenset[Edge]) -> Fans:
    """The edges of a sketch as fans, its ports in ascending order."""
    fans: list[tuple[int, ...]] = []
    for node, kind in enumerate(("start", *kinds)):
        masks = [
            sum(1 << (to - 1) for source, out, to in edges if (source, out) == (node, port))
            for port in PORTS_OF_KIND[kind]
        ]
        fans.append(tuple(sorted(masks)))
    return tuple(fans)


def reaches_all(shape: Shape) -> bool:
    """Is every node reached, by following one edge after the other?"""
    found = {0}
    for _ in shape.kinds:
        found |= {
            target + 1
            for node in found
            for mask in shape.fans[node]
            for target in range(len(shape.kinds))
            if mask >> target & 1
        }
    return len(found) == len(shape.kinds) + 1


def test_every_order_of_the_file_is_among_the_choices_of_headers() -> None:
    ambiguous = 0
    for stratum in [*SMALL, *strata(Size(3, 1))]:
        for shape, _ in stratum.sample(12, 7):
            found = [headers for headers, _ in choices_of_headers(shape)]
            orders = permutations(range(len(shape.kinds)))
            assert set(found) == {headers_of(sketch_of(shape, order)) for order in orders}
            assert len(found) == len(set(found))
            ambiguous += len(found) > 1
    assert ambiguous > 10


def test_no_diagram_comes_twice() -> None:
    for stratum in SMALL:
        for shape, same in stratum.shapes:
            texts = [str(sketch) for sketch in sketches(shape, same)]
            assert len(texts) == len(set(texts))


def verdicts(explorer: Explorer) -> set[Verdict]:
    """What can become of the nodes, in the order of their names and apart from the values."""
    sketch = explorer.root.sketch
    by_name = sorted(range(len(sketch.names)), key=lambda node: sketch.names[node])
    fields = ("status", "reason", "executed", "maxiter")
    found = set()
    for end in explorer.explored.ends:
        nodes = end.reference.outcome().nodes
        found.add(tuple(tuple(getattr(nodes[node], name) for name in fields) for node in by_name))
    return found


def walked(sketch: Sketch, *, merges: bool = True) -> Explorer:
    explorer = Explorer(sketch, min, merges=merges)
    explorer.walk()
    return explorer


def test_states_that_are_one_hide_no_script() -> None:
    for stratum in SMALL[:-6]:
        for shape, same in stratum.sample(4, 1):
            for sketch in sketches(shape, same):
                merged, plain = walked(sketch), walked(sketch, merges=False)
                assert merged.explored.scripts == plain.explored.scripts == plain.explored.runs
                assert verdicts(merged) == verdicts(plain)


def swapped(sketch: Sketch) -> Sketch:
    """The sketch with the ports of its conditions named the other way round."""
    edges = ((source, SWAPPED[port], target) for source, port, target in sketch.edges)
    return replace(sketch, edges=tuple(sorted(edges)))


@pytest.mark.parametrize("size, quota", [(Size(2, 2), 2), (Size(3, 1), 1)], ids=str)
def test_the_order_of_the_file_and_the_names_of_ports_change_no_run(size: Size, quota: int) -> None:
    for shape, _ in (entry for stratum in strata(size) for entry in stratum.sample(quota, 7)):
        expected: dict[object, tuple[int, set[Verdict]]] = {}
        for order in permutations(range(len(shape.kinds))):
            sketch = sketch_of(shape, order)
            for twin in (sketch, swapped(sketch)):
                explorer = walked(twin)
                seen = (explorer.explored.scripts, verdicts(explorer))
                assert expected.setdefault(headers_of(sketch), seen) == seen, str(twin)


def test_nodes_that_no_start_reaches_change_no_run() -> None:
    for kinds in kinds_of(Size(3, 1)):
        unreached = [
            shape
            for shape, _ in shapes(kinds, 1, only_reached=False)
            if not is_reached(shape.fans, len(kinds))
        ]
        for shape in unreached[::41]:
            sketch = sketch_of(shape, (0, 1, 2))
            nodes = sorted(walked(sketch).root.reference.forest.reachable)
            less = walked(without_others(sketch, nodes))
            full = walked(sketch)
            assert full.explored.scripts == less.explored.scripts
            skipped = ("SKIPPED", "unreachable", 0, 0)
            assert {
                tuple(node for node in verdict if node != skipped) for verdict in verdicts(full)
            } == verdicts(less)


def without_others(sketch: Sketch, nodes: list[int]) -> Sketch:
    """The sketch with no other nodes than these, and no edges of others."""
    place = {node: index for index, node in enumerate(nodes)}
    return Sketch(
        kinds=tuple(sketch.kinds[node] for node in nodes),
        edges=tuple((place[a], port, place[b]) for a, port, b in sketch.edges if a in place),
        joins=tuple(sketch.joins[node] for node in nodes),
        limits=tuple(sketch.limits[node] for node in nodes),
        names=tuple(sketch.names[node] for node in nodes),
    )
