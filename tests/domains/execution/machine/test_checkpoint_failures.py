"""What becomes of a run whose checkpoint could not be taken: it goes on, is held, or fails."""

from __future__ import annotations

from typing import Any

import pytest

from dipeo_server.domains.execution.checkpoint import (
    PRESETS,
    CheckpointFailurePolicy,
    CheckpointPolicy,
    CheckpointPreset,
    CheckpointSettings,
    CheckpointTrigger,
)
from dipeo_server.domains.execution.events import BarrierAction, ErrorStrategy, PauseCause
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.machine.forking import undone
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.signals import CheckpointRequested, ForkRequested
from dipeo_server.domains.execution.snapshot import document_of, restored, snapshot
from dipeo_server.domains.execution.status import ExecutionStatus
from tests.builders import Story

CONTINUE = CheckpointFailurePolicy.CONTINUE
FAIL, PAUSE = CheckpointFailurePolicy.FAIL, CheckpointFailurePolicy.PAUSE
T = CheckpointTrigger
STEPS: CheckpointPolicy = (T.EVERY_STEP,)
ASKED: CheckpointPolicy = (T.ON_REQUEST,)
FAILED = ["CheckpointFailed"]
HELD = [*FAILED, "ExecutionStatusChanged"]


def story(
    text: str,
    on_failure: CheckpointFailurePolicy,
    policy: CheckpointPolicy = ASKED,
    *,
    size_max: int = 10,
    **options: Any,
) -> Story:
    """A run whose states are too large to be kept."""
    settings = CheckpointSettings(on_failure=on_failure, size_max=size_max)
    return Story(text, wish={"checkpoints": policy, "checkpointing": settings}, **options)


def asks(told: Story) -> list[str]:
    return told.tell(CheckpointRequested("ann"))


def test_by_default_it_goes_on() -> None:
    """004-W12"""
    assert CheckpointSettings().on_failure is CONTINUE
    told = story("s -> a", CONTINUE, STEPS)
    assert told.returns("s")[-1:] == FAILED
    assert (told.status(), told.running()) == (ExecutionStatus.RUNNING, ["a"])
    told.returns("a")
    assert told.status() is ExecutionStatus.COMPLETED


# --- PAUSE ----------------------------------------------------------------------------------------


def test_with_pause_it_is_held_with_the_message_and_resuming_goes_on() -> None:
    """004-W12"""
    told = story("s -> a -> e", PAUSE)
    assert asks(told) == HELD
    assert told.status() is ExecutionStatus.PAUSED
    assert told.state.pause_cause is PauseCause.CHECKPOINT
    failed = told.log[-2].event
    assert told.state.pause_reason == getattr(failed, "message", None)
    assert "at most 10 are kept" in (told.state.pause_reason or "")
    told.returns("s")
    assert told.running() == []  # Nothing new starts.
    told.resumes()
    assert told.running() == ["a"]
    told.returns("a")
    told.returns("e")
    assert told.status() is ExecutionStatus.COMPLETED


@pytest.mark.parametrize("preset", [CheckpointPreset.CONSERVATIVE, CheckpointPreset.MINIMAL])
def test_to_resume_it_is_not_what_holds_it_again(preset: CheckpointPreset) -> None:
    """Whoever resumes it goes on without what could not be kept."""
    told = story("s -> g.ok -> a -> e", PAUSE, PRESETS[preset])
    told.returns("s")
    told.asks("g")
    assert told.decides("g", BarrierAction.APPROVE)[-2:] == HELD
    assert "CheckpointFailed" not in told.resumes()
    assert told.status() is ExecutionStatus.RUNNING
    told.returns("a")
    told.returns("e")
    assert told.status() is ExecutionStatus.COMPLETED


def test_each_one_that_fails_holds_it() -> None:
    told = story("s -> q1 -> q2 -> e", PAUSE, STEPS)
    for key in ("s", "q1", "q2"):
        assert told.returns(key)[-2:] == HELD
        told.resumes()
    assert told.returns("e")[-2:] == [*FAILED, "ExecutionCompleted"]


def test_a_paused_run_stays_paused_for_what_it_was_paused() -> None:
    told = story("s -> a", PAUSE)
    told.pauses(reason="lunch")
    assert asks(told) == FAILED
    assert (told.state.pause_cause, told.state.pause_reason) == (PauseCause.USER, "lunch")
    told.resumes()
    assert told.status() is ExecutionStatus.RUNNING


def test_a_run_that_waits_for_a_person_is_held_and_can_be_decided() -> None:
    told = story("s -> g.ok -> a", PAUSE)
    told.returns("s")
    told.asks("g")
    assert told.status() is ExecutionStatus.WAITING
    assert asks(told) == HELD
    told.decides("g", BarrierAction.APPROVE)
    assert told.status() is ExecutionStatus.PAUSED
    told.resumes()
    assert told.running() == ["a"]


def test_a_step_is_held_behind_its_visit_as_ever() -> None:
    told = story("s -> q1 -> q2 -> e", PAUSE, STEPS)
    told.returns("s")
    told.returns("q1")  # It had begun.
    told.steps()
    assert told.running() == ["q2"]
    assert told.returns("q2")[-1:] == FAILED
    assert (told.status(), told.state.pause_cause) == (ExecutionStatus.PAUSED, PauseCause.STEP)


# --- FAIL -----------------------------------------------------------------------------------------


def test_with_fail_it_is_a_failure_of_the_run_and_of_no_node() -> None:
    """004-W12: fail-fast stops what runs, and awaits it."""
    told = story("s -> a; s -> b", FAIL)
    told.returns("s")
    assert asks(told) == HELD
    assert told.state.ending is not None
    told.stops("a")
    told.stops("b")
    failure = told.state.error
    assert (told.status(), told.state.status.is_terminal) == (ExecutionStatus.FAILED, True)
    assert failure is not None
    assert (failure.code, failure.node) == ("CHECKPOINT_FAILED", None)
    assert "at most 10 are kept" in failure.message


def test_where_nothing_runs_it_fails_at_once_and_keeps_no_more() -> None:
    policy = (T.BARRIER_RESOLVED, T.EXECUTION_COMPLETED)
    told = story("s -> g", FAIL, policy)
    told.returns("s")
    told.asks("g")
    names = asks(told)
    assert (names[0], names[-1]) == ("CheckpointFailed", "ExecutionFailed")
    assert names.count("CheckpointFailed") == 1


def test_collecting_goes_on_and_fails_in_the_end_for_one_of_them() -> None:
    told = story("s -> a -> b -> e", FAIL, STEPS, strategy=ErrorStrategy.COLLECT)
    for key in ("s", "a", "b"):
        assert told.returns(key)[-1:] == FAILED
    told.returns("e")
    last = told.event("ExecutionFailed")
    assert [each.code for each in last.errors] == ["CHECKPOINT_FAILED"]
    assert told.node("e").status == "COMPLETED"


def test_collecting_the_good_part_completes_and_counts_it() -> None:
    told = story("s -> a", FAIL, STEPS, strategy=ErrorStrategy.COLLECT_PARTIAL)
    told.returns("s")
    told.returns("a")
    assert told.status() is ExecutionStatus.COMPLETED
    assert told.event("ExecutionCompleted").observed_errors == 1


def test_a_pause_holds_the_failure() -> None:
    told = story("s -> a", FAIL)
    told.pauses()
    assert asks(told) == FAILED
    told.returns("s")
    assert told.status() is ExecutionStatus.PAUSED
    told.resumes()
    assert told.status() is ExecutionStatus.FAILED


# --- the end, and what goes on from there ---------------------------------------------------------


@pytest.mark.parametrize("on_failure", list(CheckpointFailurePolicy))
def test_the_last_one_changes_nothing_of_the_end(on_failure: CheckpointFailurePolicy) -> None:
    told = story("s -> e", on_failure, (T.EXECUTION_COMPLETED,))
    told.returns("s")
    assert told.returns("e")[-2:] == [*FAILED, "ExecutionCompleted"]
    assert told.event("ExecutionCompleted").observed_errors == 0
    aborted = story("s -> g", on_failure, (T.EXECUTION_COMPLETED,))
    aborted.returns("s")
    aborted.asks("g")
    assert aborted.aborts()[-2:] == [*FAILED, "ExecutionAborted"]


@pytest.mark.parametrize("on_failure", [PAUSE, FAIL])
def test_one_that_fails_while_the_run_is_ended_changes_nothing_of_that(
    on_failure: CheckpointFailurePolicy,
) -> None:
    told = story("s -> a; s -> b", on_failure)
    told.returns("s")
    told.aborts()
    assert asks(told) == FAILED
    told.stops("a")
    told.stops("b")
    assert told.status() is ExecutionStatus.ABORTED


@pytest.mark.parametrize("on_failure", [PAUSE, FAIL])
def test_a_fork_has_the_policy_and_none_of_the_failures(
    on_failure: CheckpointFailurePolicy,
) -> None:
    told = story("s -> a -> e", on_failure)
    told.returns("s")
    asks(told)
    at = next(
        place for place, each in enumerate(told.log) if each.event.kind == "checkpoint_failed"
    )
    log = told.log[: at + 1]
    told.log, told.machine = log, ExecutionMachine.replay(log)
    told.tell(ForkRequested(ExecutionID("y"), ExecutionID("x"), log[-1].event, undone(log)))
    assert (told.status(), told.running()) == (ExecutionStatus.RUNNING, ["a"])
    assert told.state.checkpointing.on_failure is on_failure
    assert asks(told)[:2] == HELD


def test_the_policy_is_kept_with_the_state_and_is_nothing_where_it_is_the_usual_one() -> None:
    told = story("s -> a", PAUSE, STEPS, size_max=10_000)
    told.returns("s")
    (taken,) = told.machine.taken()
    document = document_of([taken.payload], taken.checkpoint.content_hash)
    assert restored(document, told.state.diagram, {}).checkpointing.on_failure is PAUSE
    assert "checkpointing" not in snapshot(story("s -> a", CONTINUE, size_max=2**26).state)["state"]


@pytest.mark.parametrize("on_failure", [PAUSE, FAIL])
def test_what_is_folded_is_what_was(on_failure: CheckpointFailurePolicy) -> None:
    told = story("s -> x1 -> e", on_failure, (T.ADAPTIVE,))
    told.returns("s")
    assert told.returns("x1", usage=TokenUsage(input=500))[-2:] == HELD
    assert snapshot(ExecutionMachine.replay(told.log).state) == snapshot(told.state)
    told.restarts()
    assert told.state.is_paused is (on_failure is PAUSE)
