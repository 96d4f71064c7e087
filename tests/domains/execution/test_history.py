"""States at any event, and merged histories: who set what is there now."""

from __future__ import annotations

import copy
import random

import pytest

from dipeo_server.domains.execution.history import HistoryKind, merged_history, state_at
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.state import ExecutionState
from tests.builders import Story
from tests.domains.execution.machine.test_meddling import Meddled
from tests.reference.generate import random_sketch

RUNS = 100
RUNS_TO_PROVE = 2_000


def meddled(seed: int) -> tuple[Meddled, dict[int, ExecutionState]]:
    """A random run with which people meddle, and the states it had whenever it came to rest."""
    rng = random.Random(seed)
    sketch, script = random_sketch(rng, 6, joins_all=seed % 2 == 0)
    run = Meddled(sketch, script, cap=3)
    seen = {}
    for _ in range(120):
        seen[len(run.log)] = copy.deepcopy(run.state)
        if run.state.status.is_terminal:
            break
        run.meddle(rng) if rng.random() < 0.3 else run.go_on(rng)
    return run, seen


def check_prefixes(seed: int) -> None:
    """Each state is what the beginning of the log folds to. Raises AssertionError."""
    run, seen = meddled(seed)
    for length, state in seen.items():
        again = state_at(run.log, Seq(length))
        again.touched = state.touched = set()
        assert again == state, f"seed={seed} length={length}"


def check_every_event(seed: int) -> None:
    """Folding the log event by event passes through the state of every prefix."""
    run, _ = meddled(seed)
    machine = ExecutionMachine()
    for recorded in run.log:
        machine._fold(recorded)  # noqa: SLF001 - one event at a time
        merged = merged_history(run.log[: recorded.seq])
        outputs = {each.name: each.value for each in merged if each.kind is HistoryKind.OUTPUT}
        assert outputs == {key: made.body for key, made in machine.state.outputs.items()}


@pytest.mark.parametrize("seed", range(RUNS))
def test_000_07_the_beginning_of_a_log_folds_to_the_state_that_was_live_then(seed: int) -> None:
    check_prefixes(seed)


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_000_07_however_many_runs_there_are() -> None:
    for seed in range(RUNS, RUNS_TO_PROVE):
        check_prefixes(seed)


@pytest.mark.parametrize("seed", range(10))
def test_000_08_the_newest_values_are_those_of_the_state(seed: int) -> None:
    check_every_event(seed)


def test_000_w2_there_is_no_state_beyond_the_log() -> None:
    story = Story("s -> a -> e")
    last = story.log[-1].seq
    assert state_at(story.log, last) == story.state
    with pytest.raises(LookupError, match=f"no event {last + 1}"):
        state_at(story.log, Seq(last + 1))


def entries(story: Story) -> dict[str, tuple[object, str | None, bool]]:
    return {each.key: (each.value, each.node, each.conflict) for each in merged_history(story.log)}


def test_000_w1_the_newest_value_wins_and_says_who_set_it() -> None:
    story = Story("s -> a -> b -> e", variables={"x": 0, "y": 0})
    story.returns("s")
    story.returns("a", 1, puts={"x": 1})
    story.returns("b", 2, puts={"x": 2})
    found = entries(story)
    assert found["variables.x"] == (2, "b", False)
    assert found["variables.y"] == (0, None, False)
    assert found["outputs.a"] == (1, "a", False)


def test_a_variable_and_a_node_of_one_name_are_two_keys() -> None:
    story = Story("s -> a -> e", variables={"a": "variable"})
    story.returns("s")
    story.returns("a", "output")
    found = entries(story)
    assert found["variables.a"][0] == "variable"
    assert found["outputs.a"][0] == "output"


def test_000_w1_entries_are_in_the_order_of_the_events_that_set_them() -> None:
    story = Story("s -> a -> b -> e", variables={"z": 0, "y": 0})
    story.returns("s")
    story.returns("a", puts={"z": 1})
    found = merged_history(story.log)
    assert [each.key for each in found] == ["variables.y", "outputs.s", "variables.z", "outputs.a"]
    assert [each.sequence for each in found] == sorted(each.sequence for each in found)


def test_000_w1_what_two_branches_set_side_by_side_is_a_conflict() -> None:
    story = Story("s -> a -> e; s -> b -> e", reducers={"x": "add"})
    story.returns("s")
    story.returns("a", puts={"x": 1})
    assert entries(story)["variables.x"] == (1, "a", False)
    story.returns("b", puts={"x": 2})
    assert entries(story)["variables.x"] == (3, "b", True)


def test_000_w1_a_node_behind_both_branches_ends_the_conflict() -> None:
    story = Story("s -> a -> j; s -> b -> j; j -> e", reducers={"x": "add"})
    story.returns("s")
    story.returns("a", puts={"x": 1})
    story.returns("b", puts={"x": 2})
    story.returns("j", puts={"x": 5})
    assert entries(story)["variables.x"] == (8, "j", False)


def test_writes_in_different_turns_of_a_loop_are_no_conflict() -> None:
    story = Story("s -> h -> a -> c; h -> b -> c; c.f -> h; c.t -> e", reducers={"x": "add"})
    story.returns("s")
    story.returns("h")
    story.returns("a", puts={"x": 1})
    story.returns("b")
    story.returns("c", port="condfalse")
    story.returns("h")
    story.returns("b", puts={"x": 2})
    assert entries(story)["variables.x"] == (3, "b", False)


def test_what_a_person_sets_is_no_conflict_and_has_no_node() -> None:
    story = Story("s -> a -> e; s -> b -> e", reducers={"x": "add"})
    story.returns("s")
    story.returns("a", puts={"x": 1})
    story.pauses()
    story.resumes(variables={"x": 7})
    assert entries(story)["variables.x"] == (7, None, False)
