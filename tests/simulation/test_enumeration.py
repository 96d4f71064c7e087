"""The execution rule on every small diagram: the machine against the reference interpreter.

`make sim` runs all diagrams with up to two inner nodes and a seeded share of the larger ones, and
says which share; SIM_FULL=1 runs them all, which takes hours. SEED chooses another share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

import pytest

from tests.reference.enumeration import (
    SIZES,
    Batch,
    Entry,
    Stratum,
    Tally,
    batches,
    check,
    run_all,
    strata,
)
from tests.reference.exploring import Explorer
from tests.reference.generate import edge_sets
from tests.reference.lockstep import Rules
from tests.reference.shapes import (
    Fans,
    Shape,
    Size,
    all_fans,
    choices_of_headers,
    headers_of,
    kinds_of,
    relabelled,
    relabellings,
    shapes,
    sketch_of,
    sketches,
)
from tests.reference.sketch import Edge, Kind
from tests.simulation.mutants import MUTANTS, Mutant, rules_of, unchanged_rules

SEED = int(os.environ.get("SEED") or 2026)
IS_FULL = os.environ.get("SIM_FULL") == "1"
WORKERS = min(2, os.cpu_count() or 1)
WHOLE_UP_TO = 6
"""Edges: shapes with no more are all run, whatever their number."""
QUOTA = 40
"""Shapes that are run of each larger stratum."""
PROGRESS_SECONDS = 30.0

SMALL = [stratum for size in SIZES[:2] for stratum in strata(size)]


def some(stratum: Stratum) -> list[Entry]:
    """What of a stratum is run."""
    is_whole = IS_FULL or stratum.size.inner <= 2 or stratum.edges <= WHOLE_UP_TO
    return stratum.sample(None if is_whole else QUOTA, SEED)


def table(counted: dict[Size, Tally], existing: dict[Size, int]) -> Iterator[str]:
    """The report, a line for each size."""
    yield (
        f"{'size':>19} {'shapes':>7} {'run':>7} {'share':>7} {'diagrams':>9} {'scripts':>11} "
        f"{'runs':>10} {'visits':>11} {'replays':>8} {'disagreements':>13}"
    )
    for size, tally in counted.items():
        share = f"{tally.shapes / existing[size]:.1%}"
        yield (
            f"{size!s:>19} {existing[size]:>7,} {tally.shapes:>7,} {share:>7} "
            f"{tally.diagrams:>9,} {tally.scripts:>11,} {tally.runs:>10,} {tally.steps:>11,} "
            f"{tally.replays:>8,} {len(tally.disagreements):>13}"
        )


@pytest.mark.slow
@pytest.mark.timeout(24 * 3600)
def test_the_machine_runs_small_diagrams_as_the_reference_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counted = {size: Tally() for size in SIZES}
    existing = dict.fromkeys(SIZES, 0)
    work: list[Batch] = []
    for stratum in (stratum for size in SIZES for stratum in strata(size)):
        existing[stratum.size] += len(stratum.shapes)
        work += batches(stratum, some(stratum))
    work.sort(key=lambda batch: -batch.edges)  # The long ones first, so that none is left over.
    told = time.monotonic()
    for done, (size, _, tally) in enumerate(run_all(work, WORKERS), start=1):
        counted[size].add(tally)
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            with capsys.disabled():
                print(f"\nenumeration: {done} of {len(work)} batches", end="", flush=True)
    with capsys.disabled():
        print("\n\n" + "\n".join(table(counted, existing)), flush=True)
    assert [found for tally in counted.values() for found in tally.disagreements] == []
    for size in SIZES[:2]:
        assert counted[size].shapes == existing[size]


def test_a_slice_of_small_diagrams_runs_as_in_the_reference() -> None:
    for stratum in SMALL:
        tally = check(stratum.sample(3, SEED))
        assert tally.disagreements == []
        assert tally.runs > 0


# The enumeration itself: nothing is left out, nothing comes twice.


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
        ports = {
            "start": ["default"],
            "plain": ["default"],
            "condition": ["condtrue", "condfalse"],
        }.get(kind, [])
        masks = [
            sum(1 << (to - 1) for source, out, to in edges if (source, out) == (node, port))
            for port in ports
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
        for shape, _ in stratum.sample(12, SEED):
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


def test_states_that_are_one_hide_no_script() -> None:
    for stratum in SMALL[:-6]:
        for shape, same in stratum.sample(6, 1):
            for sketch in sketches(shape, same):
                merged = Explorer(sketch, min).walk()
                plain = Explorer(sketch, min, merges=False).walk()
                assert merged.scripts == plain.scripts == plain.runs
                ends = {verdict(end.reference.outcome().nodes) for end in plain.ends}
                assert {verdict(end.reference.outcome().nodes) for end in merged.ends} == ends


def verdict(nodes: tuple[object, ...]) -> tuple[object, ...]:
    """What became of each node, apart from the values."""
    fields = ("status", "reason", "executed", "maxiter")
    return tuple(tuple(getattr(node, name) for name in fields) for node in nodes)


def test_in_every_completion_order_the_machine_follows_the_reference() -> None:
    for stratum in SMALL:
        for shape, same in stratum.sample(2, SEED):
            for sketch in sketches(shape, same):
                explored = Explorer(sketch, None).walk()
                if all(join == "ALL" for join in sketch.joins):
                    by_script: dict[str, set[str]] = {}
                    for end in explored.ends:
                        outcome = repr(end.reference.outcome())
                        by_script.setdefault(repr(sorted(end.answers.items())), set()).add(outcome)
                    assert {len(outcomes) for outcomes in by_script.values()} == {1}, sketch


# The check notices a wrong rule.


def first_disagreement(rules: Rules) -> str | None:
    """On the smallest diagram there is."""
    for stratum in SMALL:
        if found := check(stratum.shapes, rules, stops=True).disagreements:
            return found[0]
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_rule_is_noticed(
    mutant: Mutant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = first_disagreement(rules_of(mutant, tmp_path))
    assert found is not None, "the machine is wrong, and no diagram with two inner nodes shows it"
    assert found.startswith("s -> ")
    with capsys.disabled():
        print(f"\n{mutant.name}: {found[:200]}", end="")


def test_a_copy_of_the_rule_is_no_mutant(tmp_path: Path) -> None:
    rules = unchanged_rules(tmp_path)
    for stratum in SMALL[:8]:
        assert check(stratum.sample(4, SEED), rules).disagreements == []
