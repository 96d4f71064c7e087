"""Starts, endpoints, reachability, branches."""

from typing import Any


def test_a_diagram_has_a_start(judge: Any) -> None:
    [problem] = judge("a>e", "NO_START", "UNREACHABLE")
    assert (problem.code, problem.is_error) == ("NO_START", True)
    assert judge("s>e", "NO_START") == []


def test_nothing_comes_before_a_start(judge: Any) -> None:
    [problem] = judge("s>a a>s a>e", "START_HAS_INCOMING")
    assert (problem.is_error, problem.edge) == (True, "1:a>s")


def test_nothing_comes_after_an_endpoint(judge: Any) -> None:
    [problem] = judge("s>e e>a", "ENDPOINT_HAS_OUTGOING", "UNKNOWN_HANDLE")
    assert (problem.is_error, problem.edge) == (True, "1:e>a")


def test_a_node_that_no_start_leads_to_is_a_warning(judge: Any) -> None:
    problems = judge("s>a a>e x>y y>e", "UNREACHABLE")
    assert [(p.node, p.is_error) for p in problems] == [("x", False), ("y", False)]


def test_a_condition_with_one_branch_is_a_warning(judge: Any) -> None:
    [problem] = judge("s>c c.t>e", "CONDITION_BRANCH_MISSING")
    assert (problem.node, problem.is_error) == ("c", False)
    assert "condfalse" in problem.message
    assert judge("s>c c.t>e c.f>e2", "CONDITION_BRANCH_MISSING") == []
    [problem] = judge("s>c", "CONDITION_BRANCH_MISSING")
    assert "condfalse and condtrue" in problem.message
