"""Decisions that are made before their barrier waits: kept, used, taken back, told at the end."""

from __future__ import annotations

import pytest

from dipeo_server.domains.execution.barrier import BarrierAlreadyDecided
from dipeo_server.domains.execution.events import BarrierAction, Breakpoint, ErrorStrategy
from dipeo_server.domains.execution.interventions import BreakpointWhen
from dipeo_server.domains.execution.signals import BreakpointsSet, RetryRequested
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)
from dipeo_server.errors import (
    ExecutionFinished,
    InvalidState,
    NotFound,
)
from tests.domains.execution.machine.deciding import Book, assert_replays

_A = BarrierAction
_B = BarrierStatus
_E = ExecutionStatus
_N = NodeExecutionStatus
LOOP = "s -> g; g.no -> w -> g; g.ok -> e"
"""A rejection has the work done again."""


def again(story: Book) -> list[str]:
    """The work is done once more, and the barrier asks for the next time."""
    story.returns("w")
    return story.asks("g")


def test_a_decision_for_a_visit_waits_for_it_and_is_used_once() -> None:
    """004-40"""
    story = Book(LOOP)
    assert story.early("g", _A.REJECT, occurrence=1, reason="draft") == ["EarlyDecisionChanged"]
    story.returns("s")
    told = story.asks("g", variable="gate")
    assert told[:5] == [
        "BarrierWaiting",
        "EarlyDecisionChanged",
        "BarrierResolved",
        "StateChanged",
        "NodeCompleted",
    ]
    assert "ExecutionStatusChanged" not in told
    assert story.status() is _E.RUNNING
    [resolved] = story.resolutions
    assert (resolved.decided_by, resolved.reason) == ("ann", "draft")
    assert story.state.variables["gate"]["reject_reason"] == "draft"
    assert again(story)[0] == "BarrierWaiting"
    assert story.barrier("g", 2).status is _B.WAITING
    assert story.changes == [("d1", "recorded", 1), ("d1", "used", 1)]
    assert not story.book
    assert_replays(story)


def test_a_decision_for_a_later_visit_leaves_the_first_alone() -> None:
    """004-40"""
    story = Book(LOOP)
    story.early("g", occurrence=2)
    story.returns("s")
    story.asks("g")
    assert story.barrier("g").status is _B.WAITING
    story.decides("g", _A.REJECT, actor="bob")
    again(story)
    assert [each.decided_by for each in story.resolutions] == ["bob", "ann"]
    assert story.node("e").status is _N.RUNNING


def test_a_decision_for_every_visit_is_used_at_each() -> None:
    """004-41"""
    story = Book(LOOP)
    story.early("g", _A.REJECT)
    story.returns("s")
    story.asks("g")
    again(story)
    again(story)
    assert story.changes == [("d1", "recorded", None), *[("d1", "used", n) for n in (1, 2, 3)]]
    assert story.book["d1"].uses_left is None
    assert_replays(story)


def test_one_for_the_visit_comes_before_one_for_all() -> None:
    """004-41: whichever was made first."""
    story = Book(LOOP)
    story.early("g", occurrence=2, actor="exact")
    story.early("g", _A.REJECT, actor="all")
    story.returns("s")
    story.asks("g")
    again(story)
    assert [each.decided_by for each in story.resolutions] == ["all", "exact"]


def test_the_last_word_for_all_visits_counts() -> None:
    """004-41: also after an older one has been used, and the older one again without it."""
    story = Book(LOOP)
    story.early("g", _A.REJECT, actor="first")
    story.returns("s")
    story.asks("g")
    story.early("g", _A.REJECT, actor="second", max_uses=1)
    again(story)
    again(story)
    assert [each.decided_by for each in story.resolutions] == ["first", "second", "first"]


def test_what_waits_already_is_decided_at_once_and_what_comes_later_too() -> None:
    """004-41"""
    story = Book(LOOP)
    story.returns("s")
    story.asks("g")
    assert story.status() is _E.WAITING
    told = story.early("g", _A.REJECT)
    assert told[:3] == ["EarlyDecisionChanged", "EarlyDecisionChanged", "BarrierResolved"]
    again(story)
    assert [each.status for each in story.resolutions] == [_B.REJECTED, _B.REJECTED]


def test_a_decision_can_be_limited_to_some_uses() -> None:
    """004-W7"""
    story = Book(LOOP)
    story.early("g", _A.REJECT, max_uses=2)
    story.returns("s")
    story.asks("g")
    assert story.book["d1"].uses_left == 1
    again(story)
    assert not story.book
    again(story)
    assert story.barrier("g", 3).status is _B.WAITING


def test_a_decision_expires() -> None:
    """004-W7: it is not used any more, and told as expired."""
    story = Book(LOOP)
    story.early("g", _A.APPROVE, expires_in=10)
    story.early("g", _A.REJECT, expires_in=11)
    story.wait(10)
    story.returns("s")
    story.asks("g")
    assert story.barrier("g").status is _B.REJECTED
    assert ("d1", "expired", None) in story.changes
    assert list(story.book) == ["d2"]
    assert_replays(story)


def test_a_decision_can_be_taken_back() -> None:
    """004-W7"""
    story = Book(LOOP)
    story.early("g")
    assert story.revokes("d1") == ["EarlyDecisionChanged"]
    assert story.event("EarlyDecisionChanged").actor == "bob"
    story.returns("s")
    story.asks("g")
    assert story.barrier("g").status is _B.WAITING
    with pytest.raises(InvalidState, match="'d1' has been used, revoked, or has expired"):
        story.revokes("d1")
    with pytest.raises(NotFound, match="no decision 'd2'"):
        story.revokes("d2")


def test_decisions_can_be_listed() -> None:
    """004-W7: those that can still be used, with what each would do."""
    story = Book("s -> g; g.ok -> e; g -> w")
    story.early("g", _A.MODIFY, puts={"x": 1}, reason="fine", expires_in=5, max_uses=3)
    story.early("g", _A.REROUTE, occurrence=1, reroute="w", actor=None)
    every, one = story.book.values()
    assert (every.occurrence, every.uses_left, every.created_by) == (None, 3, "ann")
    assert (every.puts, every.reason, every.reroute) == ({"x": 1}, "fine", None)
    assert (one.occurrence, one.uses_left, one.reroute) == (1, 1, "w")


def test_what_was_not_needed_is_told_right_before_the_end() -> None:
    """004-W7"""
    story = Book("s -> c; c.t -> g; g.ok -> e; c.f -> e2")
    story.early("g")
    story.early("g", occurrence=1, expires_in=10)
    story.early("g", occurrence=2)
    story.returns("s")
    story.returns("c", port="condfalse")
    story.wait(5)
    assert story.returns("e2")[-4:] == [*["EarlyDecisionChanged"] * 3, "ExecutionCompleted"]
    assert story.changes[-3:] == [("d1", "unused", None), ("d2", "unused", 1), ("d3", "unused", 2)]
    assert not story.book
    with pytest.raises(ExecutionFinished):
        story.revokes("d1")
    with pytest.raises(ExecutionFinished):
        story.early("g")
    assert_replays(story)


@pytest.mark.parametrize("strategy", list(ErrorStrategy))
def test_a_failed_run_tells_what_was_not_needed(strategy: ErrorStrategy) -> None:
    """004-W7"""
    story = Book("s -> a -> g; g.ok -> e", strategy=strategy)
    story.early("g")
    story.returns("s")
    told = story.raises("a")
    end = "Completed" if strategy is ErrorStrategy.COLLECT_PARTIAL else "Failed"
    assert told[-2:] == ["EarlyDecisionChanged", f"Execution{end}"]
    assert story.changes[-1] == ("d1", "unused", None)


@pytest.mark.parametrize("is_busy", [False, True])
def test_an_aborted_run_tells_what_was_not_needed_and_uses_nothing(*, is_busy: bool) -> None:
    """004-W3, 004-W7"""
    story = Book("s -> g; g.ok -> e; s -> a -> e2")
    story.early("g", occurrence=2)
    story.returns("s")
    story.asks("g")
    if not is_busy:
        story.returns("a")
        story.returns("e2")
    told = story.aborts()
    if is_busy:
        with pytest.raises(InvalidState, match="being ended"):
            story.early("g")
        told = story.stops("a")
    assert told[-2:] == ["EarlyDecisionChanged", "ExecutionAborted"]
    assert story.changes[-1] == ("d1", "unused", 2)
    assert story.barrier("g").status is _B.CANCELLED
    assert_replays(story)


def test_an_abort_is_not_overtaken_by_a_decision_that_was_made_before() -> None:
    """004-W3: a barrier that begins to wait while the run is being ended is never approved."""
    story = Book("s -> g; g.ok -> e; s -> a -> e2")
    story.early("g")
    story.returns("s")
    story.aborts()
    assert story.asks("g") == ["ResultDiscarded", "NodeInterrupted"]
    story.stops("a")
    assert story.status() is _E.ABORTED
    assert not story.resolutions


# --- beside everything else ---------------------------------------------------------------------


def test_nobody_decides_ahead_of_time_whether_to_run_something_again() -> None:
    story = Book("s -> g; g.ok -> e", props={"g": {"after_crash": "ask"}})
    story.early("g")
    story.returns("s")
    assert story.restarts()[:2] == ["RunnerRestarted", "BarrierWaiting"]
    assert story.barrier("g").status is _B.WAITING
    story.decides("g", _A.APPROVE, actor="bob")
    story.asks("g")
    assert [each.decided_by for each in story.resolutions] == ["bob", "ann"]
    assert story.barrier("g").id.attempt == 2


def test_a_visit_that_is_tried_again_can_still_be_decided() -> None:
    story = Book("s -> g; g.ok -> e", props={"g": {"after_crash": "ask"}})
    story.returns("s")
    story.restarts()
    story.decides("g", _A.APPROVE, actor="bob")
    story.early("g", occurrence=1)
    story.asks("g")
    assert story.barrier("g").decided_by == "ann"


def test_a_pause_holds_no_decision_back() -> None:
    story = Book("s -> g; g.ok -> e")
    story.early("g")
    story.returns("s")
    story.pauses()
    story.asks("g")
    assert (story.status(), story.node("g").status) == (_E.PAUSED, _N.COMPLETED)
    assert story.node("e").status is _N.PENDING
    story.resumes()
    assert story.returns("e")[-1] == "ExecutionCompleted"


def test_a_step_lets_one_visit_ask_and_the_book_answers() -> None:
    story = Book("s -> g; g.ok -> e")
    story.early("g")
    story.pauses()
    story.returns("s")
    story.steps()
    story.asks("g")
    assert (story.status(), story.node("g").status) == (_E.PAUSED, _N.COMPLETED)
    assert story.node("e").status is _N.PENDING
    story.steps()
    assert story.returns("e")[-1] == "ExecutionCompleted"
    assert_replays(story)


def test_a_visit_that_is_retried_by_hand_can_be_decided_again() -> None:
    """004-40: what was decided stays so; the new attempt asks anew."""
    story = Book("s -> g; g.ok -> e", strategy=ErrorStrategy.COLLECT)
    story.returns("s")
    story.asks("g")
    story.pauses()
    story.decides("g", _A.REJECT, actor="bob")
    with pytest.raises(BarrierAlreadyDecided):
        story.early("g", occurrence=1)
    story.tell(RetryRequested("g", "ann"))
    story.early("g", occurrence=1)
    story.resumes()
    story.fires("g")
    story.asks("g")
    assert [each.decided_by for each in story.resolutions] == ["bob", "ann"]
    assert story.returns("e")[-1] == "ExecutionCompleted"
    assert_replays(story)


def test_a_breakpoint_behind_a_barrier_holds_the_run_however_it_was_decided() -> None:
    story = Book("s -> g; g.ok -> e")
    story.tell(BreakpointsSet((Breakpoint("g", BreakpointWhen.AFTER),)))
    story.early("g")
    story.returns("s")
    assert story.asks("g")[-3:] == ["NodeCompleted", "BreakpointHit", "ExecutionStatusChanged"]
    assert story.status() is _E.PAUSED
    assert story.node("e").status is _N.PENDING


def test_a_decision_outlives_the_process_it_was_made_in() -> None:
    """004-40, 004-W20: it is in the log."""
    story = Book("s -> g; g.ok -> e")
    story.early("g", _A.MODIFY, puts={"x": 1})
    story.early("g", occurrence=1, expires_in=60)
    story.returns("s")
    book = dict(story.book)
    story.restarts()
    assert story.book == book
    story.asks("g")
    assert story.resolutions[0].action == "APPROVE"


def test_a_rejection_ahead_of_time_fails_the_run_as_any_other() -> None:
    story = Book("s -> g; g.ok -> e")
    story.early("g", _A.REJECT, reason="no money")
    story.returns("s")
    assert story.asks("g")[-1] == "ExecutionFailed"
    assert story.state.error is not None
    assert story.state.error.code == "BARRIER_REJECTED"
    assert story.changes[-1] == ("d1", "unused", None)


def test_a_run_can_be_sent_elsewhere_and_a_skip_decided_ahead_of_time() -> None:
    story = Book("s -> g1; g1 -> a; g1.ok -> g2; a -> g2; g2.skip -> e")
    story.early("g1", _A.REROUTE, reroute="a")
    story.early("g2", _A.SKIP)
    story.returns("s")
    story.asks("g1")
    story.returns("a")
    story.asks("g2")
    assert [each.status for each in story.resolutions] == [_B.REROUTED, _B.SKIPPED]
    assert story.node("e").status is _N.RUNNING
    assert_replays(story)
