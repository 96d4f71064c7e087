"""The machine against the reference interpreter: the 26 cases, all small diagrams, random ones."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from tests.reference.cases import CASES, Case
from tests.reference.generate import exhaustive, random_failures, random_sketch
from tests.reference.interpreter import Failures, run
from tests.reference.machine_run import MachineRun, run_on_machine
from tests.reference.sketch import Script, Sketch

CAP = 6
"""Visits of a node without a limit of its own, so that every loop ends soon."""
CHUNKS = 8
RANDOM_DIAGRAMS = 20_000
SMALL_DIAGRAMS = 112_424


def agree(
    sketch: Sketch, script: Script, failures: Failures = frozenset(), *, seed: int = 0
) -> MachineRun:
    """Run both in one completion order and compare everything; gives the machine's run."""
    theirs, ours = random.Random(seed), random.Random(seed)
    expected = run(sketch, script, theirs.choice, failures, cap=CAP)
    found = run_on_machine(sketch, script, ours.choice, failures, cap=CAP)
    assert found.outcome() == expected, f"{sketch} {script} {failures} seed={seed}"
    assert found.state.status.is_terminal
    assert not found.machine.outstanding()
    return found


def replayed(found: MachineRun) -> None:
    """Folding the log gives the live state, at the end and at a cut."""
    found.state.touched.clear()
    again = ExecutionMachine.replay(found.log)
    again.take_changes()
    assert again.state == found.state


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_case_runs_as_the_table_says(case: Case) -> None:
    for seed in range(5):
        theirs, ours = random.Random(seed), random.Random(seed)
        expected = run(case.sketch, case.script, theirs.choice)
        found = run_on_machine(case.sketch, case.script, ours.choice)
        assert found.outcome() == expected
        replayed(found)
        executed = {
            name: expected.nodes[case.sketch.names.index(name)].executed for name in case.executed
        }
        assert executed == case.executed


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_diagrams_run_as_in_the_reference(chunk: int) -> None:
    for seed in range(chunk, RANDOM_DIAGRAMS, CHUNKS):
        rng = random.Random(seed)
        joins_all = seed % 2 == 0
        sketch, script = random_sketch(rng, 8, joins_all=joins_all)
        failures = random_failures(rng, sketch) if seed % 3 == 0 else frozenset()
        found = agree(sketch, script, failures, seed=seed)
        replayed(found)
        if joins_all and seed % 5 == 0:
            other = run_on_machine(
                sketch, script, random.Random(-seed - 1).choice, failures, cap=CAP
            )
            assert other.outcome() == found.outcome(), f"order matters: {sketch} {script}"


@pytest.mark.parametrize("chunk", range(4))
def test_a_tenth_of_all_small_diagrams_run_as_in_the_reference(chunk: int) -> None:
    for sketch, script in islice(exhaustive(2), chunk * 10, None, 40):
        agree(sketch, script)


@pytest.mark.prove
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_all_small_diagrams_run_as_in_the_reference(chunk: int) -> None:
    count = 0
    for sketch, script in islice(exhaustive(2), chunk, None, CHUNKS):
        replayed(agree(sketch, script))
        count += 1
    assert count == SMALL_DIAGRAMS // CHUNKS
