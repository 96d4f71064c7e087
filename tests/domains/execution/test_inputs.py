"""What handlers make of their inputs."""

from __future__ import annotations

from typing import Any

import pytest

from dipeo_server.domains.execution.inputs import first_value, passed_on


@pytest.mark.parametrize(
    "inputs, value",
    [
        ({}, None),
        ({"default": {"a": 1}}, {"a": 1}),
        ({"topic": "x"}, "x"),
        ({"topic": None}, None),
        ({"a": 1, "default": 2}, {"a": 1, "default": 2}),
    ],
)
def test_a_lone_input_is_passed_on_itself_and_several_as_a_map(
    inputs: dict[str, Any], value: Any
) -> None:
    assert passed_on(inputs) == value


@pytest.mark.parametrize(
    "inputs, value",
    [
        ({}, None),
        ({"a": 1, "default": 2}, 2),
        ({"a": 1, "default": ""}, ""),
        ({"a": 1, "default": None}, 1),
        ({"a": "", "b": [], "c": {}, "d": None, "e": 0, "f": 1}, 0),
        ({"a": "", "b": False}, False),
        ({"a": ""}, None),
    ],
)
def test_the_first_value_is_that_of_default_or_the_first_that_is_not_empty(
    inputs: dict[str, Any], value: Any
) -> None:
    assert first_value(inputs) == value
