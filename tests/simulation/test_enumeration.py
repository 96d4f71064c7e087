"""The execution rule on every small diagram: the machine against the reference interpreter.

`make sim` runs all diagrams with up to two inner nodes and a seeded share of the larger ones, and
says which share; SIM_FULL=1 runs them all, which takes some nine hours on two cores. SEED chooses
another share.
"""

from __future__ import annotations

import os
import time
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
from tests.reference.lockstep import Rules
from tests.reference.shapes import (
    Size,
    sketches,
)
from tests.simulation.conftest import Figures
from tests.simulation.mutants import MUTANTS, rules_of, unchanged_rules

SEED = int(os.environ.get("SEED") or 2026)
IS_FULL = os.environ.get("SIM_FULL") == "1"
WORKERS = min(2, os.cpu_count() or 1)
WHOLE_UP_TO = 5
"""Edges: shapes with no more are all run, whatever their number."""
EASY_UP_TO = 8
"""Edges: diagrams with more have a thousand scripts and more."""
QUOTA, HARD_QUOTA = 60, 16
"""Shapes that are run of each other stratum: of the easy ones, and of the hard ones."""
PROGRESS_SECONDS = 30.0

SMALL = [stratum for size in SIZES[:2] for stratum in strata(size)]


def some(stratum: Stratum) -> list[Entry]:
    """What of a stratum is run."""
    if IS_FULL or stratum.size.inner <= 2 or stratum.edges <= WHOLE_UP_TO:
        return stratum.sample(None, SEED)
    return stratum.sample(QUOTA if stratum.edges <= EASY_UP_TO else HARD_QUOTA, SEED)


def table(counted: dict[Size, Tally], existing: dict[Size, int]) -> dict[str, str]:
    """The report, a line for each size."""
    heads = ("shapes", "run", "share", "diagrams", "scripts", "runs", "visits", "replays", "wrong")
    lines: dict[str, tuple[str, ...]] = {"a port leads to at most so many nodes": heads}
    for size, tally in counted.items():
        counts = (tally.diagrams, tally.scripts, tally.runs, tally.steps, tally.replays)
        lines[str(size)] = (
            f"{existing[size]:,}",
            f"{tally.shapes:,}",
            f"{tally.shapes / existing[size]:.1%}",
            *(f"{count:,}" for count in counts),
            f"{len(tally.disagreements)}",
        )
    return {name: "".join(f"{cell:>11}" for cell in cells) for name, cells in lines.items()}


@pytest.mark.slow
@pytest.mark.timeout(24 * 3600)
def test_the_machine_runs_small_diagrams_as_the_reference_does(
    capsys: pytest.CaptureFixture[str], figures: Figures
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
    figures("small diagrams: the machine and the reference", table(counted, existing))
    assert [found for tally in counted.values() for found in tally.disagreements] == []
    for size in SIZES[:2]:
        assert counted[size].shapes == existing[size]


def test_a_slice_of_small_diagrams_runs_as_in_the_reference() -> None:
    for stratum in SMALL:
        tally = check(stratum.sample(3, SEED))
        assert tally.disagreements == []
        assert tally.runs > 0


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


def test_every_wrong_rule_is_noticed(tmp_path: Path, figures: Figures) -> None:
    noticed: dict[str, str] = {}
    for mutant in MUTANTS:
        found = first_disagreement(rules_of(mutant, tmp_path))
        assert found is not None, f"no diagram with two inner nodes shows that {mutant.name}"
        assert found.startswith("s -> ")
        noticed[mutant.name] = found.partition(" limits=")[0].removesuffix(" joins={}")
    figures("wrong rules, and the smallest diagram that shows each", noticed)


def test_a_copy_of_the_rule_is_no_mutant(tmp_path: Path) -> None:
    rules = unchanged_rules(tmp_path)
    for stratum in SMALL[:8]:
        assert check(stratum.sample(4, SEED), rules).disagreements == []
