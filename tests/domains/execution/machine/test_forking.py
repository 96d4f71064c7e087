"""Stories of forks: another run goes on from an event of a log."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dipeo_server.domains.execution.checkpoint import CheckpointTrigger
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BarrierWaiting,
    Breakpoint,
    ErrorStrategy,
    ExecutionForked,
    PauseCause,
)
from dipeo_server.domains.execution.interventions import Budget
from dipeo_server.domains.execution.machine.forking import forkable_until
from dipeo_server.domains.execution.output import End, WaitUntil, create_node_output
from dipeo_server.domains.execution.signals import DecisionMade
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)
from dipeo_server.errors import InvalidInput
from tests.builders import NOON, Story, names
from tests.domains.execution.machine.forks import (
    COMPLETED,
    FAILED,
    FAILS,
    HOUR,
    drive,
    finish,
    forked,
    inputs,
    outcome,
    own,
)

# --- who it is ----------------------------------------------------------------------------------


def test_a_fork_is_a_run_of_its_own_that_knows_where_it_comes_from() -> None:
    """000-11: stepping twice from one state gives two children."""
    story = Story("s -> a -> e")
    story.returns("s", 1)
    fork = forked(story, "NodeCompleted")
    state = fork.state
    assert (state.id, state.fork_of, state.forked_at) == ("fork", "x", story.log[3].seq)
    assert (state.parent_id, state.parent, state.actor) == ("x", None, "ann")
    assert state.created_at == NOON + HOUR
    assert fork.begun[0] == "ExecutionForked"
    assert fork.running() == ["a"]
    assert finish(fork) is COMPLETED
    assert story.running() == ["a"]
    assert finish(story, 2) is COMPLETED
    assert story.state.outputs["a"].body == 2
    assert fork.state.outputs["a"].body == "again"


def test_two_forks_of_one_state_alter_neither_each_other_nor_it() -> None:
    """000-11."""
    story = Story("s -> a -> e", variables={"x": 1})
    story.returns("s")
    one, two = (forked(story, variables={"x": number}) for number in (2, 3))
    assert [each.state.variables["x"] for each in (story, one, two)] == [1, 2, 3]
    assert [finish(each) for each in (one, two, story)] == [COMPLETED] * 3


def test_a_fork_goes_on_at_the_frontier_and_not_at_the_start() -> None:
    """004-W1."""
    story = Story("s -> a -> b -> e; s -> d -> e")
    story.returns("s")
    story.returns("a", "kept")
    fork = forked(story)
    assert sorted(fork.running()) == ["b", "d"]
    assert inputs(fork, "b") == ["kept"]
    assert fork.node("s").executed == 1


def test_counters_go_on_and_decisions_made_ahead_of_time_do_not() -> None:
    """004-W2: steps, tries and occurrences are durable; what nobody approved here is not."""
    story = Story("s -> a -> g -> e", wish={"budget": Budget(max_seconds=100)})
    story.wait(10)
    story.tell(DecisionMade("g", None, BarrierAction.APPROVE, actor="bob"))
    story.returns("s")
    fork = forked(story)
    assert fork.state.steps == 3  # s, and a twice: its second attempt began in the fork.
    assert (fork.node("a").occurrence, fork.node("a").attempt) == (1, 2)
    assert not fork.state.early_decisions
    assert fork.state.busy_seconds == pytest.approx(10)
    fork.returns("a")
    fork.asks("g")
    assert fork.status() is ExecutionStatus.WAITING
    story.returns("a")
    assert story.asks("g")[-2:] != ["BarrierWaiting", "ExecutionStatusChanged"]


def test_a_fork_of_a_fork_has_the_log_of_both() -> None:
    story = Story("s -> a -> b -> e")
    story.returns("s", 1)
    one = forked(story)
    one.returns("a", 2)
    two = forked(one)
    assert isinstance(own(two)[0].event, ExecutionForked)
    assert [type(each.event).__name__ for each in two.log].count("ExecutionForked") == 2
    assert inputs(two, "b") == [2]
    assert finish(two) is COMPLETED


# --- what was going on --------------------------------------------------------------------------


def test_what_ran_follows_the_rule_of_a_restart() -> None:
    story = Story(
        "s -> a -> e; s -> x -> e; s -> f -> e", props=FAILS, strategy=ErrorStrategy.COLLECT
    )
    story.returns("s")
    fork = forked(story)
    assert fork.event("NodeInterrupted").reason == "forked"
    assert fork.event("BarrierWaiting").purpose == "rerun"
    assert fork.event("NodeFailed").failure.code == "CANCELLED"


def test_who_is_asked_is_asked_again_for_as_long_as_was_left() -> None:
    story = Story("s -> g -> e")
    story.returns("s")
    story.asks("g", timeout=60)
    fork = forked(story)
    (asked,) = (each.event for each in own(fork) if isinstance(each.event, BarrierWaiting))
    assert asked.expires_at == NOON + HOUR + timedelta(seconds=60)
    assert fork.status() is ExecutionStatus.WAITING
    fork.decides("g", BarrierAction.APPROVE)
    assert finish(fork) is COMPLETED
    assert story.state.barriers[asked.node_run.barrier].status is BarrierStatus.WAITING


def test_a_decision_that_was_half_told_is_asked_for_again() -> None:
    story = Story("s -> g -> e")
    story.returns("s")
    story.asks("g", variable="gate")
    story.decides("g", BarrierAction.APPROVE, puts={"x": 1})
    fork = forked(story, "StateChanged")
    assert fork.status() is ExecutionStatus.WAITING
    assert "x" not in fork.state.variables
    assert "gate" not in fork.state.variables
    fork.decides("g", BarrierAction.APPROVE)
    assert finish(fork) is COMPLETED


def test_delays_and_retries_have_the_time_that_was_left() -> None:
    story = Story("s -> a -> e; s -> b -> e", props={"b": {"retry": {"attempts": 2}}})
    story.returns("s")
    story.gives("a", WaitUntil(60, create_node_output({"default": 1})))
    story.wait(10)
    story.raises("b", retryable=True)
    waits = {each.node_run.node: each.due_at for each in story.state.waiting.values()}
    fork = forked(story)
    moved = {each.node_run.node: each.due_at for each in fork.state.waiting.values()}
    for node, due_at in waits.items():
        assert due_at is not None
        assert moved[node] == due_at + HOUR
    for node in waits:
        fork.fires(node)
    assert finish(fork) is COMPLETED


def test_the_retry_of_a_failure_behind_which_the_log_is_cut_is_due_at_once() -> None:
    story = Story("s -> a -> e", props={"a": {"retry": {"attempts": 2}}})
    story.returns("s")
    story.raises("a", retryable=True)
    fork = forked(story, "NodeFailed")
    (waiting,) = fork.state.waiting.values()
    assert waiting.due_at == fork.now
    fork.fires("a")
    assert finish(fork) is COMPLETED


def test_what_a_visit_wrote_before_its_end_is_taken_back() -> None:
    story = Story("s -> a -> e", variables={"x": 1}, reducers={"x": "add"})
    story.returns("s")
    story.returns("a", puts={"x": 1, "y": 2})
    writes = [each.seq for each in story.log if type(each.event).__name__ == "StateChanged"]
    for at in writes:
        fork = forked(story, at)
        assert fork.state.variables == {"x": 1}
        fork.returns("a", puts={"x": 1, "y": 2})
        assert fork.state.variables == {"x": 2, "y": 2}
        assert finish(fork) is COMPLETED


def test_a_node_that_ended_the_run_ends_the_fork() -> None:
    story = Story("s -> a -> b -> e", props={"a": {"may_end": True}})
    story.returns("s")
    story.gives("a", End(create_node_output({"default": "over"})))
    fork = forked(story, "NodeCompleted")
    assert fork.status() is COMPLETED
    assert fork.node("b").status is NodeExecutionStatus.PENDING


def test_a_fork_of_a_paused_run_goes_on() -> None:
    story = Story("s -> a -> e")
    story.pauses()
    story.returns("s")
    fork = forked(story)
    assert fork.running() == ["a"]
    assert fork.state.pause_cause is None


def test_a_fork_of_a_run_that_is_stepped_goes_on() -> None:
    story = Story("s -> a -> e; s -> b -> e")
    story.pauses()
    story.returns("s")
    story.steps("a")
    fork = forked(story)
    assert fork.state.stepping is None
    assert sorted(fork.running()) == ["a", "b"]


def test_a_fork_may_begin_paused() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    fork = forked(story, is_paused=True)
    assert fork.state.pause_cause is PauseCause.START
    assert fork.running() == []
    fork.resumes()
    assert finish(fork) is COMPLETED


def test_a_breakpoint_that_was_hit_does_not_hold_the_fork_again() -> None:
    story = Story("s -> a -> b -> e", wish={"breakpoints": (Breakpoint("a"), Breakpoint("b"))})
    story.returns("s")
    fork = forked(story)
    assert fork.running() == ["a"]
    fork.returns("a")
    assert fork.state.pause_cause is PauseCause.BREAKPOINT


# --- where it can be forked ---------------------------------------------------------------------


def test_a_run_that_has_ended_can_be_forked_before_its_last_event() -> None:
    """000-07: there is a state behind any event of a run that ended."""
    story = Story("s -> a -> e")
    finish(story)
    assert forkable_until(story.log) == len(story.log) - 1
    for at in range(1, len(story.log)):
        assert finish(forked(story, at)) is COMPLETED
    with pytest.raises(InvalidInput):
        forked(story, len(story.log))


def test_a_run_cannot_be_forked_where_it_is_being_ended() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    story.aborts()
    assert forkable_until(story.log) == len(story.log) - 1
    with pytest.raises(InvalidInput):
        forked(story)


def test_a_run_cannot_be_forked_where_its_waits_are_being_cancelled() -> None:
    story = Story("s -> g -> e")
    story.returns("s")
    story.asks("g")
    last = len(story.log)
    story.aborts()
    assert forkable_until(story.log) == last < len(story.log) - 1


def test_a_failed_run_can_be_mended_in_a_fork_from_before_its_failure() -> None:
    """004-W1: go on where it stood."""
    story = Story("s -> a -> e")
    story.returns("s")
    story.raises("a")
    assert story.status() is FAILED
    again = forked(story, "NodeStarted")
    assert finish(again) is COMPLETED
    assert forked(story, "NodeFailed").status() is FAILED
    held = forked(story, "NodeFailed", is_paused=True)
    assert held.node("a").status is NodeExecutionStatus.FAILED
    assert held.status() is ExecutionStatus.PAUSED


# --- everywhere ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "s -> a -> g -> h -> b -> c; c.t -> h; c.f -> e",
        "s -> h -> g -> c; c.t -> h; c.f -> e; s -> d -> e",
        "s -> a -> h -> x -> c; h -> b -> c; c.t -> h; c.f -> g -> e; a -> b",
    ],
)
@pytest.mark.parametrize("policy", [(), (CheckpointTrigger.EVERY_STEP,)])
def test_a_fork_behind_any_event_ends_as_the_run_did(
    text: str, policy: tuple[CheckpointTrigger, ...]
) -> None:
    """000-11, 004-W1: nothing is lost, done twice or decided by nobody, wherever a log is cut."""
    reducers = {"total": "add"}
    wish = {"checkpoints": policy}
    story = Story(text, variables={"total": 0}, reducers=reducers, wish=wish)
    assert drive(story, 10) is COMPLETED
    kept = list(story.log)
    for at in range(1, len(kept)):
        fork = forked(story, at)
        assert drive(fork, 10) is COMPLETED, at
        assert outcome(fork) == outcome(story), (at, names(own(fork)))
    assert story.log == kept
