"""A transform node applies its rules to what comes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.transformation import TransformError
from tests.domains.execution.handlers.visiting import Place


@pytest.fixture
def place(base_dir: Path) -> Place:
    return Place(base_dir)


@pytest.mark.parametrize(
    "rules, given",
    [
        ([], {"user": {"name": "Ann"}}),
        ([{"extract": "user.name"}], "Ann"),
        ([{"extract": "user"}, {"wrap": "who"}], {"who": {"name": "Ann"}}),
        ([{"wrap": "who"}, {"extract": "who.user.name"}], "Ann"),
        ([{"extract": "user", "wrap": "who"}], {"who": {"name": "Ann"}}),
        ({"wrap": "who", "extract": "user.name"}, {"who": "Ann"}),
    ],
)
async def test_rules_are_applied_in_order(place: Place, rules: Any, given: Any) -> None:
    assert await place.value("transform", {"default": {"user": {"name": "Ann"}}}, rules=rules) == (
        given
    )


async def test_several_inputs_come_as_a_map(place: Place) -> None:
    rules = [{"expression": "a + b"}]
    output = await place.output("transform", {"a": 1, "b": 2}, rules=rules)
    assert output.value == {"default": 3}
    assert output.metadata == {"transforms": ["expression"]}


async def test_a_rule_that_cannot_be_applied_fails(place: Place) -> None:
    with pytest.raises(TransformError, match="no 'b'"):
        await place.value("transform", {"default": {"a": 1}}, rules=[{"extract": "b"}])
    with pytest.raises(TransformError, match="no transformation 'reverse'"):
        await place.value("transform", {"default": 1}, rules=[{"reverse": True}])
