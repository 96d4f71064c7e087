"""Edges that are never followed, since one before them holds whenever they do (004-W18)."""

from __future__ import annotations

from typing import Any

import pytest

FIRST = {"fan_out": "first"}


def when(condition: str, priority: int = 0) -> dict[str, Any]:
    return {"kind": "when", "condition": condition, "priority": priority}


def overlaps(judge: Any, first: Any, second: Any, props: Any = FIRST) -> list[str]:
    """The targets of edges that are never followed."""
    fields = {"a>b": first, "a>d": second}
    found = judge("s>a a>b a>d", "CONDITION_OVERLAP", fields=fields, a=props)
    return [problem.edge.rpartition(">")[2] for problem in found]


@pytest.mark.parametrize(
    "first, second",
    [
        ("x > 3", "x > 3"),
        ("x>3", " x  >  3 "),
        ("x > 3", "x > 5"),
        ("x > 3", "x >= 4"),
        ("x >= 3", "x > 3"),
        ("x >= 3", "x == 3"),
        ("x < 3", "x < 1.5"),
        ("x <= 3", "x == -3"),
        ("a.b > 3", "a.b > 4"),
        ("true", "x"),
        ("True", "x > 1"),
        ("1", "x > 1"),
        ("x and y", "x and y"),
    ],
)
def test_004_w18_a_condition_that_an_earlier_one_covers_is_told(
    judge: Any, first: str, second: str
) -> None:
    """004-W18."""
    assert overlaps(judge, when(first), when(second)) == ["d"]


@pytest.mark.parametrize(
    "first, second",
    [
        ("x > 5", "x > 3"),
        ("x > 3", "x >= 3"),
        ("x < 3", "x <= 3"),
        ("x > 3", "y > 5"),
        ("x > 3", "x < 5"),
        ("x == 3", "x == 4"),
        ("x > true", "x > 5"),
        ("x > y", "x > 5"),
        ("1 < x < 3", "x > 5"),
        ("x >", "x > 5"),
        ("false", "x"),
        ("0", "x"),
        ("x > 3", "x != 3"),
        ("x > " + "9" * 900, "x > 5"),
    ],
)
def test_what_may_hold_alone_is_not(judge: Any, first: str, second: str) -> None:
    assert overlaps(judge, when(first), when(second)) == []


def test_they_are_compared_in_the_order_in_which_they_are_tried(judge: Any) -> None:
    assert overlaps(judge, when("x > 5"), when("x > 3", priority=1)) == ["b"]


def test_behind_an_edge_without_condition_nothing_is_followed(judge: Any) -> None:
    assert overlaps(judge, {"kind": "always"}, {"kind": "always"}) == ["d"]
    assert overlaps(judge, {"kind": "default"}, {"kind": "always"}) == ["b"]
    assert overlaps(judge, {"kind": "fallback"}, {"kind": "always"}) == []
    assert overlaps(judge, {"kind": "always"}, when("x")) == []


def test_where_every_edge_that_holds_is_followed_they_may_overlap(judge: Any) -> None:
    assert overlaps(judge, when("x > 3"), when("x > 3"), {}) == []


def test_the_problem_names_both_edges(judge: Any) -> None:
    fields = {"a>b": when("x > 3"), "a>d": when("x > 5")}
    [problem] = judge("s>a a>b a>d", "CONDITION_OVERLAP", fields=fields, a=FIRST)
    assert problem.message == "a → d is never followed: a → b holds whenever it does."
    assert not problem.is_error
