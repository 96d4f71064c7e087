"""Decisions ahead of time that are refused, and those that turn out not to fit."""

from __future__ import annotations

from typing import Any

import pytest

from dipeo_server.domains.execution.barrier import BarrierAlreadyDecided, EdgeNotFound
from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.machine.early import DECISIONS_MAX
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)
from dipeo_server.errors import (
    AlreadyDecided,
    DipeoError,
    InvalidInput,
    InvalidState,
    LimitExceeded,
    NotFound,
)
from tests.domains.execution.machine.deciding import Book, assert_replays

_A = BarrierAction
_B = BarrierStatus
_E = ExecutionStatus
_N = NodeExecutionStatus
LOOP = "s -> g; g.no -> w -> g; g.ok -> e"
"""A rejection has the work done again."""


@pytest.mark.parametrize(
    "node, decision, error, message",
    [
        ("gat", {}, NotFound, "no node 'gat'"),
        ("w", {}, InvalidInput, "'w' is a work, and only barriers and questions are decided"),
        ("gate", {"action": _A.REROUTE}, EdgeNotFound, "REROUTE needs `reroute`"),
        ("gate", {"action": _A.REROUTE, "reroute": "x"}, EdgeNotFound, "No edge leads"),
        ("gate", {"reroute": "w"}, InvalidInput, "`reroute` goes with REROUTE"),
        ("gate", {"action": _A.MODIFY}, InvalidInput, "MODIFY changes variables"),
        ("gate", {"expires_in": 0}, InvalidInput, "expired already"),
        ("gate", {"max_uses": 0}, InvalidInput, "maxUses must be at least 1"),
        ("gate", {"occurrence": 0}, InvalidInput, "counted from 1"),
        ("gate", {"occurrence": 2, "max_uses": 2}, InvalidInput, "is used once"),
        ("user", {"action": _A.SKIP}, InvalidInput, "cannot be decided with SKIP"),
        ("user", {}, InvalidInput, "needs an answer"),
        ("user", {"action": _A.MODIFY, "puts": {"x": 1}}, InvalidInput, "needs an answer"),
    ],
)
def test_what_could_never_be_used_is_refused(
    node: str, decision: dict[str, Any], error: type[DipeoError], message: str
) -> None:
    story = Book("s -> gate; gate.ok -> w -> user")
    with pytest.raises(error, match=message) as refused:
        story.early(node, **decision)
    assert not story.book
    if error is NotFound:
        assert refused.value.hint == "Did you mean 'gate'?"


@pytest.mark.parametrize("decision", [{"occurrence": 1, "max_uses": 1}, {"action": _A.REJECT}])
def test_a_rejection_needs_no_reason_and_one_visit_may_say_one_use(
    decision: dict[str, Any],
) -> None:
    story = Book("s -> g; g.ok -> e")
    story.early("g", **decision)
    assert len(story.book) == 1


def test_what_was_decided_is_not_decided_again() -> None:
    """004-40, 004-W7: the winner is named."""
    story = Book(LOOP)
    story.returns("s")
    story.asks("g")
    story.decides("g", _A.REJECT, actor="bob")
    with pytest.raises(BarrierAlreadyDecided, match="already decided by bob: REJECTED") as refused:
        story.early("g", occurrence=1)
    assert refused.value.winner == story.barrier("g")


def test_the_first_decision_for_a_visit_counts_until_it_is_revoked() -> None:
    """004-40"""
    story = Book(LOOP)
    story.early("g", occurrence=1, expires_in=60)
    with pytest.raises(AlreadyDecided, match="decided by ann ahead of time: APPROVE") as refused:
        story.early("g", _A.REJECT, occurrence=1, actor="bob")
    assert refused.value.hint == "Revoke d1 first."
    story.revokes("d1")
    story.early("g", _A.REJECT, occurrence=1, actor="bob", expires_in=60)
    story.wait(60)
    story.early("g", occurrence=1, actor="cid")
    assert list(story.book) == ["d3"]
    assert story.changes[-2:] == [("d3", "recorded", 1), ("d2", "expired", 1)]


def test_a_visit_that_asked_nobody_is_over_all_the_same() -> None:
    story = Book(LOOP)
    story.returns("s")
    story.returns("g", port="rejected")
    with pytest.raises(InvalidState, match="Visit 1 of 'g' has ended without asking") as refused:
        story.early("g", occurrence=1)
    assert refused.value.hint == "Its next visit is 2."
    story.returns("w")
    story.early("g", occurrence=2)
    story.asks("g")
    assert story.barrier("g", 2).status is _B.APPROVED


def test_there_is_an_end_to_what_is_kept() -> None:
    """004-W20: a thousand decisions ahead, none of them in anybody's way."""
    story = Book("s -> g; g.ok -> e")
    for number in range(DECISIONS_MAX):
        story.early("g", _A.REJECT, occurrence=number + 2)
    with pytest.raises(LimitExceeded, match="At most 1000"):
        story.early("g", occurrence=1)
    story.revokes("d7")
    story.early("g", occurrence=1)
    story.returns("s")
    story.asks("g")
    told = story.returns("e")
    assert told[-1] == "ExecutionCompleted"
    assert told.count("EarlyDecisionChanged") == DECISIONS_MAX - 1


# --- answers ------------------------------------------------------------------------------------


def test_a_question_can_be_answered_ahead_of_time() -> None:
    story = Book("s -> u -> e")
    story.early("u", answer="blue")
    story.returns("s")
    story.asks("u", "answer", answer_schema={"type": "string"})
    assert story.state.outputs["u"].body == "blue"
    assert story.node("e").status is _N.RUNNING


def test_an_answer_that_turns_out_not_to_fit_is_told_and_dropped() -> None:
    """The barrier goes on waiting, since nobody has answered it."""
    story = Book("s -> u -> e")
    story.early("u", answer="blue")
    story.returns("s")
    told = story.asks("u", "answer", answer_schema={"type": "integer"})
    assert told[:3] == ["BarrierWaiting", "ObservedError", "EarlyDecisionChanged"]
    observed = story.event("ObservedError")
    assert observed.failure.code == "EARLY_DECISION_UNFIT"
    assert "d1 does not fit 'u' #1" in observed.failure.message
    assert "'blue' is not of type 'integer'" in observed.failure.message
    assert (story.status(), story.barrier("u").status) == (_E.WAITING, _B.WAITING)
    assert story.changes[-1] == ("d1", "unused", 1)
    assert not story.book
    story.decides("u", _A.APPROVE, answer=7)
    assert_replays(story)


def test_where_one_decision_does_not_fit_the_next_one_is_tried() -> None:
    story = Book("s -> u -> e")
    story.early("u", answer=7, actor="older")
    story.early("u", answer="blue", actor="newer")
    story.early("u", answer=None, occurrence=1, action=_A.REJECT, actor="exact")
    story.revokes("d3")
    story.returns("s")
    story.asks("u", "answer", answer_schema={"type": "integer"})
    assert [each.decided_by for each in story.resolutions] == ["older"]


@pytest.mark.parametrize("occurrence", [None, 1])
def test_who_decides_what_waits_learns_at_once_what_does_not_fit(occurrence: int | None) -> None:
    story = Book("s -> u -> e")
    story.returns("s")
    story.asks("u", "answer", answer_schema={"type": "integer"})
    with pytest.raises(InvalidInput, match="does not fit") as refused:
        story.early("u", answer="blue", occurrence=occurrence)
    assert refused.value.field == ("answer",)
    assert not story.book
