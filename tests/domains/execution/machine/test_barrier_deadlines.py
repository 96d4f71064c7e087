"""What becomes of a barrier that nobody decides in time."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from dipeo_server.domains.execution.barrier import BarrierAlreadyDecided
from dipeo_server.domains.execution.commands import SetTimer
from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.status import BarrierStatus, NodeExecutionStatus
from tests.domains.execution.machine.deciding import Book, assert_replays

_A = BarrierAction
_B = BarrierStatus
_N = NodeExecutionStatus


def asked(text: str = "s -> g; g.ok -> e; g.no -> e2", **wish: Any) -> Book:
    """A run whose barrier waits."""
    story = Book(text)
    story.returns("s")
    story.asks("g", **wish)
    return story


def test_without_a_timeout_a_barrier_waits_for_ever() -> None:
    """004-44"""
    story = asked()
    assert not story.machine.outstanding()
    story.wait(10**9)
    assert story.decides("g", _A.APPROVE)[0] == "BarrierResolved"


@pytest.mark.parametrize(
    "default, action, gate, e, e2",
    [
        ("approve", "APPROVE", (True, None, False), _N.RUNNING, _N.SKIPPED),
        ("reject", "REJECT", (False, "timeout", False), _N.SKIPPED, _N.RUNNING),
        (None, "REJECT", (False, "timeout", False), _N.SKIPPED, _N.RUNNING),
        ("skip", "SKIP", (False, None, True), _N.SKIPPED, _N.SKIPPED),
    ],
)
def test_when_its_time_has_passed_the_default_decides(
    default: str | None,
    action: str,
    gate: tuple[bool, str | None, bool],
    e: NodeExecutionStatus,
    e2: NodeExecutionStatus,
) -> None:
    """004-44: nobody is named as the one who decided, and a late decision loses."""
    story = asked(timeout=60, default_action=default, variable="gate")
    story.fires("g")
    [resolved] = story.resolutions
    assert (resolved.status, resolved.action) == (_B.TIMED_OUT, action)
    assert (resolved.decided_by, resolved.reason) == (None, "timeout")
    variable = story.state.variables["gate"]
    assert (variable["approved"], variable["reject_reason"], variable["skipped"]) == gate
    assert (story.node("e").status, story.node("e2").status) == (e, e2)
    with pytest.raises(BarrierAlreadyDecided):
        story.decides("g", _A.APPROVE)
    assert_replays(story)


def test_a_deadline_in_a_loop_is_that_of_its_visit() -> None:
    """004-44"""
    story = asked("s -> g; g.no -> w -> g; g.ok -> e", timeout=60)
    first = story.state.waiting[story.state.diagram.index_of["g"]].node_run
    story.decides("g", _A.REJECT)
    story.returns("w")
    story.wait(30)
    story.asks("g", timeout=60)
    [timer] = story.machine.outstanding().values()
    assert isinstance(timer, SetTimer)
    assert timer.due_at == story.now + timedelta(seconds=60)
    assert timer.node_run != first
    story.fires("g")
    assert [each.status for each in story.resolutions] == [_B.REJECTED, _B.TIMED_OUT]


def test_a_pause_stops_no_deadline() -> None:
    """004-44"""
    story = asked(timeout=60, default_action="approve")
    story.pauses()
    story.fires("g")
    assert story.node("g").status is _N.COMPLETED
    assert story.node("e").status is _N.PENDING
    story.resumes()
    assert story.node("e").status is _N.RUNNING


@pytest.mark.parametrize(
    "wish, message",
    [
        ({}, "Nobody answered in time."),
        (
            {"default_answer": "x", "answer_schema": {"type": "integer"}},
            "the default does not do: .*'x' is not of type 'integer'",
        ),
    ],
)
def test_a_question_without_a_default_that_does_has_no_action_either(
    wish: dict[str, Any], message: str
) -> None:
    """004-44"""
    story = Book("s -> u -> e")
    story.returns("s")
    story.asks("u", "answer", timeout=5, default_action="answer", **wish)
    assert story.fires("u")[-1] == "ExecutionFailed"
    [resolved] = story.resolutions
    assert (resolved.status, resolved.action) == (_B.TIMED_OUT, None)
    assert story.state.error is not None
    assert story.state.error.code == "ANSWER_TIMEOUT"
    assert re.search(message, story.state.error.message)


def test_a_default_answer_counts_as_an_approval() -> None:
    """004-44"""
    story = Book("s -> u -> e")
    story.returns("s")
    story.asks("u", "answer", timeout=5, default_action="answer", default_answer=0)
    story.fires("u")
    [resolved] = story.resolutions
    assert (resolved.action, resolved.answer) == ("APPROVE", 0)
    assert story.state.outputs["u"].body == 0
