"""Stories in which people run nodes again, or skip them."""

from __future__ import annotations

import pytest

from dipeo_server.domains.execution.commands import RunNode
from dipeo_server.domains.execution.events import BarrierAction, ErrorStrategy, NodeSkipped
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.output import WaitUntil, create_node_output
from dipeo_server.domains.execution.signals import (
    NodeReturned,
    NodeStopped,
    OutputGiven,
    SkipRequested,
    TimerFired,
)
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.errors import ExecutionFinished, InvalidState, NotFound
from tests.domains.execution.machine.by_hands import Hands

_N = NodeExecutionStatus
COLLECT = ErrorStrategy.COLLECT


# --- running a failed node again ----------------------------------------------------------------


def test_a_node_that_waits_for_its_retry_is_tried_at_once() -> None:
    story = Hands("s -> a -> e", props={"a": {"retry": {"attempts": 2, "initial_seconds": 60}}})
    story.returns("s")
    story.raises("a", retryable=True)
    assert story.retries("a") == ["NodeRetryScheduled"]
    event = story.event("NodeRetryScheduled")
    assert (event.node_run, event.due_at, event.actor) == (NodeRun("a", 1, 2), story.now, "ann")
    assert story.fires("a")[0] == "NodeStarted"
    story.returns("a")
    story.returns("e")
    assert story.status() is ExecutionStatus.COMPLETED


def test_a_held_failure_is_taken_back_and_the_run_completes() -> None:
    story = Hands("s -> a -> b -> e; a -> e")
    story.returns("s")
    story.pauses()
    story.raises("a")
    assert story.status() is ExecutionStatus.PAUSED
    assert story.node("e").skip_reason == "upstream_failed"
    story.retries("a")
    assert story.state.failures == []
    assert [story.node(key).status for key in "abe"] == [_N.WAITING, _N.PENDING, _N.PENDING]
    story.resumes()
    story.fires("a")
    for key in "abe":
        story.returns(key, key)
    assert story.status() is ExecutionStatus.COMPLETED
    assert story.node("a").attempt == 2


def test_a_failure_of_an_active_run_is_taken_back_while_something_else_runs() -> None:
    story = Hands("s -> a -> b -> j; s -> d -> j; j -> e", strategy=COLLECT)
    story.returns("s")
    story.raises("a")
    assert story.node("b").status is _N.SKIPPED
    assert story.node("j").status is _N.PENDING
    story.retries("a")
    story.fires("a")
    for key in ("a", "b", "d", "j", "e"):
        story.returns(key)
    assert story.status() is ExecutionStatus.COMPLETED


def test_more_attempts_than_the_policy_has_are_granted_to_a_person() -> None:
    story = Hands("s -> a -> e", props={"a": {"retry": {"attempts": 1}}})
    story.returns("s")
    for attempt in (1, 2, 3):
        story.pauses()
        assert story.run_of("a").attempt == attempt
        story.raises("a", retryable=True)
        story.retries("a")
        story.resumes()
        story.fires("a")
    story.returns("a")
    story.returns("e")
    assert story.status() is ExecutionStatus.COMPLETED


def test_a_failure_in_a_loop_is_taken_back_with_the_loop_and_its_exits() -> None:
    story = Hands("s -> a -> c; c.t -> a; c.f -> b -> e")
    story.returns("s")
    story.returns("a", 1)
    story.returns("c", port="condtrue")
    story.pauses()
    story.raises("a")
    assert story.state.blocks[0].unsettled == 0
    assert story.node("e").status is _N.SKIPPED
    story.retries("a")
    assert story.state.blocks[0].unsettled == 3
    story.resumes()
    story.fires("a")
    story.returns("a", 2)
    story.returns("c", 3, port="condfalse")
    assert story.inputs_of("b") == [3]
    story.returns("b")
    story.returns("e")
    assert story.status() is ExecutionStatus.COMPLETED
    assert story.node("a").executed == 2


def test_loops_that_were_skipped_as_a_whole_are_open_again() -> None:
    story = Hands("s -> a -> b -> c; c.t -> b; c.f -> d -> e")
    story.returns("s")
    story.pauses()
    story.raises("a")
    assert {story.node(key).skip_reason for key in "bcde"} == {"upstream_failed"}
    story.retries("a")
    assert {story.node(key).status for key in "bcde"} == {_N.PENDING}
    story.resumes()
    story.fires("a")
    for key, port in (("a", ""), ("b", ""), ("c", "condtrue"), ("b", ""), ("c", "condfalse")):
        story.returns(key, port=port or "default")
    story.returns("d")
    story.returns("e")
    assert story.status() is ExecutionStatus.COMPLETED
    assert story.node("b").executed == 2


def test_a_failure_that_was_handled_is_not_run_again() -> None:
    story = Hands("s -> a -> e", props={"a": {"on_error": {"policy": "continue"}}})
    story.returns("s")
    story.raises("a")
    with pytest.raises(InvalidState, match="was handled") as refused:
        story.retries("a")
    assert "Fork" in str(refused.value.hint)


def test_a_failure_is_final_once_something_went_on_because_of_it() -> None:
    text = "s -> a -> c; c.t -> a; c.f -> b -> e; a -> log; log -> b"
    story = Hands(text, strategy=COLLECT, props={"b": {"join": "any"}})
    story.returns("s")
    story.returns("a")
    story.returns("c", port="condtrue")
    story.returns("log")
    story.raises("a")  # So the loop ends, and `b` runs with what `log` gave in the first turn.
    assert story.run_of("b").occurrence == 1
    with pytest.raises(InvalidState, match="'b' has gone on"):
        story.retries("a")


def test_a_failure_is_final_once_the_turn_of_its_loop_is_over() -> None:
    story = Hands("s -> a -> c; c.t -> a; c.f -> e; a -> log", strategy=COLLECT)
    story.returns("s")
    story.returns("a")
    story.returns("c", port="condtrue")
    story.raises("log")
    assert story.run_of("a").occurrence == 2
    with pytest.raises(InvalidState, match="turn of its loop"):
        story.retries("log")


@pytest.mark.parametrize("key, standing", [("s", "COMPLETED"), ("a", "RUNNING"), ("e", "PENDING")])
def test_only_failed_nodes_are_run_again(key: str, standing: str) -> None:
    story = Hands("s -> a -> e")
    story.returns("s")
    with pytest.raises(InvalidState, match=standing):
        story.retries(key)


def test_a_run_that_ends_takes_no_failure_back() -> None:
    story = Hands("s -> a -> e; s -> b -> e")
    story.returns("s")
    story.raises("a")  # FAIL_FAST: the run is being stopped, since `b` still runs.
    with pytest.raises(InvalidState, match="stopped after a failure"):
        story.retries("a")
    story.stops("b")
    with pytest.raises(ExecutionFinished):
        story.retries("a")


def test_an_unknown_node_is_told_with_the_nearest() -> None:
    story = Hands("s -> fetch -> e")
    for wish in (story.retries, story.skips):
        with pytest.raises(NotFound) as refused:
            wish("fetsh")
        assert refused.value.hint == "Did you mean 'fetch'?"
    with pytest.raises(NotFound):
        story.sets("fetsh", 1)


# --- skipping -----------------------------------------------------------------------------------


def test_a_held_node_is_skipped_with_who_and_why() -> None:
    story = Hands("s -> a -> b; s -> e")
    story.pauses()
    story.returns("s")
    assert story.skips("a", "known to be down") == ["NodeSkipped", "NodeSkipped"]
    by_hand, below = (each.event for each in story.log[-2:])
    assert by_hand == NodeSkipped("a", "by_user", "ann", "known to be down")
    assert below == NodeSkipped("b", "by_user")
    assert story.node("a").skip_reason == story.node("b").skip_reason == "by_user"
    story.resumes()
    story.returns("e")
    assert story.status() is ExecutionStatus.COMPLETED


def test_a_running_node_is_given_up_and_its_late_result_changes_nothing() -> None:
    story = Hands("s -> a -> e; s -> b -> e2")
    story.returns("s")
    run = story.run_of("a")
    story.skips("a")
    assert run not in story.state.running.values()
    assert list(story.machine.outstanding().values()) == [RunNode(story.run_of("b"))]
    assert story.tell(NodeReturned(run, create_node_output({"default": 1}))) == []
    assert story.tell(NodeStopped(run, "cancelled")) == []
    assert (story.node("a").status, story.node("a").occurrence) == (_N.SKIPPED, 1)
    story.returns("b")
    story.returns("e2")
    assert story.status() is ExecutionStatus.COMPLETED


def test_a_delay_and_a_retry_that_wait_are_skipped() -> None:
    retried = {"retry": {"attempts": 2, "initial_seconds": 60}}
    story = Hands("s -> a; s -> d", props={"a": retried})
    story.returns("s")
    story.raises("a", retryable=True)
    story.gives("d", WaitUntil(60, create_node_output({"default": 1})))
    story.skips("a")
    assert story.skips("d")[-1] == "ExecutionCompleted"
    assert story.tell(TimerFired(NodeRun("d", 1))) == []


def test_a_failed_node_is_skipped_instead() -> None:
    story = Hands("s -> a -> b; s -> e")
    story.returns("s")
    story.pauses()
    story.raises("a")
    story.skips("a")
    assert story.state.failures == []
    assert (story.node("a").status, story.node("a").failure) == (_N.SKIPPED, None)
    assert story.node("b").skip_reason == "by_user"
    story.resumes()
    assert story.returns("e")[-1] == "ExecutionCompleted"


def test_a_node_that_was_skipped_puts_nothing_out_at_its_limit() -> None:
    story = Hands(
        "s -> b -> a -> c; b -> c; c.t -> b; c.f -> e",
        props={"a": {"max_iteration": 1}, "c": {"join": "any"}},
    )
    story.returns("s")
    story.returns("b")
    story.skips("a")
    story.returns("c", port="condtrue")
    story.returns("b")
    assert story.node("a").status is _N.MAXITER_REACHED
    story.returns("c", port="condfalse")
    assert story.returns("e")[-1] == "ExecutionCompleted"


@pytest.mark.parametrize("kind, way", [("approval", "SKIP"), ("answer", "Answer")])
def test_a_barrier_is_decided_and_not_skipped(kind: str, way: str) -> None:
    story = Hands("s -> g; g.ok -> e")
    story.returns("s")
    story.asks("g", kind)
    with pytest.raises(InvalidState, match="waits for a person") as refused:
        story.skips("g")
    assert way in str(refused.value.hint)
    with pytest.raises(InvalidState, match="waits for a person"):
        story.sets("g", 1)
    story.decides("g", BarrierAction.APPROVE, answer="yes")
    story.returns("e")
    assert story.status() is ExecutionStatus.COMPLETED


def test_what_was_not_reached_needs_a_breakpoint() -> None:
    story = Hands("s -> a -> e")
    for signal in (SkipRequested("a"), OutputGiven("a", 1)):
        with pytest.raises(InvalidState, match="PENDING") as refused:
            story.tell(signal)
        assert "breakpoint before 'a'" in str(refused.value.hint)
    story.returns("s")
    with pytest.raises(InvalidState, match="COMPLETED"):
        story.skips("s")
