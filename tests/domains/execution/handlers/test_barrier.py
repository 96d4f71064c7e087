"""A barrier asks for an approval, and says what happens without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dipeo_server.domains.execution.handlers.barrier import BarrierProps, variable_name
from dipeo_server.domains.execution.output import WaitForPerson
from dipeo_server.domains.execution.templates import TemplateError
from tests.domains.execution.handlers.visiting import Place, registration


@pytest.fixture
def place(base_dir: Path) -> Place:
    return Place(base_dir, key="Check It!")


async def wish_of(place: Place, inputs: dict[str, Any], **props: Any) -> WaitForPerson:
    result, _ = await place.visit("barrier", inputs, **props)
    assert isinstance(result, WaitForPerson)
    return result


async def test_by_default_it_waits_for_ever_and_its_label_is_the_question(place: Place) -> None:
    wish = await wish_of(place, {"default": "x"})
    assert wish == WaitForPerson(
        kind="approval",
        prompt="Check It!",
        default_action="reject",
        variable="check_it_",
    )


async def test_everything_can_be_said(place: Place) -> None:
    schema = {"type": "integer"}
    wish = await wish_of(
        place,
        {"draft": "the text"},
        prompt="Publish {{draft}}?",
        timeout=60,
        default_action="skip",
        answer_schema=schema,
        name="gate",
        on_skip="bypass",
    )
    assert wish == WaitForPerson(
        kind="approval",
        prompt="Publish the text?",
        answer_schema=schema,
        timeout=60,
        default_action="skip",
        variable="gate",
        bypass_on_skip=True,
    )


async def test_a_missing_key_stays_as_written_unless_strict(place: Place) -> None:
    wish = await wish_of(place, {}, prompt="Publish {{draft}}?")
    assert wish.prompt == "Publish {{draft}}?"
    assert await place.observed("barrier", prompt="{{draft}}?") == ["TEMPLATE_KEY_MISSING"]
    with pytest.raises(TemplateError, match="draft"):
        await wish_of(place, {}, prompt="Publish {{draft}}?", strict=True)


@pytest.mark.parametrize("props", [{"timeout": 0}, {"default_action": "modify"}, {"on_skip": "x"}])
def test_what_it_cannot_mean_is_refused(props: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BarrierProps.model_validate(props)


def test_an_answer_schema_that_is_none_is_refused_before_anybody_is_asked() -> None:
    with pytest.raises(ValidationError, match="no JSON schema at type"):
        BarrierProps.model_validate({"answer_schema": {"type": "whole number"}})


def test_the_variable_is_the_label_in_lower_case() -> None:
    assert variable_name("Review Draft #2") == "review_draft__2"


def test_its_ports_are_a_choice() -> None:
    spec = registration("barrier").spec
    assert spec.branches
    assert spec.ports.outputs == ("default", "approved", "rejected", "skipped")
