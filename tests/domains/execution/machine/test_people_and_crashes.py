"""Stories of aborts, decisions and restarts: given events, when a signal, then events."""

from __future__ import annotations

import pytest

from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.output import create_node_output
from dipeo_server.domains.execution.signals import NodeReport
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)
from dipeo_server.errors import AlreadyDecided, ExecutionFinished, InvalidInput
from tests.builders import Story

_E = ExecutionStatus
_N = NodeExecutionStatus


def test_abort_stops_what_runs_and_then_ends() -> None:
    story = Story("s -> a -> e; s -> b -> e")
    story.returns("s")
    assert story.aborts() == ["ExecutionStatusChanged"]
    assert story.aborts() == []
    assert not story.machine.outstanding()
    assert story.returns("a", "late") == ["ResultDiscarded", "NodeInterrupted"]
    assert story.stops("b") == ["NodeInterrupted", "ExecutionAborted"]
    assert story.event("ExecutionAborted").actor == "ann"
    assert story.aborts() == []


def test_a_finished_run_takes_no_more_wishes() -> None:
    story = Story("s -> e")
    story.returns("s")
    story.returns("e")
    with pytest.raises(ExecutionFinished):
        story.aborts()


def test_abort_at_a_waiting_barrier_is_never_an_approval() -> None:
    story = Story("s -> g; g.ok -> e")
    story.returns("s")
    story.asks("g")
    told = story.aborts()
    assert told == ["BarrierResolved", "NodeInterrupted", "ExecutionAborted"]
    assert story.event("BarrierResolved").status is BarrierStatus.CANCELLED
    assert story.node("e").status is _N.PENDING


def test_an_approval_fires_its_ports_and_sets_its_variable() -> None:
    story = Story("s -> g; g.ok -> e; g.no -> e2")
    story.returns("s")
    assert story.asks("g", variable="gate") == ["BarrierWaiting", "ExecutionStatusChanged"]
    assert story.status() is _E.WAITING
    told = story.decides("g", BarrierAction.APPROVE, actor="ann")
    assert told[:3] == ["BarrierResolved", "StateChanged", "NodeCompleted"]
    assert story.state.variables["gate"]["approved"] is True
    assert story.node("e2").skip_reason == "branch_not_taken"
    assert story.event("NodeCompleted").output.body["decided_by"] == "ann"


def test_the_first_decision_wins() -> None:
    story = Story("s -> g; g.ok -> e; g.no -> e2")
    story.returns("s")
    story.asks("g")
    story.decides("g", BarrierAction.REJECT, reason="no", actor="bob")
    with pytest.raises(AlreadyDecided, match="bob"):
        story.decides("g", BarrierAction.APPROVE, actor="ann")


def test_a_rejection_without_an_edge_of_its_own_fails_the_run() -> None:
    story = Story("s -> g; g.ok -> e")
    story.returns("s")
    story.asks("g")
    assert story.decides("g", BarrierAction.REJECT, reason="too dear")[-1] == "ExecutionFailed"
    assert story.state.error is not None
    assert story.state.error.code == "BARRIER_REJECTED"
    assert "too dear" in story.state.error.message


def test_004_w6_a_skip_is_no_approval() -> None:
    story = Story("s -> g; g.ok -> e")
    story.returns("s")
    story.asks("g", timeout=10, default_action="skip", variable="gate")
    story.fires("g")
    assert story.state.variables["gate"] == {
        "approved": False,
        "reject_reason": None,
        "skipped": True,
        "answer": None,
    }
    assert story.node("e").skip_reason == "barrier_skipped"


@pytest.mark.parametrize(
    "action, ends", [("approve", "ExecutionCompleted"), ("reject", "ExecutionFailed")]
)
def test_a_timeout_takes_the_default_action(action: str, ends: str) -> None:
    story = Story("s -> g; g.ok -> e")
    story.returns("s")
    story.asks("g", timeout=10, default_action=action)
    told = story.fires("g")
    if action == "approve":
        told = story.returns("e")
    assert told[-1] == ends
    resolved = story.event("BarrierResolved")
    assert (resolved.status, resolved.action) == (BarrierStatus.TIMED_OUT, action.upper())
    assert resolved.decided_by is None


def test_a_question_takes_its_answer_as_output() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    story.asks("a", "answer", answer_schema={"type": "string"})
    with pytest.raises(InvalidInput, match="needs an answer"):
        story.decides("a", BarrierAction.APPROVE)
    with pytest.raises(InvalidInput, match="schema"):
        story.decides("a", BarrierAction.APPROVE, answer=5)
    story.decides("a", BarrierAction.APPROVE, answer="blue")
    assert story.state.outputs["a"].body == "blue"


def test_a_question_that_nobody_answers_fails_with_answer_timeout() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    story.asks("a", "answer", timeout=5, default_action="answer")
    assert story.fires("a")[-1] == "ExecutionFailed"
    assert story.state.error is not None
    assert story.state.error.code == "ANSWER_TIMEOUT"


def test_a_default_answer_is_taken_in_time() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    story.asks("a", "answer", timeout=5, default_action="answer", default_answer="green")
    story.fires("a")
    assert story.state.outputs["a"].body == "green"


def test_a_restart_runs_harmless_nodes_again_and_completed_ones_never() -> None:
    story = Story("s -> a -> e; s -> b -> e")
    story.returns("s")
    story.returns("a", 1)
    told = story.restarts()
    assert told == ["RunnerRestarted", "NodeInterrupted", "NodeStarted"]
    assert story.run_of("b") == NodeRun("b", 1, 2)
    assert list(story.state.running.values()) == [NodeRun("b", 1, 2)]


def test_a_restart_asks_about_nodes_with_effects() -> None:
    story = Story("s -> x -> e")
    story.returns("s")
    told = story.restarts()
    assert told == ["RunnerRestarted", "BarrierWaiting", "ExecutionStatusChanged"]
    assert not story.machine.outstanding()
    assert story.restarts() == []
    assert "NodeStarted" in story.decides("x", BarrierAction.APPROVE, actor="ann")
    assert story.run_of("x") == NodeRun("x", 1, 2)


def test_an_approval_to_run_again_is_none_to_run_once_more() -> None:
    story = Story("s -> x -> e")
    story.returns("s")
    story.restarts()
    story.decides("x", BarrierAction.APPROVE, actor="ann")
    assert "BarrierWaiting" in story.restarts()
    with pytest.raises(AlreadyDecided):
        story.decides("x", BarrierAction.APPROVE, actor="ann")
    assert not story.state.running
    assert "NodeStarted" in story.decides("x", BarrierAction.APPROVE, attempt=2, actor="ann")
    assert story.run_of("x") == NodeRun("x", 1, 3)


def test_after_a_restart_an_effect_can_be_failed_or_given_its_output() -> None:
    rejected = Story("s -> x -> e")
    rejected.returns("s")
    rejected.restarts()
    assert rejected.decides("x", BarrierAction.REJECT, reason="paid")[-1] == "ExecutionFailed"
    modified = Story("s -> x -> e")
    modified.returns("s")
    modified.restarts()
    modified.decides("x", BarrierAction.MODIFY, answer={"paid": True})
    assert modified.state.outputs["x"].body == {"paid": True}


def test_001_w2_an_early_report_is_used_only_after_a_crash() -> None:
    story = Story("s -> x -> e")
    story.returns("s")
    output = create_node_output({"default": "done"})
    assert story.tell(NodeReport(story.run_of("x"), output)) == ["NodeReported"]
    assert story.tell(NodeReport(story.run_of("x"), output)) == []
    assert story.restarts() == ["RunnerRestarted", "NodeCompleted", "NodeStarted"]
    assert story.state.outputs["x"].body == "done"


def test_a_restart_while_aborting_ends_the_abort() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    story.aborts()
    assert story.restarts() == ["RunnerRestarted", "NodeInterrupted", "ExecutionAborted"]


def test_a_node_may_say_what_a_crash_means() -> None:
    story = Story("s -> a -> e", props={"a": {"after_crash": "fail"}})
    story.returns("s")
    assert story.restarts()[-1] == "ExecutionFailed"
