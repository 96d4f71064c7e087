"""A user_response asks a question; the engine waits for the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dipeo_server.domains.execution.handlers.user_response import UserResponseProps
from dipeo_server.domains.execution.output import WaitForPerson
from dipeo_server.domains.execution.templates import TemplateError
from tests.domains.execution.handlers.visiting import Place


@pytest.fixture
def place(base_dir: Path) -> Place:
    return Place(base_dir, key="Ask")


async def wish_of(place: Place, inputs: dict[str, Any], **props: Any) -> WaitForPerson:
    result, _ = await place.visit("user_response", inputs, **props)
    assert isinstance(result, WaitForPerson)
    return result


async def test_a_question_waits_a_minute(place: Place) -> None:
    wish = await wish_of(place, {"name": "Ann"}, prompt="How old are you, {{name}}?")
    assert wish == WaitForPerson(
        kind="answer",
        prompt="How old are you, Ann?",
        timeout=60,
        default_action="answer",
    )


async def test_without_a_prompt_the_label_is_the_question(place: Place) -> None:
    assert (await wish_of(place, {})).prompt == "Ask"


async def test_a_default_answer_a_schema_and_no_timeout(place: Place) -> None:
    schema = {"type": "string"}
    wish = await wish_of(place, {}, default_answer="x", timeout=None, answer_schema=schema)
    assert (wish.default_answer, wish.timeout, wish.answer_schema) == ("x", None, schema)


async def test_a_missing_key_fails_a_strict_node(place: Place) -> None:
    assert await place.observed("user_response", prompt="{{x}}") == ["TEMPLATE_KEY_MISSING"]
    with pytest.raises(TemplateError, match="x"):
        await wish_of(place, {}, prompt="{{x}}", strict=True)


def test_a_default_that_could_never_be_taken_is_refused_before_anybody_is_asked() -> None:
    with pytest.raises(ValidationError, match=r"default_answer: .*'x' is not of type 'integer'"):
        UserResponseProps.model_validate(
            {"default_answer": "x", "answer_schema": {"type": "integer"}}
        )
    with pytest.raises(ValidationError, match="answer_schema is no JSON schema at type"):
        UserResponseProps.model_validate({"answer_schema": {"type": "number of years"}})
