"""person_job with real model services: prompts, answers, and the form of answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dipeo_server.domains.diagram.executable import (
    AfterCrash,
)
from dipeo_server.domains.execution.handlers.person_job import PersonJobProps
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.person.asking import PersonMissing
from dipeo_server.domains.execution.person.python_types import TextFormatError
from dipeo_server.domains.execution.registry import declared
from dipeo_server.domains.execution.templates import TemplateError
from dipeo_server.errors import FileMissing, ModelError, PathDenied
from dipeo_server.testing.stub_model import StubModel
from tests.domains.execution.handlers.person_world import (
    Point,
    World,
    observed,
    sent,
    write,
)

# --- prompts


async def test_the_answer_is_the_output_and_usage_is_counted(echo: World) -> None:
    output, _ = await echo.run({"topic": "trees"}, default_prompt="Tell me of {{topic}}")
    assert output.value == {"default": "Tell me of trees"}
    assert output.token_usage == TokenUsage(7, 4)
    assert output.metadata["model"] == "echo-1"
    assert output.metadata["person_id"] == "ann"
    assert output.metadata["llm_usage"] == {"input": 7, "output": 4, "cached": 0, "total": 11}
    assert output.metadata["preview"] == "Tell me of trees"


async def test_a_person_is_found_by_label_too(echo: World) -> None:
    output, _ = await echo.run(person="Bob", default_prompt="hi")
    assert output.metadata["person_id"] == "person_2"


@pytest.mark.parametrize("person", [None, "", "Nobody"])
async def test_without_a_person_it_fails(echo: World, person: str | None) -> None:
    with pytest.raises(PersonMissing) as failure:
        await echo.run(person=person, default_prompt="hi")
    assert failure.value.code == "PERSON_MISSING"


async def test_the_first_run_has_a_prompt_of_its_own(echo: World) -> None:
    prompts = {"first_only_prompt": "one", "default_prompt": "many"}
    assert await echo.answer(**prompts) == "one"
    assert await replace(echo, runs_before=1).answer(**prompts) == "many"
    assert await echo.answer(default_prompt="many") == "many"


async def test_without_a_prompt_nobody_is_asked_and_that_is_told(via_stub: Point) -> None:
    async with StubModel() as stub:
        world = replace(via_stub(stub), runs_before=1)
        output, context = await world.run(first_only_prompt="only once")
    assert output.value == {"default": ""}
    assert observed(context) == ["PROMPT_EMPTY"]
    assert stub.requests == []


async def test_variables_win_over_inputs(echo: World) -> None:
    world = replace(echo, variables={"topic": "stones"})
    assert await world.answer({"topic": "trees"}, default_prompt="{{topic}}") == "stones"


async def test_a_missing_template_key_stays_and_is_observed(echo: World) -> None:
    output, context = await echo.run(default_prompt="Tell {{me}}")
    assert output.value["default"] == "Tell {{me}}"
    assert observed(context) == ["TEMPLATE_KEY_MISSING"]


async def test_a_missing_template_key_fails_where_the_node_is_strict(echo: World) -> None:
    with pytest.raises(TemplateError):
        await echo.run(default_prompt="Tell {{me}}", strict=True)


@pytest.mark.parametrize(
    "name, place",
    [
        ("projects/x/p.txt", "projects/x/p.txt"),
        ("files/p.txt", "files/p.txt"),
        ("p.txt", "projects/demo/p.txt"),
        ("p.txt", "projects/demo/prompts/p.txt"),
        ("p.txt", "files/prompts/p.txt"),
        ("deep/p.txt", "files/prompts/deep/p.txt"),
        ("texts/p.txt", "texts/p.txt"),
    ],
)
async def test_a_prompt_file_is_found_in_each_of_its_places(
    echo: World, base_dir: Path, name: str, place: str
) -> None:
    write(base_dir, place, "from a file: {{x}}")
    answer = await echo.answer({"x": 1}, prompt_file=name, default_prompt="inline")
    assert answer == "from a file: 1"


async def test_an_absolute_prompt_file_lies_below_the_base_directory(
    echo: World, base_dir: Path
) -> None:
    write(base_dir, "p.txt", "here")
    assert await echo.answer(prompt_file=str(base_dir / "p.txt")) == "here"
    with pytest.raises(PathDenied):
        await echo.run(prompt_file="/etc/hostname")


async def test_the_place_nearest_to_the_diagram_wins(echo: World, base_dir: Path) -> None:
    for place in ("p.txt", "files/prompts/p.txt", "projects/demo/prompts/p.txt"):
        write(base_dir, place, place)
    assert await echo.answer(prompt_file="p.txt") == "projects/demo/prompts/p.txt"
    write(base_dir, "projects/demo/p.txt", "beside it")
    assert await echo.answer(first_prompt_file="p.txt") == "beside it"


async def test_a_missing_prompt_file_names_every_place_tried(echo: World) -> None:
    with pytest.raises(FileMissing) as failure:
        await echo.run(prompt_file="p.txt", default_prompt="inline")
    for place in ("projects/demo/p.txt", "projects/demo/prompts/p.txt", "files/prompts/p.txt"):
        assert place in failure.value.message


async def test_a_prompt_file_may_not_leave_the_base_directory(echo: World) -> None:
    with pytest.raises(PathDenied):
        await echo.run(prompt_file="../../../secret.txt")


async def test_a_persons_prompt_file_beats_its_text(via_stub: Point, base_dir: Path) -> None:
    write(base_dir, "files/prompts/role.txt", "You are somebody else.")
    async with StubModel() as stub:
        world = via_stub(stub)
        world.persons = (replace(world.persons[0], prompt_file="role.txt"),)
        await world.run(default_prompt="hi")
    assert sent(stub)[0] == ("system", "You are somebody else.")


async def test_settings_reach_the_model_only_where_they_are_made(via_stub: Point) -> None:
    async with StubModel() as stub:
        world = via_stub(stub)
        await world.run(default_prompt="hi")
        await world.run(default_prompt="hi", temperature=0.3, max_tokens=9)
    assert {"temperature", "max_tokens"}.isdisjoint(stub.requests[0])
    assert (stub.requests[1]["temperature"], stub.requests[1]["max_tokens"]) == (0.3, 9)


async def test_tokens_are_logged_as_they_come(echo: World) -> None:
    await echo.run(default_prompt="one two")
    assert "".join(text for _, text in echo.logged) == "one two"
    assert {stream for stream, _ in echo.logged} == {"tokens"}


async def test_wanted_tools_are_told_to_be_unavailable(echo: World) -> None:
    for none in (None, "none", [], [{"type": "image", "enabled": False}]):
        assert observed((await echo.run(default_prompt="hi", tools=none))[1]) == []
    for some in ("image", [{"type": "websearch", "enabled": True}]):
        assert observed((await echo.run(default_prompt="hi", tools=some))[1]) == [
            "TOOLS_UNAVAILABLE"
        ]


MODELS = "class Response(BaseModel):\n    city: str\n    size: int = Field(ge=3)\n"


# --- structured answers


async def test_a_text_format_gives_an_object(via_stub: Point) -> None:
    async with StubModel() as stub:
        world = via_stub(stub)
        output, _ = await world.run(default_prompt="Where?", text_format=MODELS)
    assert output.value == {"default": {"city": "", "size": 3}}
    assert output.messages[-1].content == '{"city": "", "size": 3}'
    schema = stub.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["city", "size"]


async def test_a_text_format_file_beats_the_inline_one(echo: World, base_dir: Path) -> None:
    write(base_dir, "projects/demo/models.py", MODELS)
    answer = await echo.answer(
        default_prompt="Where?",
        text_format={"type": "string"},
        text_format_file="projects/demo/models.py",
    )
    assert answer == {"city": "", "size": 3}


@pytest.mark.parametrize("reply", ["no json", '{"city": "Rome"}', '{"city": "Rome", "size": 1}'])
async def test_an_answer_of_another_form_may_be_retried(via_stub: Point, reply: str) -> None:
    async with StubModel(replies=[reply]) as stub:
        world = via_stub(stub)
        with pytest.raises(ModelError) as failure:
            await world.run(default_prompt="Where?", text_format=MODELS)
    assert failure.value.retryable


async def test_an_unusable_text_format_fails_before_anybody_is_asked(via_stub: Point) -> None:
    async with StubModel() as stub:
        world = via_stub(stub)
        with pytest.raises(TextFormatError) as failure:
            await world.run(
                default_prompt="Where?", text_format="class Response(BaseModel):\n x: y"
            )
    assert "line 2" in failure.value.message
    assert stub.requests == []


# --- props, and the judgement of a condition


@pytest.mark.parametrize(
    "props", [{"max_iteration": 0}, {"at_most": 0}, {"at_most": 501}, {"max_concurrent": 0}]
)
def test_limits_of_props_are_checked(props: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PersonJobProps.model_validate(props)


def test_it_is_run_again_after_a_crash() -> None:
    spec = declared()["person_job"].spec
    assert spec.after_crash is AfterCrash.RERUN
    assert not spec.is_pure
    assert spec.ports.inputs == ("first", "default")
