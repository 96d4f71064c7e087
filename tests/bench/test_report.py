"""What is measured is told as it is: ratios, goals, and who could not take part."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench import field, goals, table
from bench.growth import Growth
from bench.measure import Figures, Results
from bench.stored import PARTS, BigStore

ROOT = Path(__file__).parents[2]


def results(**seconds: float) -> Results:
    found = Results()
    for contestant in field.ALL:
        name = contestant.name.replace(" ", "_").replace(",", "").replace("-", "_")
        if name in seconds:
            taken = [2 * seconds[name], seconds[name]]
            found.figures[contestant.name, "chain"] = Figures(1_000, taken, kib=50 * 1024)
    return found


def test_a_goal_is_held_against_the_best_rival() -> None:
    found = results(STRICT=1.0, LangGraph_sync=5.0, DBOS=3.0, ideal_strict=0.9)
    stand = {goal.what: goal for goal in goals.engine_goals(found, ["chain"])}
    assert stand["chain: STRICT / DBOS"].value == 3.0
    assert not stand["chain: STRICT / DBOS"].is_reached
    assert stand["chain: STRICT / ideal strict"].is_reached
    assert stand["chain: STRICT, peak MiB"].value == 50
    assert set(stand) == {
        "chain: STRICT / DBOS",
        "chain: STRICT / ideal strict",
        "chain: STRICT, peak MiB",
    }


def test_who_could_not_take_part_is_told_with_the_reason() -> None:
    found = results(STRICT=1.0)
    found.skipped["DBOS"] = "cannot be installed: no network"
    told = "\n".join(table.engines(found, ["chain"]))
    assert "skipped: DBOS: cannot be installed: no network" in told
    assert "1,000" in told


def test_growth_is_the_largest_against_the_smallest() -> None:
    grown = Growth("fan", (100, 1_000), (10.0, 14.0), (1.0, 1.0), (2.0, 2.0), (2_048, 20_480))
    (goal,) = goals.growth_goals([grown])
    assert goal.value == 1.4
    assert not goal.is_reached
    assert "NOT REACHED" in "\n".join(table.goals([goal]))


def test_a_full_store_is_held_against_an_empty_one() -> None:
    seen = BigStore(1_000, dict.fromkeys(PARTS, 1.0), dict.fromkeys(PARTS, 1.25))
    assert all(goal.is_reached for goal in goals.store_goals(seen))
    assert "1.25" in "\n".join(table.stores(seen))


def test_runs_are_timed_in_an_empty_store_and_in_a_full_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.stored", "2000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(json.loads(done.stdout)["full"]) == set(PARTS)
