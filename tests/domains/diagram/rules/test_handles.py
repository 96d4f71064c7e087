"""Handles that a type has not."""

from typing import Any


def test_a_handle_the_type_has_not_is_an_error_listing_those_it_has(judge: Any) -> None:
    [problem] = judge("s>a a.finished>e", "UNKNOWN_HANDLE")
    assert (problem.is_error, problem.node, problem.edge) == (True, "a", "1:a.finished>e")
    assert problem.hint == "Its outputs are: default, error."


def test_an_unknown_input_is_an_error_too(judge: Any) -> None:
    [problem] = judge("s>a a>e", "UNKNOWN_HANDLE", fields={"a>e": {"target_handle": "first"}})
    assert (problem.is_error, problem.node) == (True, "e")


def test_a_condition_without_a_handle_is_a_warning(judge: Any) -> None:
    [problem] = judge("s>c c>e c.t>e c.f>e", "UNKNOWN_HANDLE")
    assert (problem.is_error, problem.edge) == (False, "1:c>e")
    assert "never carries anything" in problem.message


def test_every_node_has_an_error_port(judge: Any) -> None:
    assert judge("s>a a>e a.x>e2 a.x>g g.a>e", "UNKNOWN_HANDLE") == []


def test_nothing_is_said_of_types_nobody_knows(judge: Any) -> None:
    assert judge("s>a a.any>e", "UNKNOWN_HANDLE", a={"type": "zzz"}) == []
