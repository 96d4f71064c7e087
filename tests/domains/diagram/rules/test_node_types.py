"""Node types that are known, known elsewhere, or nobody's."""

from typing import Any


def test_a_type_nobody_has_is_an_error_with_the_nearest_name(judge: Any) -> None:
    [problem] = judge("s>a a>e", "UNKNOWN_NODE_TYPE", a={"type": "persn_job"})
    assert (problem.is_error, problem.node) == (True, "a")
    assert problem.hint == "Did you mean 'person_job'?"


def test_a_type_like_no_other_comes_with_a_list(judge: Any) -> None:
    [problem] = judge("s>a a>e", "UNKNOWN_NODE_TYPE", a={"type": "zzz"})
    assert problem.hint.startswith("Node types: MyStep, barrier")


def test_a_type_of_dipeo_without_handler_is_a_warning(judge: Any) -> None:
    [problem] = judge("s>a a>e", "NODE_TYPE_UNAVAILABLE", a={"type": "ir_builder"})
    assert (problem.is_error, problem.node) == (False, "a")
