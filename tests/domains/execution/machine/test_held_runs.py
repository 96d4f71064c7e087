"""Stories of what a held run refuses, and of failures that are held with it."""

from __future__ import annotations

import pytest

from dipeo_server.domains.execution.events import Breakpoint, Budget, ErrorStrategy
from dipeo_server.domains.execution.interventions import BreakpointWhen, PauseMode
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    BreakpointsSet,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    StepRequested,
)
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import InvalidState
from tests.builders import Story

_E = ExecutionStatus


def test_a_step_goes_past_a_failure_that_is_held() -> None:
    story = Story("s -> a -> e; s -> b -> e2")
    story.returns("s")
    story.tell(PauseRequested())
    story.raises("a")
    story.returns("b")
    assert story.tell(StepRequested()) == ["ExecutionStatusChanged", "NodeStarted"]
    assert story.returns("e2")[-1] == "ExecutionStatusChanged"
    assert story.status() is _E.PAUSED
    story.tell(RetryRequested("a"))
    story.tell(ResumeRequested())
    story.fires("a")
    story.returns("a")
    assert story.returns("e")[-1] == "ExecutionCompleted"


def test_partial_results_are_held_as_well_until_the_resume() -> None:
    story = Story("s -> a -> e", strategy=ErrorStrategy.COLLECT_PARTIAL)
    story.returns("s")
    story.tell(PauseRequested())
    story.raises("a")
    assert story.status() is _E.PAUSED
    assert story.resumes()[-1] == "ExecutionCompleted"


def test_a_run_without_tokens_left_takes_no_step() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    story.tell(PauseRequested())
    story.tell(ResumeRequested(budget=Budget(max_tokens=10)))
    story.returns("a", usage=TokenUsage(10))
    assert story.status() is _E.PAUSED
    with pytest.raises(InvalidState, match="max_tokens"):
        story.tell(StepRequested())


def test_a_run_that_is_being_aborted_is_not_resumed() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    story.tell(PauseRequested())
    story.tell(AbortRequested())
    with pytest.raises(InvalidState, match="being ended"):
        story.resumes()
    assert story.stops("a")[-1] == "ExecutionAborted"


def test_a_pause_that_fails_a_node_holds_at_its_breakpoint_too() -> None:
    story = Story("s -> a -> e", props={"a": {"after_crash": "fail"}})
    story.tell(BreakpointsSet((Breakpoint("a", BreakpointWhen.AFTER),)))
    story.returns("s")
    told = story.tell(PauseRequested(PauseMode.NOW))
    assert told[:3] == ["ExecutionStatusChanged", "NodeFailed", "BreakpointHit"]
    assert story.status() is _E.PAUSED
