"""What branches of a group do to the variables, and what the group tells while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from dipeo_server.domains.execution.delta import StateDelta
from dipeo_server.domains.execution.events import (
    BranchCompleted,
    ErrorStrategy,
    ParallelCompleted,
    ParallelStarted,
    StateChanged,
)
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import create_node_output
from dipeo_server.domains.execution.signals import BranchTold, NodeReturned
from dipeo_server.domains.execution.state import view
from tests.builders import Story

DONE = create_node_output({"default": "done"})


def group(
    *deltas: StateDelta, reducers: dict[str, str] | None = None, **variables: Any
) -> tuple[Story, list[str]]:
    """A group `p` has ended with what these branches did."""
    story = Story("s -> p -> e", variables=variables, reducers=reducers)
    story.returns("s")
    return story, story.tell(NodeReturned(story.run_of("p"), DONE, deltas))


def branch(name: str, before: dict[str, Any], /, *deletes: str, **puts: Any) -> StateDelta:
    return StateDelta(puts, deletes, branch=name, before=before)


def test_changes_of_different_variables_all_count() -> None:
    """004-34."""
    story, _ = group(branch("a", {}, x=1), branch("b", {"z": 1}, "z", y=2), z=1)
    assert story.state.variables == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    "deltas, both",
    [
        ([branch("a", {}, x=1), branch("b", {}, x=2)], "1 and 2"),
        ([branch("a", {}, x=1), branch("b", {}, x=1)], "1 and 1"),
        ([branch("a", {"x": 0}, "x"), branch("b", {"x": 0}, x=2)], "deleted and 2"),
    ],
)
def test_two_branches_that_change_one_variable_are_a_conflict(
    deltas: list[StateDelta], both: str
) -> None:
    """004-35: told with the variable, the branches and both values."""
    story, _ = group(*deltas, x=0)
    failure = story.event("NodeFailed").failure
    assert failure.code == "CONFLICT"
    assert failure.message == f"Branches 'a' and 'b' of 'p' both change variable 'x': {both}."
    assert "commutative reducer" in failure.hint


def test_a_conflict_changes_nothing() -> None:
    """004-W14: what was not applied is not told as applied."""
    story, _ = group(branch("a", {}, y=1, x=1), branch("b", {}, x=2))
    assert not [each for each in story.log if isinstance(each.event, StateChanged)]
    assert story.state.variables == {}


@pytest.mark.parametrize(
    "reducer, start, ends, merged",
    [
        ("add", 10, (11, 15), 16),
        ("max", 10, (11, 15), 15),
        ("min", 10, (4, 7), 4),
        ("union", [1], ([1, 2], [1, 3]), [1, 2, 3]),
    ],
)
def test_a_commutative_reducer_merges_what_each_contributed(
    reducer: str, start: Any, ends: tuple[Any, Any], merged: Any
) -> None:
    deltas = [branch(name, {"n": start}, n=end) for name, end in zip("ab", ends, strict=True)]
    story, _ = group(*deltas, reducers={"n": reducer}, n=start)
    assert story.state.variables == {"n": merged}


def test_a_delete_meets_no_other_change_whatever_the_reducer() -> None:
    story, _ = group(
        branch("a", {"n": 1}, n=2), branch("b", {"n": 1}, "n"), reducers={"n": "add"}, n=1
    )
    assert "2 and deleted" in story.event("NodeFailed").failure.message


def test_contributions_meet_what_others_did_meanwhile() -> None:
    """A node beside the group adds as well, after the branches had taken their copies."""
    story = Story("s -> p -> e; s -> b -> e", variables={"n": 10}, reducers={"n": "add"})
    story.returns("s")
    story.returns("b", puts={"n": 100})
    delta = branch("a", {"n": 10}, n=11)
    story.tell(NodeReturned(story.run_of("p"), DONE, (delta,)))
    assert story.state.variables == {"n": 111}


def test_one_branch_alone_may_change_what_has_an_order() -> None:
    story, _ = group(branch("a", {"n": [1]}, n=[1, 2, 3]), reducers={"n": "append"}, n=[1])
    assert story.state.variables == {"n": [1, 2, 3]}


def test_a_node_beside_the_group_conflicts_with_its_branches() -> None:
    story = Story("s -> p -> e; s -> b -> e")
    story.returns("s")
    story.returns("b", puts={"x": 1})
    story.tell(NodeReturned(story.run_of("p"), DONE, (branch("a", {}, x=2),)))
    assert "Nodes 'b' and 'p' run side by side" in story.event("NodeFailed").failure.message


# --- what it tells


def test_a_group_tells_of_its_branches_while_it_runs() -> None:
    story = Story("s -> p -> e")
    story.returns("s")
    run = story.run_of("p")
    assert story.tell(BranchTold(run, ParallelStarted(run, ("a",)))) == ["ParallelStarted"]
    assert story.tell(BranchTold(run, BranchCompleted(run, "a", 1.0))) == ["BranchCompleted"]
    assert story.tell(BranchTold(run, ParallelCompleted(run, 1.0))) == ["ParallelCompleted"]
    assert view(ExecutionMachine.replay(story.log).state) == view(story.state)


def test_what_a_group_tells_too_late_is_not_recorded() -> None:
    story = Story("s -> p -> e; s -> b", strategy=ErrorStrategy.COLLECT)
    story.returns("s")
    run = story.run_of("p")
    told = BranchTold(run, BranchCompleted(run, "a", 1.0))
    stale = NodeRun("p", run.occurrence, run.attempt + 1)
    assert story.tell(BranchTold(stale, told.event)) == []
    story.returns("p")
    assert story.tell(told) == []


def test_what_a_group_tells_while_the_run_ends_is_not_recorded() -> None:
    story = Story("s -> p -> e")
    story.returns("s")
    run = story.run_of("p")
    story.aborts()
    assert story.tell(BranchTold(run, BranchCompleted(run, "a", 1.0))) == []
