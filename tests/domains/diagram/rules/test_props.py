"""Props and engine settings of nodes."""

from typing import Any

import pytest
from pydantic import field_validator

from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec


class Strict(NodeProps):
    url: str
    retries: int = 0
    timeout: float = 1

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if not value.startswith("http"):
            raise ValueError("a URL begins with http.")
        return value


@pytest.fixture
def strict(judge: Any) -> Any:
    judge.specs = {**judge.specs, "strict": NodeSpec("strict", Strict)}
    return judge


@pytest.mark.parametrize(
    "props, messages",
    [
        ({}, ["`url`: is missing."]),
        ({"url": "ftp://x"}, ["`url`: a URL begins with http."]),
        (
            {"url": "http://x", "retries": "many"},
            ["`retries`: input should be a valid integer, unable to parse string as an integer."],
        ),
        ({"url": "http://x", "timeout": "soon"}, ["`timeout`: input should be a valid number"]),
        ({"url": "http://x", "timeout": 0}, []),
        ({"url": "http://x", "join": "most"}, ["`join`: input should be 'all', 'any'"]),
        ({"url": "http://x", "retry": {"attemptss": 2}}, ["`retry.attemptss`: is no field."]),
        ({"url": "http://x", "max_iteration": 0}, ["`max_iteration`: input should be greater"]),
        ({"retry": 1, "k": 0}, ["`url`", "`k`", "`retry`"]),
    ],
)
def test_every_field_that_is_refused_is_one_error(
    strict: Any, props: dict[str, Any], messages: list[str]
) -> None:
    problems = strict("s>a a>e", "INVALID_PROPS", a={"type": "strict", **props})
    assert len(problems) == len(messages)
    for problem, message in zip(problems, messages, strict=True):
        assert (problem.node, problem.is_error) == ("a", True)
        assert message in problem.message


def test_a_field_that_type_and_engine_share_is_told_once(judge: Any) -> None:
    [problem] = judge("s>p p>e", "INVALID_PROPS", p={"person": "Ann", "max_iteration": 0})
    assert "`max_iteration`" in problem.message


def test_what_was_written_is_not_repeated(judge: Any) -> None:
    [problem] = judge("s>p p>e", "INVALID_PROPS", p={"default_prompt": ["hush"]})
    assert "hush" not in problem.message


def test_settings_are_checked_where_the_type_has_no_handler(judge: Any) -> None:
    [problem] = judge("s>a a>e", "INVALID_PROPS", a={"type": "hook", "timeout": -1})
    assert "`timeout`" in problem.message


def test_a_misspelt_field_is_a_warning_with_the_nearest_name(judge: Any) -> None:
    [problem] = judge("s>p p>e", "UNKNOWN_PROP", p={"person": "Ann", "max_iterations": 3})
    assert (problem.is_error, problem.hint) == (False, "Did you mean 'max_iteration'?")


def test_settings_leftovers_and_aliases_are_no_unknown_fields(judge: Any) -> None:
    props = {"flipped": [True, False], "join": "any", "retry": {}, "description": "x"}
    assert judge("s>p p>e", "UNKNOWN_PROP", p={"person": "Ann", **props}) == []
    validator = {"type": "json_schema_validator", "json_schema": {}}
    assert judge("s>a a>e", "UNKNOWN_PROP", a=validator) == []


def test_a_type_that_declares_nothing_takes_anything(judge: Any) -> None:
    assert judge("s>a a>e", "UNKNOWN_PROP", a={"whatever": 1}) == []


def test_k_is_at_most_the_number_of_edges(judge: Any) -> None:
    wanted = {"join": "k_of_n", "k": 3}
    [problem] = judge("s>a s>b a>m b>m", "K_OUT_OF_RANGE", m=wanted)
    assert (problem.node, problem.is_error) == ("m", True)
    assert judge("s>a s>b s>d a>m b>m d>m", "K_OUT_OF_RANGE", m=wanted) == []
    assert judge("s>m", "K_OUT_OF_RANGE", m={"k": 3}) == []
