"""Suggestions for unknown names."""

from dipeo_server.domains.diagram.nearest import (
    LISTED_MAX,
    NAME_CHARACTERS_MAX,
    did_you_mean,
    listed,
    nearest,
)


def test_the_nearest_name_is_suggested() -> None:
    assert nearest("persn_job", ["person_job", "code_job"]) == "person_job"


def test_another_case_is_the_same_name() -> None:
    assert nearest("LOAD DATA", ["Load Date", "Load Data"]) == "Load Data"


def test_nothing_is_suggested_for_a_name_like_no_other() -> None:
    assert did_you_mean("xyz", ["person_job", "code_job"]) is None


def test_a_very_long_name_is_not_compared() -> None:
    long = "a" * (NAME_CHARACTERS_MAX + 1)
    assert nearest(long, [long]) is None
    assert nearest("aaaa", [long]) is None


def test_a_hint_is_a_question() -> None:
    assert did_you_mean("cod_job", ["code_job"]) == "Did you mean 'code_job'?"


def test_long_lists_are_cut() -> None:
    assert listed([]) == "none"
    assert listed("ab") == "a, b"
    assert listed(str(n) for n in range(LISTED_MAX + 2)).endswith("8, 9 and 2 more")
