"""Persons that nodes name."""

from typing import Any

import pytest


@pytest.mark.parametrize("person", ["Ann", "Anna"])
def test_a_person_goes_by_key_or_label(judge: Any, person: str) -> None:
    assert judge("s>p p>e", "UNKNOWN_PERSON", "MISSING_PERSON", p={"person": person}) == []


def test_an_unknown_person_is_an_error_with_the_nearest_one(judge: Any) -> None:
    [problem] = judge("s>p p>e", "UNKNOWN_PERSON", p={"person": "Anno"})
    assert (problem.is_error, problem.node) == (True, "p")
    assert problem.hint in {"Did you mean 'Ann'?", "Did you mean 'Anna'?"}
    [problem] = judge("s>p p>e", "UNKNOWN_PERSON", p={"person": "Zoe"})
    assert problem.hint == "Persons: Ann, Anna."


def test_a_person_job_without_person_is_a_warning(judge: Any) -> None:
    [problem] = judge("s>p p>e", "MISSING_PERSON")
    assert (problem.is_error, problem.node) == (False, "p")


def test_a_condition_needs_a_person_only_to_ask_a_model(judge: Any) -> None:
    edges = "s>c c.t>e c.f>e2"
    assert judge(edges, "MISSING_PERSON", c={"condition_type": "custom"}) == []
    [problem] = judge(edges, "MISSING_PERSON", c={"condition_type": "llm_decision"})
    assert problem.node == "c"


def test_other_types_may_use_the_word_as_they_like(judge: Any) -> None:
    assert judge("s>a a>e", "UNKNOWN_PERSON", a={"person": "somebody"}) == []
    hook = {"type": "hook", "person": "somebody"}
    assert judge("s>a a>e", "UNKNOWN_PERSON", a=hook) == []


def test_a_person_job_without_handler_is_judged_too(judge: Any) -> None:
    judge.specs = {}
    assert len(judge("s>p p>e", "UNKNOWN_PERSON", p={"person": "Bob"})) == 1
