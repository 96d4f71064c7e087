"""Stories of pauses, steps, breakpoints and budgets: what holds a run, and what lets it go on."""

from __future__ import annotations

import pytest

from dipeo_server.domains.execution.commands import SetBudgetTimer
from dipeo_server.domains.execution.events import (
    BarrierAction,
    Breakpoint,
    Budget,
    ErrorStrategy,
    PauseCause,
)
from dipeo_server.domains.execution.interventions import BreakpointWhen, PauseMode
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.signals import BudgetTimePassed
from dipeo_server.domains.execution.state import view
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.errors import ExecutionFinished, InvalidInput, InvalidState, NotFound
from tests.builders import Story

_E = ExecutionStatus
_N = NodeExecutionStatus
AFTER = BreakpointWhen.AFTER


def same_when_replayed(story: Story) -> None:
    """The log alone gives the state that the machine is in."""
    assert view(ExecutionMachine.replay(story.log).state) == view(story.state)


# --- pause --------------------------------------------------------------------------------------


def test_behind_a_pause_nothing_starts_and_what_runs_finishes() -> None:
    story = Story("s -> a -> b; s -> c1 -> d")
    story.returns("s")
    assert story.pauses(reason="lunch") == ["ExecutionStatusChanged"]
    assert story.event("ExecutionStatusChanged").actor == "ann"
    assert story.returns("a") == ["NodeCompleted"]
    assert story.running() == ["c1"]
    assert (story.state.pause_cause, story.state.pause_reason) == (PauseCause.USER, "lunch")
    story.returns("c1")
    assert not story.machine.outstanding()
    assert story.resumes() == ["ExecutionStatusChanged", "NodeStarted", "NodeStarted"]
    same_when_replayed(story)


def test_pausing_twice_changes_nothing() -> None:
    story = Story("s -> a")
    story.returns("s")
    story.pauses()
    assert story.pauses() == []


def test_pause_now_stops_what_runs_and_a_resume_runs_it_again() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    run = story.run_of("a")
    assert story.pauses(PauseMode.NOW) == ["ExecutionStatusChanged", "NodeInterrupted"]
    assert not story.machine.outstanding()
    assert story.node("a").status is _N.PENDING
    story.resumes()
    assert story.run_of("a") == run.next_attempt()
    story.returns("a")
    story.returns("e")
    assert story.status() is _E.COMPLETED
    same_when_replayed(story)


def test_pause_now_behind_a_draining_pause_stops_what_still_runs() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    story.pauses()
    assert story.pauses(PauseMode.NOW) == ["NodeInterrupted"]


def test_pause_now_asks_about_what_may_have_had_effects() -> None:
    story = Story("s -> x -> e")
    story.returns("s")
    assert story.pauses(PauseMode.NOW) == ["ExecutionStatusChanged", "BarrierWaiting"]
    assert story.event("BarrierWaiting").purpose == "rerun"
    assert story.status() is _E.PAUSED
    story.resumes()
    assert story.running() == []
    story.decides("x", BarrierAction.APPROVE)
    assert story.running() == ["x"]


def test_a_barrier_is_decided_while_the_run_is_paused_and_nothing_starts() -> None:
    story = Story("s -> g; g.ok -> e")
    story.returns("s")
    story.asks("g")
    story.pauses()
    assert story.decides("g", BarrierAction.APPROVE)[-1] == "NodeCompleted"
    assert story.status() is _E.PAUSED
    assert story.resumes() == ["ExecutionStatusChanged", "NodeStarted"]


def test_a_paused_run_whose_last_node_ends_has_ended() -> None:
    story = Story("s -> e")
    story.returns("s")
    story.pauses()
    assert story.returns("e") == ["NodeCompleted", "ExecutionCompleted"]


def test_a_pause_holds_a_failure_until_the_run_is_resumed() -> None:
    story = Story("s -> a -> e; s -> b")
    story.returns("s")
    story.pauses()
    assert story.raises("a") == ["NodeFailed", "NodeSkipped"]
    assert story.status() is _E.PAUSED
    story.returns("b")
    assert story.resumes() == ["ExecutionStatusChanged", "ExecutionFailed"]
    same_when_replayed(story)


def test_a_due_retry_waits_for_the_end_of_the_pause() -> None:
    story = Story("s -> a", props={"a": {"retry": {"attempts": 2}}})
    story.returns("s")
    story.raises("a", retryable=True)
    story.pauses()
    assert not story.machine.outstanding()
    assert story.fires("a") == []
    story.resumes()
    assert story.fires("a")[0] == "NodeStarted"


def test_only_a_run_that_goes_on_can_be_paused() -> None:
    story = Story("s -> e")
    story.returns("s")
    story.aborts()
    with pytest.raises(InvalidState):
        story.pauses()
    story.stops("e")
    with pytest.raises(ExecutionFinished):
        story.pauses()


def test_a_run_can_be_started_paused() -> None:
    story = Story("s -> e", wish={"is_paused": True})
    assert story.begun == ["ExecutionStarted", "ExecutionStatusChanged"]
    assert story.state.pause_cause is PauseCause.START
    assert story.resumes()[-1] == "NodeStarted"


def test_a_parent_lets_go_on_only_what_it_held_itself() -> None:
    story = Story("s -> e")
    story.pauses()
    assert story.resumes(is_by_parent=True) == []
    story.resumes()
    story.pauses(is_by_parent=True)
    assert story.state.pause_cause is PauseCause.PARENT
    assert story.resumes(is_by_parent=True) != []


# --- steps --------------------------------------------------------------------------------------


def test_a_step_runs_one_visit_and_holds_again() -> None:
    story = Story("s -> a -> e; s -> b -> e", wish={"is_paused": True})
    assert story.steps() == ["ExecutionStatusChanged", "NodeStarted"]
    assert story.event("ExecutionStatusChanged").step == story.run_of("s")
    assert story.returns("s") == ["NodeCompleted", "ExecutionStatusChanged"]
    assert story.state.pause_cause is PauseCause.STEP
    assert story.steps("b")[-1] == "NodeStarted"
    assert story.running() == ["b"]
    story.returns("b")
    story.steps()
    story.returns("a")
    story.steps()
    assert story.returns("e") == ["NodeCompleted", "ExecutionCompleted"]
    same_when_replayed(story)


def test_a_step_into_a_barrier_ends_where_it_waits() -> None:
    story = Story("s -> g; g.ok -> e", wish={"is_paused": True})
    story.steps()
    story.returns("s")
    story.steps()
    assert story.asks("g") == ["BarrierWaiting", "ExecutionStatusChanged"]
    assert story.status() is _E.PAUSED
    with pytest.raises(InvalidState, match="No node is ready"):
        story.steps()


def test_a_step_takes_a_retry_that_waits() -> None:
    story = Story("s -> a", props={"a": {"retry": {"attempts": 3}}})
    story.returns("s")
    story.raises("a", retryable=True)
    story.pauses()
    assert story.steps("a") == ["ExecutionStatusChanged", "NodeStarted"]
    assert story.run_of("a").attempt == 2
    story.raises("a", retryable=True)
    assert story.status() is _E.PAUSED


def test_a_step_that_fails_is_held_so_that_it_can_be_mended() -> None:
    story = Story("s -> a -> e", wish={"is_paused": True})
    story.steps()
    story.returns("s")
    story.steps()
    assert "ExecutionFailed" not in story.raises("a")
    assert story.status() is _E.PAUSED


def test_the_runner_restarts_in_the_middle_of_a_step() -> None:
    story = Story("s -> a -> e", wish={"is_paused": True})
    story.steps()
    story.returns("s")
    story.steps()
    told = story.restarts()
    assert told == ["RunnerRestarted", "NodeInterrupted", "ExecutionStatusChanged"]
    assert story.status() is _E.PAUSED
    assert story.steps()[-1] == "NodeStarted"
    assert story.run_of("a").attempt == 2
    story.returns("a")
    assert story.status() is _E.PAUSED


def test_what_cannot_be_stepped_is_refused_with_a_reason() -> None:
    story = Story("s -> a; s -> bee")
    with pytest.raises(InvalidState, match="Only a paused"):
        story.steps()
    story.returns("s")
    story.pauses()
    with pytest.raises(NotFound) as refusal:
        story.steps("be")
    assert refusal.value.hint == "Did you mean 'bee'?"
    with pytest.raises(InvalidInput, match="'a' is not ready"):
        story.steps("a")  # It runs already.


# --- breakpoints --------------------------------------------------------------------------------


def test_a_breakpoint_holds_the_run_before_its_node_once() -> None:
    story = Story("s -> a -> e", wish={"breakpoints": (Breakpoint("a"),)})
    assert story.returns("s") == ["NodeCompleted", "BreakpointHit", "ExecutionStatusChanged"]
    assert story.state.pause_cause is PauseCause.BREAKPOINT
    assert story.state.pause_reason == "breakpoint before a"
    assert story.resumes()[-1] == "NodeStarted"
    story.returns("a")
    assert story.running() == ["e"]
    same_when_replayed(story)


def test_a_breakpoint_holds_every_turn_of_a_loop() -> None:
    story = Story("s -> a -> c; c.f -> a; c.t -> e", wish={"breakpoints": (Breakpoint("a"),)})
    story.returns("s")
    for _ in range(3):
        assert story.state.pause_cause is PauseCause.BREAKPOINT
        story.resumes()
        story.returns("a")
        story.returns("c", port="condfalse")


def test_a_breakpoint_after_a_node_holds_what_follows_it() -> None:
    story = Story("s -> a -> e", wish={"breakpoints": (Breakpoint("a", AFTER, "output > 3"),)})
    story.returns("s")
    told = story.returns("a", 4)
    assert told == ["NodeCompleted", "BreakpointHit", "ExecutionStatusChanged"]
    assert story.running() == []
    story.resumes()
    assert story.running() == ["e"]


def test_a_condition_decides_whether_a_breakpoint_holds() -> None:
    breakpoints = (Breakpoint("a", condition="n > 1"), Breakpoint("b", condition="n > 1"))
    story = Story("s -> a -> b", variables={"n": 1}, wish={"breakpoints": breakpoints})
    story.returns("s")
    assert story.running() == ["a"]
    story.returns("a", puts={"n": 2})
    assert story.event("BreakpointHit").node_run.node == "b"


def test_a_breakpoint_that_cannot_be_evaluated_holds_and_says_so() -> None:
    story = Story("s -> a", wish={"breakpoints": (Breakpoint("a", condition="nobody > 1"),)})
    told = story.returns("s")
    assert told[-3:] == ["ObservedError", "BreakpointHit", "ExecutionStatusChanged"]
    assert story.event("ObservedError").failure.code == "EXPRESSION_ERROR"


def test_breakpoints_are_set_while_the_run_runs() -> None:
    story = Story("s -> a -> b")
    assert story.breaks(Breakpoint("a"), Breakpoint("b", AFTER)) == ["BreakpointsChanged"]
    assert story.breaks(Breakpoint("a"), Breakpoint("b", AFTER)) == []
    story.returns("s")
    assert story.status() is _E.PAUSED
    story.breaks()
    story.resumes()
    story.returns("a")
    assert story.running() == ["b"]


def test_breakpoints_at_what_is_not_there_are_refused() -> None:
    story = Story("s -> a")
    with pytest.raises(NotFound, match="no node 'c'"):
        story.breaks(Breakpoint("c"))
    with pytest.raises(InvalidInput) as refusal:
        story.breaks(Breakpoint("a", condition="1 +"))
    assert refusal.value.field == ("breakpoints", "0", "condition")


# --- budgets ------------------------------------------------------------------------------------


def test_a_run_pauses_when_its_tokens_are_used_up() -> None:
    """004-W22: exceeding a limit pauses, and the limit can be raised."""
    story = Story("s -> a -> b", wish={"budget": Budget(max_tokens=100)})
    story.returns("s")
    told = story.returns("a", usage=TokenUsage(80, 20))
    assert told == ["NodeCompleted", "ExecutionStatusChanged"]
    assert story.state.pause_cause is PauseCause.MAX_TOKENS
    with pytest.raises(InvalidInput, match="used 100 tokens"):
        story.resumes()
    told = story.resumes(budget=Budget(max_tokens=200))
    assert told == ["LimitRaised", "ExecutionStatusChanged", "NodeStarted"]
    assert story.state.budget == Budget(max_tokens=200)
    same_when_replayed(story)


def test_a_run_pauses_when_it_has_run_for_too_long() -> None:
    story = Story("s -> a -> b", wish={"budget": Budget(max_seconds=10)})
    story.returns("s")
    (timer,) = [c for c in story.machine.outstanding().values() if isinstance(c, SetBudgetTimer)]
    story.wait(9)
    assert story.tell(BudgetTimePassed()) == []
    story.wait(1)
    assert story.now == timer.due_at
    assert story.tell(BudgetTimePassed()) == ["ExecutionStatusChanged"]
    assert story.state.pause_cause is PauseCause.MAX_SECONDS
    story.wait(1_000)
    story.returns("a")
    story.resumes(budget=Budget(max_seconds=20))
    (timer,) = [c for c in story.machine.outstanding().values() if isinstance(c, SetBudgetTimer)]
    assert (timer.due_at - story.now).total_seconds() == 10
    same_when_replayed(story)


def test_time_in_which_only_a_person_is_awaited_costs_nothing() -> None:
    story = Story("s -> g; g.ok -> e", wish={"budget": Budget(max_seconds=10)})
    story.returns("s")
    story.wait(4)
    story.asks("g")
    assert not [c for c in story.machine.outstanding().values() if isinstance(c, SetBudgetTimer)]
    story.wait(10_000)
    story.decides("g", BarrierAction.APPROVE)
    assert story.running() == ["e"]
    assert story.state.busy_seconds == 4


def test_a_run_pauses_at_its_step_limit_and_goes_on_with_a_larger_one() -> None:
    """004-01, 004-W22."""
    story = Story("s -> a -> b", max_steps=2)
    story.returns("s")
    story.returns("a")
    assert story.state.pause_cause is PauseCause.MAX_STEPS
    with pytest.raises(InvalidState, match="its limit"):
        story.steps()
    assert story.resumes(3) == ["LimitRaised", "ExecutionStatusChanged", "NodeStarted"]


def test_a_budget_that_allows_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput):
        Story("s", wish={"budget": Budget(max_tokens=0)})
    with pytest.raises(InvalidInput):
        Story("s", wish={"budget": Budget(max_seconds=0)})


def test_collected_failures_are_told_behind_a_pause_as_well() -> None:
    story = Story("s -> a; s -> b", strategy=ErrorStrategy.COLLECT)
    story.returns("s")
    story.raises("a")
    story.pauses()
    assert story.returns("b") == ["NodeCompleted"]
    assert story.resumes()[-1] == "ExecutionFailed"
