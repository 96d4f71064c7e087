"""Stories of one execution: given events, when a signal, then events."""

from __future__ import annotations

import pytest

from dipeo_server.domains.execution.commands import RunNode, SetTimer
from dipeo_server.domains.execution.events import ErrorStrategy
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import SKIP_BRANCH, WaitUntil, create_node_output
from dipeo_server.domains.execution.signals import NodeReturned, TimerFired
from dipeo_server.domains.execution.status import (
    ExecutionStatus,
    NodeExecutionStatus,
)
from dipeo_server.errors import InvalidInput, InvalidState
from tests.builders import Story

_E = ExecutionStatus
_N = NodeExecutionStatus


def test_a_run_begins_runs_and_completes() -> None:
    story = Story("s -> a -> e")
    assert story.begun == ["ExecutionStarted", "ExecutionStatusChanged", "NodeStarted"]
    assert story.returns("s", 1) == ["NodeCompleted", "NodeStarted"]
    assert story.returns("a", 2) == ["NodeCompleted", "NodeStarted"]
    assert story.returns("e", 3) == ["NodeCompleted", "ExecutionCompleted"]
    assert story.status() is _E.COMPLETED
    assert not story.machine.outstanding()


def test_a_late_result_changes_nothing() -> None:
    story = Story("s -> a -> e")
    run = story.run_of("s")
    story.returns("s")
    before = list(story.log)
    assert story.tell(NodeReturned(run, create_node_output({"default": 2}))) == []
    assert story.log == before


def test_independent_branches_run_side_by_side_and_a_join_waits_for_both() -> None:
    story = Story("s -> a -> j -> e; s -> b -> j")
    story.returns("s")
    assert set(story.state.running.values()) == {NodeRun("a", 1), NodeRun("b", 1)}
    assert story.returns("b", "B") == ["NodeCompleted"]
    assert story.returns("a", "A") == ["NodeCompleted", "NodeStarted"]


def test_commands_are_a_function_of_the_state() -> None:
    story = Story("s -> a; s -> b")
    story.returns("s")
    live = story.machine.outstanding()
    assert set(live.values()) == {RunNode(NodeRun("a", 1)), RunNode(NodeRun("b", 1))}
    assert ExecutionMachine.replay(story.log).outstanding() == live


def test_deltas_are_told_before_the_end_of_their_node() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    told = story.returns("a", 1, puts={"total": 5})
    assert told == ["StateChanged", "NodeCompleted", "NodeStarted"]
    assert story.state.variables == {"total": 5}


def test_a_reducer_is_applied_before_it_is_recorded() -> None:
    story = Story("s -> a -> b -> e", reducers={"total": "add"}, variables={"total": 1})
    story.returns("s")
    story.returns("a", puts={"total": 2})
    story.returns("b", puts={"total": 3})
    assert story.event("StateChanged").value == 6


def test_concurrent_writers_of_one_key_conflict_by_graph_not_by_clock() -> None:
    story = Story("s -> a -> e; s -> b -> e")
    story.returns("s")
    story.returns("a", puts={"x": 1})
    story.returns("b", puts={"x": 2})
    failure = story.event("NodeFailed").failure
    assert failure.code == "CONFLICT"
    assert "'a'" in failure.message
    assert "'b'" in failure.message
    assert "'x'" in failure.message


def test_concurrent_writers_with_a_commutative_reducer_do_not_conflict() -> None:
    story = Story("s -> a -> e; s -> b -> e", reducers={"x": "add"})
    story.returns("s")
    story.returns("a", puts={"x": 1})
    story.returns("b", puts={"x": 2})
    assert story.state.variables == {"x": 3}


def test_writers_one_after_the_other_do_not_conflict() -> None:
    story = Story("s -> a -> b -> e")
    story.returns("s")
    story.returns("a", puts={"x": 1})
    assert "StateChanged" in story.returns("b", puts={"x": 2})


def test_the_same_key_in_different_turns_of_a_loop_does_not_conflict() -> None:
    story = Story("s -> h -> a -> c; h -> b -> c; c.f -> h; c.t -> e")
    story.returns("s")
    story.returns("h")
    story.returns("a", puts={"x": 1})
    story.returns("b")
    story.returns("c", port="condfalse")
    story.returns("h")
    assert "StateChanged" in story.returns("b", puts={"x": 2})


def test_003_06_skip_branch_travels_down_its_branch_only() -> None:
    story = Story("s -> a -> b -> e; s -> k -> e2")
    story.returns("s")
    assert story.gives("a", SKIP_BRANCH) == ["NodeCompleted", "NodeSkipped", "NodeSkipped"]
    assert story.node("b").skip_reason == "skip_branch"
    assert story.node("e").skip_reason == "skip_branch"
    story.returns("k")
    story.returns("e2")
    assert story.status() is _E.COMPLETED


def test_003_w3_a_skipped_parent_does_not_skip_a_join_with_live_parents() -> None:
    story = Story("s -> a -> j -> e; s -> b -> j")
    story.returns("s")
    story.gives("a", SKIP_BRANCH)
    story.returns("b", "B")
    assert story.run_of("j") == NodeRun("j", 1)


def test_003_w1_what_no_start_reaches_is_skipped_as_unreachable() -> None:
    story = Story("s -> a -> e; lost -> found")
    assert "NodeSkipped" in story.begun
    assert story.node("lost").skip_reason == "unreachable"
    assert story.node("found").skip_reason == "unreachable"


def test_003_07_a_failure_propagates_by_default_and_fails_fast() -> None:
    story = Story("s -> a -> b -> e; s -> k -> e2")
    story.returns("s")
    assert story.raises("a") == ["NodeFailed", "ExecutionStatusChanged"]
    assert not story.machine.outstanding()
    assert story.stops("k") == ["NodeInterrupted", "ExecutionFailed"]
    assert story.node("k").status is _N.ABORTED
    assert story.node("b").status is _N.PENDING
    assert story.event("ExecutionFailed").failure.code == "CODE_ERROR"


def test_fail_fast_alone_ends_the_run_at_once() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    assert story.raises("a") == ["NodeFailed", "ExecutionFailed"]


def test_003_07_a_node_may_declare_the_errors_it_handles() -> None:
    story = Story(
        "s -> a -> e", props={"a": {"on_error": {"policy": "continue", "match": ["TIMEOUT"]}}}
    )
    story.returns("s")
    assert story.raises("a", "TIMEOUT") == ["ObservedError", "NodeFailed", "NodeStarted"]
    story.returns("e")
    assert story.status() is _E.COMPLETED
    other = Story(
        "s -> a -> e", props={"a": {"on_error": {"policy": "continue", "match": ["TIMEOUT"]}}}
    )
    other.returns("s")
    assert other.raises("a", "CODE_ERROR")[-1] == "ExecutionFailed"


def test_an_error_edge_takes_the_failure() -> None:
    story = Story("s -> a -> b -> e; a.error -> r -> e2")
    story.returns("s")
    told = story.raises("a")
    assert told == ["ObservedError", "NodeFailed", "NodeSkipped", "NodeSkipped", "NodeStarted"]
    assert story.event("NodeFailed").handled == "error_port"
    story.returns("r")
    story.returns("e2")
    assert story.status() is _E.COMPLETED
    assert story.event("ExecutionCompleted").observed_errors == 1


def test_a_default_output_takes_the_place_of_a_result() -> None:
    story = Story(
        "s -> a -> e", props={"a": {"on_error": {"policy": "default_output", "output": 7}}}
    )
    story.returns("s")
    story.raises("a")
    index = story.state.diagram.index_of["e"]
    assert [ref.envelope.body for ref in story.state.inputs[index]] == [7]


def test_collect_lets_everything_independent_finish() -> None:
    story = Story("s -> a -> b -> e; s -> k -> e2", strategy=ErrorStrategy.COLLECT)
    story.returns("s")
    assert story.raises("a") == ["NodeFailed", "NodeSkipped", "NodeSkipped"]
    assert story.node("b").skip_reason == "upstream_failed"
    story.returns("k")
    assert story.returns("e2")[-1] == "ExecutionFailed"


def test_collect_partial_completes_with_what_went_well() -> None:
    story = Story("s -> a -> e; s -> k -> e2", strategy=ErrorStrategy.COLLECT_PARTIAL)
    story.returns("s")
    story.raises("a")
    story.returns("k")
    assert story.returns("e2")[-1] == "ExecutionCompleted"
    assert story.event("ExecutionCompleted").observed_errors == 1


def test_a_retry_waits_and_runs_the_same_visit_again() -> None:
    retry = {"attempts": 2, "initial_seconds": 5}
    story = Story("s -> a -> e", props={"a": {"retry": retry}})
    story.returns("s")
    told = story.raises("a", retryable=True)
    assert told == ["NodeFailed", "NodeRetryScheduled", "ExecutionStatusChanged"]
    assert story.status() is _E.WAITING
    [timer] = story.machine.outstanding().values()
    assert isinstance(timer, SetTimer)
    assert (timer.due_at - story.now).total_seconds() == 5
    assert story.fires("a") == ["NodeStarted", "ExecutionStatusChanged"]
    assert story.run_of("a") == NodeRun("a", 1, 2)
    assert story.raises("a", retryable=True)[-1] == "ExecutionFailed"


def test_what_is_not_retryable_is_not_retried() -> None:
    story = Story("s -> a -> e", props={"a": {"retry": {"attempts": 5}}})
    story.returns("s")
    assert story.raises("a")[-1] == "ExecutionFailed"


def test_an_early_timer_is_stale() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    story.gives("a", WaitUntil(60, create_node_output({"default": 1})))
    assert story.tell(TimerFired(NodeRun("a", 1))) == []


def test_a_delay_keeps_its_deadline_over_a_restart() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    told = story.gives("a", WaitUntil(60, create_node_output({"default": 1})))
    assert told == ["NodeReported", "ExecutionStatusChanged"]
    due = story.event("NodeReported").due_at
    assert story.restarts() == []
    [timer] = story.machine.outstanding().values()
    assert isinstance(timer, SetTimer)
    assert timer.due_at == due
    assert "NodeCompleted" in story.fires("a")


def test_002_w2_a_run_ends_completed_or_stalled_never_silently() -> None:
    story = Story("s -> c; c.t -> e")
    story.returns("s")
    assert story.returns("c", port="condfalse")[-1] == "ExecutionCompleted"
    assert story.node("e").skip_reason == "branch_not_taken"


def test_the_step_limit_pauses_the_run_and_can_be_raised() -> None:
    story = Story("s -> a -> b -> e", max_steps=2)
    story.returns("s")
    assert story.returns("a") == ["NodeCompleted", "ExecutionStatusChanged"]
    assert story.status() is _E.PAUSED
    assert story.state.pause_reason == "max_steps"
    with pytest.raises(InvalidInput, match="2 steps"):
        story.resumes()
    assert story.resumes(10) == ["LimitRaised", "ExecutionStatusChanged", "NodeStarted"]
    story.returns("b")
    story.returns("e")
    assert story.status() is _E.COMPLETED


def test_only_a_paused_run_can_be_resumed() -> None:
    story = Story("s -> a -> e")
    with pytest.raises(InvalidState):
        story.resumes()


def test_conditions_on_edges_choose_and_are_evaluated_once() -> None:
    story = Story(
        "s -> a; a -> b; a -> d; b -> e; d -> e2",
        edges={
            "a>b": {"kind": "when", "condition": "output > 3"},
            "a>d": {"kind": "default"},
        },
    )
    story.returns("s")
    story.returns("a", 5)
    assert list(story.state.running.values()) == [NodeRun("b", 1)]
    assert story.node("d").skip_reason == "branch_not_taken"


def test_nothing_matches_on_a_routing_node_is_unrouted() -> None:
    story = Story(
        "s -> a; a -> b; b -> e",
        props={"a": {"fan_out": "first"}},
        edges={"a>b": {"kind": "when", "condition": "output > 3"}},
    )
    story.returns("s")
    story.returns("a", 1)
    failure = story.event("NodeFailed").failure
    assert failure.code == "UNROUTED"
    assert "output > 3 = False" in failure.message


def test_times_in_a_log_never_go_back() -> None:
    story = Story("s -> a -> e")
    story.wait(-3_600)
    story.returns("s")
    times = [recorded.at for recorded in story.log]
    assert times == sorted(times)


def test_sequences_are_gapless_from_one() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    story.returns("a")
    story.returns("e")
    assert [recorded.seq for recorded in story.log] == list(range(1, len(story.log) + 1))
