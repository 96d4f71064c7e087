"""What people decide at barriers, and what becomes of the run then."""

from __future__ import annotations

from typing import Any

import pytest

from dipeo_server.domains.execution.barrier import BarrierAlreadyDecided, EdgeNotFound
from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.ids import BarrierID
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)
from dipeo_server.errors import InvalidInput, InvalidState, NotFound
from tests.domains.execution.machine.deciding import Book, assert_replays

_A = BarrierAction
_B = BarrierStatus
_E = ExecutionStatus
_N = NodeExecutionStatus
LOOP = "s -> g; g.no -> w -> g; g.ok -> e"
"""A rejection has the work done again."""


def asked(text: str = "s -> g; g.ok -> e; g.no -> e2", **wish: Any) -> Book:
    """A run whose barrier waits."""
    story = Book(text)
    story.returns("s")
    story.asks("g", **wish)
    return story


def test_every_visit_is_a_barrier_of_its_own() -> None:
    """004-39"""
    story = asked(LOOP, variable="gate")
    story.decides("g", _A.REJECT, reason="again")
    story.returns("w")
    story.asks("g", variable="gate")
    assert list(story.state.barriers) == [BarrierID("g", 1), BarrierID("g", 2)]
    with pytest.raises(BarrierAlreadyDecided) as refused:
        story.decides("g", _A.APPROVE, 1)
    assert refused.value.winner.status is _B.REJECTED
    with pytest.raises(NotFound, match="No barrier waits at 'g' #3"):
        story.decides("g", _A.APPROVE, 3)
    story.decides("g", _A.APPROVE, 2)
    assert story.returns("e") == ["NodeCompleted", "ExecutionCompleted"]
    assert_replays(story)


def test_a_modification_approves_and_changes_variables() -> None:
    """004-42: what it puts is there before any node behind it starts."""
    story = asked(variable="gate")
    told = story.decides("g", _A.MODIFY, puts={"limit": 5}, answer={"why": "dear"}, actor="ann")
    assert told[:4] == ["BarrierResolved", "StateChanged", "StateChanged", "NodeCompleted"]
    assert told[-1] == "NodeStarted"
    assert story.state.variables["limit"] == 5
    assert story.state.variables["gate"]["approved"] is True
    assert story.barrier("g").status is _B.MODIFIED
    assert story.node("e2").status is _N.SKIPPED
    assert_replays(story)


def test_a_modification_needs_something_to_modify() -> None:
    """004-42"""
    story = asked()
    with pytest.raises(InvalidInput, match="MODIFY changes variables") as refused:
        story.decides("g", _A.MODIFY)
    assert refused.value.field == ("variables",)
    assert story.barrier("g").status is _B.WAITING


@pytest.mark.parametrize("name", ["w", "arrow_2"])
def test_a_run_can_be_sent_elsewhere(name: str) -> None:
    """004-42: REROUTE names an edge, or the node that only one edge leads to."""
    story = asked("s -> g; g.ok -> e; g -> w -> e2", variable="gate")
    told = story.decides("g", _A.REROUTE, reroute=name, reason="by hand", actor="ann")
    assert "NodeCompleted" in told
    assert story.barrier("g").status is _B.REROUTED
    assert story.event("NodeCompleted").edges == ("arrow_2",)
    assert story.node("w").status is _N.RUNNING
    assert story.node("e").skip_reason == "branch_not_taken"
    assert story.state.variables["gate"]["approved"] is False
    assert story.state.outputs["g"].body["decision"] == "REROUTED"
    assert_replays(story)


def test_a_person_who_reroutes_overrules_the_condition_on_the_edge() -> None:
    """004-42"""
    story = Book(
        "s -> g; g -> a; g -> b",
        edges={"g>a": {"kind": "when", "condition": "1 > 2"}, "g>b": {"kind": "default"}},
    )
    story.returns("s")
    story.asks("g")
    story.decides("g", _A.REROUTE, reroute="a")
    assert (story.node("a").status, story.node("b").status) == (_N.RUNNING, _N.SKIPPED)


@pytest.mark.parametrize(
    "name, message",
    [
        (None, "REROUTE needs `reroute`"),
        ("nowhere", "No edge leads from 'g' to 'nowhere'"),
        ("e", "2 edges lead from 'g' to 'e': name one by its key"),
    ],
)
def test_a_run_can_only_be_sent_where_an_edge_leads(name: str | None, message: str) -> None:
    """004-42"""
    story = asked("s -> g; g.ok -> e; g.skip -> e; g.no -> w -> e")
    with pytest.raises(EdgeNotFound, match=message) as refused:
        story.decides("g", _A.REROUTE, reroute=name)
    assert refused.value.code == "MISSING_EDGE"
    assert refused.value.hint is not None
    assert "arrow_1 (to e), arrow_2 (to e)" in refused.value.hint
    assert story.barrier("g").status is _B.WAITING


def test_an_edge_is_named_where_the_run_is_sent_elsewhere_only() -> None:
    """004-42"""
    with pytest.raises(InvalidInput, match="`reroute` goes with REROUTE, not with APPROVE"):
        asked().decides("g", _A.APPROVE, reroute="e")


def test_an_approval_clears_the_reason_of_an_earlier_rejection() -> None:
    """004-43"""
    story = asked(LOOP, variable="gate")
    story.decides("g", _A.REJECT, reason="too long")
    gate = story.state.variables["gate"]
    assert (gate["approved"], gate["reject_reason"]) == (False, "too long")
    story.returns("w")
    story.asks("g", variable="gate")
    story.decides("g", _A.APPROVE, 2, reason="short enough")
    gate = story.state.variables["gate"]
    assert (gate["approved"], gate["reject_reason"]) == (True, None)


def test_conditions_behind_a_barrier_see_what_was_decided_and_changed() -> None:
    """004-42, 004-43"""
    story = Book(
        "s -> g; g -> a; g -> b",
        edges={
            "g>a": {"kind": "when", "condition": "gate['approved'] and limit > 3"},
            "g>b": {"kind": "default"},
        },
    )
    story.returns("s")
    story.asks("g", variable="gate")
    story.decides("g", _A.MODIFY, puts={"limit": 5})
    assert (story.node("a").status, story.node("b").status) == (_N.RUNNING, _N.SKIPPED)


def test_a_decision_counts_even_where_the_conditions_behind_it_cannot_be_evaluated() -> None:
    story = Book("s -> g; g -> a", edges={"g>a": {"kind": "when", "condition": "nowhere > 1"}})
    story.returns("s")
    story.asks("g", timeout=5, default_action="approve")
    assert story.fires("g")[-1] == "ExecutionFailed"
    assert story.barrier("g").status is _B.TIMED_OUT
    assert story.state.error is not None
    assert story.state.error.code == "EXPRESSION_ERROR"
    assert_replays(story)


# --- the log ------------------------------------------------------------------------------------


def test_a_barrier_is_a_node_like_any_other_in_the_log() -> None:
    """004-45: it starts, its changes are applied before it waits, and it ends."""
    story = Book("s -> g; g.ok -> e")
    story.returns("s")
    story.asks_with("g", {"draft": 2}, variable="gate")
    assert story.state.variables == {"draft": 2}
    story.decides("g", _A.APPROVE)
    told = [
        type(each.event).__name__
        for each in story.log
        if getattr(getattr(each.event, "node_run", None), "node", None) == "g"
    ]
    assert told == [
        "NodeStarted",
        "StateChanged",
        "BarrierWaiting",
        "BarrierResolved",
        "StateChanged",
        "NodeCompleted",
    ]
    assert story.state.variables["draft"] == 2


def test_that_it_waits_is_recorded_before_anybody_can_know() -> None:
    """004-W8: the log alone says that it waits, and since when."""
    story = asked(timeout=60)
    before = story.machine.outstanding()
    assert story.restarts() == []
    assert story.status() is _E.WAITING
    assert story.barrier("g").status is _B.WAITING
    assert story.machine.outstanding() == before


def test_who_goes_away_decides_nothing() -> None:
    """004-W5, 004-W13: whatever happens to runner and client, the run waits, unfinished."""
    story = asked()
    for _ in range(3):
        story.wait(3600)
        assert story.restarts() == []
    assert (story.status(), story.barrier("g").status) == (_E.WAITING, _B.WAITING)
    story.decides("g", _A.APPROVE, actor="ann")
    assert story.returns("e")[-1] == "ExecutionCompleted"


# --- abort and skip -----------------------------------------------------------------------------


def test_an_abort_ends_a_waiting_run_at_once() -> None:
    """004-W3, 004-W4: cancelled is cancelled, whatever the default action is."""
    story = asked(timeout=60, default_action="approve", variable="gate")
    assert story.aborts() == ["BarrierResolved", "NodeInterrupted", "ExecutionAborted"]
    [resolved] = story.resolutions
    assert (resolved.status, resolved.action) == (_B.CANCELLED, None)
    assert "gate" not in story.state.variables
    assert story.node("g").status is _N.ABORTED
    assert not story.machine.outstanding()


def test_an_abort_that_waits_for_a_node_beats_every_decision() -> None:
    """004-W3"""
    story = Book("s -> g; g.ok -> e; s -> a -> e2")
    story.returns("s")
    story.asks("g", timeout=60, default_action="approve")
    due = story.state.waiting[story.state.diagram.index_of["g"]].due_at
    assert story.aborts() == ["ExecutionStatusChanged"]
    with pytest.raises(InvalidState, match="being ended"):
        story.decides("g", _A.APPROVE)
    assert due is not None
    story.now = due
    assert story.fires("g") == []
    assert story.stops("a")[-3:] == ["BarrierResolved", "NodeInterrupted", "ExecutionAborted"]
    assert story.barrier("g").status is _B.CANCELLED
    assert story.node("e").status is _N.PENDING


def test_a_skip_has_a_port_of_its_own() -> None:
    """004-W6"""
    story = asked("s -> g; g.ok -> e; g.skip -> e2")
    story.decides("g", _A.SKIP, actor="ann")
    assert story.barrier("g").status is _B.SKIPPED
    assert (story.node("e").status, story.node("e2").status) == (_N.SKIPPED, _N.RUNNING)


def test_a_skip_passes_by_where_the_node_says_so_and_still_approves_nothing() -> None:
    """004-W6"""
    story = asked(bypass_on_skip=True, variable="gate")
    story.decides("g", _A.SKIP)
    assert story.node("e").status is _N.RUNNING
    assert story.state.variables["gate"]["approved"] is False
    assert story.state.variables["gate"]["skipped"] is True


def test_a_skip_without_a_way_on_skips_what_is_behind() -> None:
    """004-W6"""
    story = asked()
    assert story.decides("g", _A.SKIP)[-1] == "ExecutionCompleted"
    assert {story.node(key).skip_reason for key in ("e", "e2")} == {"barrier_skipped"}


@pytest.mark.parametrize("action", [_A.SKIP, _A.REROUTE])
def test_whether_to_run_again_is_a_question_of_yes_or_no(action: BarrierAction) -> None:
    story = Book("s -> x -> e")
    story.returns("s")
    story.restarts()
    with pytest.raises(InvalidInput, match=f"run again, so it cannot be decided with {action}"):
        story.decides("x", action, reroute="e")


def test_a_question_cannot_be_skipped() -> None:
    story = Book("s -> u -> e")
    story.returns("s")
    story.asks("u", "answer")
    with pytest.raises(InvalidInput, match="asks a question") as refused:
        story.decides("u", _A.SKIP)
    assert refused.value.hint == "Possible are: APPROVE, REJECT, MODIFY, REROUTE."


@pytest.mark.parametrize("action", [_A.APPROVE, _A.MODIFY, _A.REROUTE])
def test_an_answer_has_to_fit_whatever_it_comes_with(action: BarrierAction) -> None:
    story = Book("s -> u -> e")
    story.returns("s")
    story.asks("u", "answer", answer_schema={"type": "object", "required": ["age"]})
    reroute = "e" if action is _A.REROUTE else None
    with pytest.raises(InvalidInput, match="'age' is a required property"):
        story.decides("u", action, answer={}, puts={"x": 1}, reroute=reroute)
    story.decides("u", action, answer={"age": 7}, puts={"x": 1}, reroute=reroute)
    assert story.state.outputs["u"].body == {"age": 7}
    assert story.node("e").status is _N.RUNNING


@pytest.mark.parametrize(
    "schema", [{"$ref": "http://nowhere.example/x"}, {"$ref": "#"}, {"pattern": "("}]
)
def test_a_schema_that_cannot_be_applied_refuses_answers_and_harms_nobody(
    schema: dict[str, Any],
) -> None:
    story = asked(answer_schema=schema)
    with pytest.raises(InvalidInput, match="schema is itself invalid"):
        story.decides("g", _A.APPROVE, answer="x")
    assert story.decides("g", _A.REJECT)[0] == "BarrierResolved"


@pytest.mark.parametrize(
    "props, edges, goes_on",
    [
        ({"on_error": {"policy": "continue"}}, {}, "e"),
        ({}, {"g>e2": {"kind": "fallback"}}, "e2"),
    ],
)
def test_a_rejection_can_be_handled_like_any_failure(
    props: dict[str, Any], edges: dict[str, Any], goes_on: str
) -> None:
    story = Book("s -> g; g -> e; g -> e2", props={"g": props}, edges=edges)
    story.returns("s")
    story.asks("g")
    assert "NodeFailed" in story.decides("g", _A.REJECT, reason="no")
    assert story.node(goes_on).status is _N.RUNNING
