"""Templates of a node see its inputs and the execution's variables; what is missing is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipeo_server.domains.execution.prompts import observe_missing, rendered, rendered_path
from dipeo_server.domains.execution.templates import TemplateError
from tests.domains.execution.handlers.visiting import Place

INPUTS = {"default": {"name": "Ann", "age": 3}, "talk": {"messages": [{"content": "bye"}]}}


@pytest.fixture
def place(base_dir: Path) -> Place:
    return Place(base_dir, key="Ask", variables={"lang": "en", "age": 4})


def test_a_text_is_filled_in(place: Place) -> None:
    context = place.context("start", INPUTS)
    template = "{{name}} {{default.age}} {{age}} {{lang}} {{talk_last_message}} {{extra}}"
    text = rendered(template, context, local={"extra": "!"})
    assert text == "Ann 3 4 en bye !"
    assert context.observed == []


def test_a_missing_key_stays_and_is_observed_once(place: Place) -> None:
    context = place.context("start", INPUTS)
    assert rendered("{{nmae}} {{nmae}} {{x.y}}", context) == "{{nmae}} {{nmae}} {{x.y}}"
    assert [failure.code for failure in context.observed] == ["TEMPLATE_KEY_MISSING"] * 2
    first = context.observed[0]
    assert (first.node, first.message) == (
        "Ask",
        "Nothing is known as 'nmae' in a template of 'Ask'.",
    )
    assert first.hint == "Known names: age, default, lang, talk."


def test_a_missing_key_is_an_error_where_it_must_be_there(place: Place) -> None:
    context = place.context("start", {})
    with pytest.raises(TemplateError, match="nmae"):
        rendered("{{nmae}}", context, strict=True)
    assert context.observed == []


def test_a_path_takes_single_and_double_braces(place: Place) -> None:
    context = place.context("start", INPUTS)
    assert rendered_path("out/{lang}/{{default.name}}_{gone}.txt", context) == (
        "out/en/Ann_{gone}.txt"
    )
    assert [failure.code for failure in context.observed] == ["TEMPLATE_KEY_MISSING"]
    with pytest.raises(TemplateError, match="path"):
        rendered_path("{default}.txt", context)


def test_where_nothing_is_known_it_says_so(place: Place) -> None:
    context = Place(place.base_dir).context("start", {})
    observe_missing(context, ("x",))
    assert context.observed[0].hint == "Known names: none."
