"""Stories of forks: another run goes on from an event of a log, with changes or without."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from dipeo_server.domains.execution.events import (
    BarrierAction,
    BarrierWaiting,
    Breakpoint,
    ErrorStrategy,
    ExecutionForked,
    GivenOutput,
    NodeOutputSet,
    PauseCause,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.interventions import Budget
from dipeo_server.domains.execution.machine.forking import forkable_until, undone
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import End, WaitUntil, create_node_output
from dipeo_server.domains.execution.signals import DecisionMade, ForkRequested
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)
from dipeo_server.errors import InvalidInput
from tests.builders import NOON, Story, names

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED
HOUR = timedelta(hours=1)
FAILS = {"f": {"after_crash": "fail"}}


def forked(story: Story, at: int | str | None = None, **wish: Any) -> Story:
    """The fork of a story behind an event (the last of that name, or of all), an hour later."""
    last = place(story, at)
    log = story.log[:last]
    fork = Story.__new__(Story)
    fork.machine = ExecutionMachine.replay(log)
    fork.now = max(story.now, log[-1].at) + HOUR
    fork.log = list(log)
    before = list(story.log)
    request = ForkRequested(
        ExecutionID("fork"), ExecutionID("x"), log[-1].event, undone(log), actor="ann", **wish
    )
    fork.begun = fork.tell(request)
    assert story.log == before
    check(fork)
    return fork


def place(story: Story, at: int | str | None) -> int:
    if isinstance(at, int):
        return at
    found = [each.seq for each in story.log if at in (None, type(each.event).__name__)]
    return found[-1]


def check(story: Story) -> None:
    """Replaying gives what was live, and the log has no gap."""
    again = ExecutionMachine.replay(story.log).state
    again.touched, live = set(story.state.touched), story.state
    assert again == live
    assert [each.seq for each in story.log] == list(range(1, len(story.log) + 1))


def inputs(story: Story, key: str) -> list[Any]:
    refs = story.state.inputs[story.state.diagram.index_of[key]]
    return [ref.envelope.body for ref in refs]


def finish(story: Story, value: Any = "again") -> ExecutionStatus:
    """Whatever runs returns, and runs again if it is asked, until nothing does."""
    while story.running() or _asked_to_rerun(story):
        for run in _asked_to_rerun(story):
            story.decides(run.node, BarrierAction.APPROVE, run.occurrence, run.attempt)
        for key in story.running():
            story.returns(key, value)
    check(story)
    return story.status()


def _asked_to_rerun(story: Story) -> list[NodeRun]:
    found = (each for each in story.state.barriers.values() if each.purpose == "rerun")
    return [each.node_run for each in found if each.status is BarrierStatus.WAITING]


def own(story: Story) -> Sequence[Recorded]:
    forked_at = story.state.forked_at
    assert forked_at is not None
    return story.log[forked_at:]


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


# --- with changes -------------------------------------------------------------------------------


def test_variables_are_set_before_it_goes_on() -> None:
    story = Story("s -> a -> e", variables={"x": 1})
    story.returns("s")
    fork = forked(story, variables={"x": 2, "y": [3]})
    assert fork.state.variables == {"x": 2, "y": [3]}
    kinds = names(own(fork))
    assert kinds.index("StateChanged") < kinds.index("NodeStarted")


def test_a_result_that_is_not_used_yet_is_replaced() -> None:
    story = Story("s -> a -> b -> e; a -> e2")
    story.returns("s")
    story.returns("a", "old")
    fork = forked(story, outputs={"a": "new"})
    assert fork.state.outputs["a"].body == "new"
    assert fork.node("a").output == fork.state.outputs["a"]
    assert inputs(fork, "b") == inputs(fork, "e2") == ["new"]
    event = next(each.event for each in own(fork) if isinstance(each.event, NodeOutputSet))
    assert (event.reason, event.actor, event.ports) == ("override", "ann", ("default",))
    assert finish(fork) is COMPLETED


def test_what_used_the_old_result_keeps_it() -> None:
    story = Story("s -> a -> b -> e; a -> e")
    story.returns("s")
    story.returns("a", "old")
    story.returns("b", "made of old")
    fork = forked(story, outputs={"a": "new"})
    assert fork.state.outputs["b"].body == "made of old"
    assert sorted(inputs(fork, "e")) == ["made of old", "new"]
    assert [each.envelope.body for each in fork.state.inputs[2]] == ["old"]


def test_a_value_that_stays_over_the_turns_of_a_loop_is_replaced() -> None:
    story = Story(
        "s -> a -> h -> c; c.t -> h; c.f -> e; a -> w; h -> w; w -> c",
        edges={"a>w": {"label": "kept"}},
    )
    story.returns("s")
    story.returns("a", "old")
    story.returns("h", 1)
    story.returns("w", 1)
    story.returns("c", 1, port="condtrue")
    fork = forked(story, outputs={"a": "new"})
    fork.returns("h", 2)
    assert sorted(map(str, inputs(fork, "w"))) == ["2", "new"]


def test_a_result_of_what_has_not_run_is_taken_when_it_is_reached() -> None:
    story = Story("s -> a -> b -> e")
    story.returns("s")
    fork = forked(story, outputs={"b": {"n": 1}})
    opening = own(fork)[0].event
    assert isinstance(opening, ExecutionForked)
    assert opening.initial == {"b": GivenOutput({"n": 1})}
    fork.returns("a")
    assert fork.running() == ["e"]
    assert inputs(fork, "e") == [{"n": 1}]


def test_what_runs_waits_or_has_failed_ends_with_its_result() -> None:
    story = Story("s -> a -> e; s -> b -> e; s -> d -> e", strategy=ErrorStrategy.COLLECT)
    story.returns("s")
    story.raises("a")
    story.gives("b", WaitUntil(60, create_node_output({"default": 1})))
    fork = forked(story, outputs={"a": 1, "b": 2, "d": 3})
    assert inputs(fork, "e") == [1, 2, 3]
    assert "NodeInterrupted" not in fork.begun
    assert finish(fork) is COMPLETED


def test_an_unknown_node_is_refused_with_the_nearest_name() -> None:
    story = Story("s -> apple -> e")
    with pytest.raises(InvalidInput, match="no node 'aple'") as refused:
        forked(story, outputs={"aple": 1})
    assert refused.value.field == ("overrides", "outputs", "aple")
    assert "apple" in (refused.value.hint or "")


def test_what_asks_a_person_is_decided_and_given_no_result() -> None:
    story = Story("s -> g -> e")
    story.returns("s")
    story.asks("g")
    with pytest.raises(InvalidInput, match="waits for a person") as refused:
        forked(story, outputs={"g": 1})
    assert "SKIP" in (refused.value.hint or "")


def test_a_node_that_has_ended_cannot_leave_by_another_port() -> None:
    story = Story("s -> c; c.t -> a; c.f -> b")
    story.returns("s")
    story.returns("c", 1, port="condtrue")
    fork = forked(story, outputs={"c": True})
    assert fork.running() == ["a"]
    with pytest.raises(InvalidInput, match="comes too late") as refused:
        forked(story, outputs={"c": False})
    assert "before it ended" in (refused.value.hint or "")


def test_a_node_that_chooses_is_given_a_result_that_names_its_port() -> None:
    story = Story("s -> a -> c; c.t -> d; c.f -> b")
    story.returns("s")
    with pytest.raises(InvalidInput, match="names none"):
        forked(story, outputs={"c": "maybe"})
    fork = forked(story, outputs={"c": False})
    fork.returns("a")
    assert fork.running() == ["b"]


# --- everywhere ---------------------------------------------------------------------------------


def drive(story: Story, turns: int) -> ExecutionStatus:
    """Nodes count their visits; a person approves; the loop is left after so many turns."""
    while story.status().is_active:
        for record in list(story.state.barriers.values()):
            if record.status is BarrierStatus.WAITING:
                run = record.node_run
                story.decides(run.node, BarrierAction.APPROVE, run.occurrence, run.attempt)
        for key in story.running():
            occurrence = story.run_of(key).occurrence
            if key.startswith("g"):
                story.asks(key, variable="gate")
            elif key.startswith("c"):
                port = "condtrue" if occurrence < turns else "condfalse"
                story.returns(key, occurrence, port=port)
            else:
                story.returns(key, occurrence, puts={"total": 1, key: occurrence})
    check(story)
    return story.status()


def outcome(story: Story) -> Any:
    state = story.state
    nodes = [(each.status, each.occurrence) for each in state.nodes]
    return state.status, nodes, state.variables, {k: v.body for k, v in state.outputs.items()}


@pytest.mark.parametrize(
    "text",
    [
        "s -> a -> g -> h -> b -> c; c.t -> h; c.f -> e",
        "s -> h -> g -> c; c.t -> h; c.f -> e; s -> d -> e",
        "s -> a -> h -> x -> c; h -> b -> c; c.t -> h; c.f -> g -> e; a -> b",
    ],
)
def test_a_fork_behind_any_event_ends_as_the_run_did(text: str) -> None:
    """000-11, 004-W1: nothing is lost, done twice or decided by nobody, wherever a log is cut."""
    reducers = {"total": "add"}
    story = Story(text, variables={"total": 0}, reducers=reducers)
    assert drive(story, 10) is COMPLETED
    kept = list(story.log)
    for at in range(1, len(kept)):
        fork = forked(story, at)
        assert drive(fork, 10) is COMPLETED, at
        assert outcome(fork) == outcome(story), (at, names(own(fork)))
    assert story.log == kept
