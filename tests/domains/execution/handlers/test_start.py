"""A start node gives the execution's variables, and what the diagram brings along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from dipeo_server.domains.execution.handlers.start import StartProps
from tests.domains.execution.handlers.visiting import Place, registration


@pytest.fixture
def place(base_dir: Path) -> Place:
    return Place(base_dir, variables={"a": 1, "b": 2})


async def test_it_gives_the_variables(place: Place) -> None:
    assert await place.value("start") == {"a": 1, "b": 2}
    assert await replace(place, variables={}).value("start") == {}


async def test_custom_data_wins_over_variables_in_manual_mode(place: Place) -> None:
    given = await place.value("start", trigger_mode="manual", custom_data={"b": 3, "c": 4})
    assert given == {"a": 1, "b": 3, "c": 4}


async def test_custom_data_is_left_out_in_other_modes(place: Place) -> None:
    assert await place.value("start", custom_data={"c": 4}) == {"a": 1, "b": 2}


def test_a_hook_start_names_its_event() -> None:
    with pytest.raises(ValidationError, match="hook_event"):
        StartProps(trigger_mode="hook")
    assert StartProps(trigger_mode="hook", hook_event="push").hook_event == "push"


def test_automatic_is_no_trigger_mode() -> None:
    with pytest.raises(ValidationError, match="trigger_mode"):
        StartProps.model_validate({"trigger_mode": "automatic"})


def test_it_has_no_input_and_may_run_again() -> None:
    spec = registration("start").spec
    assert (spec.ports.inputs, spec.is_pure, str(spec.after_crash)) == ((), True, "rerun")
