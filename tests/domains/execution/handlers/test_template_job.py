"""A template_job renders a template, and writes the text where it is told to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dipeo_server.domains.execution.handlers.template_job import (
    PreprocessorRefused,
    TemplateJobProps,
)
from dipeo_server.domains.execution.templates import TemplateError
from dipeo_server.errors import FileMissing, PathDenied
from tests.domains.execution.handlers.visiting import Place, after_crash


@pytest.fixture
def place(base_dir: Path) -> Place:
    return Place(base_dir, key="Render", variables={"lang": "en"})


async def test_a_template_knows_inputs_variables_and_the_keys_of_default(place: Place) -> None:
    template = "{{ title }} {{ note.x }} {{ lang }} {{ default.title }}"
    inputs = {"default": {"title": "T"}, "note": {"x": 1}}
    for engine in ("jinja2", "internal"):
        text = await place.value("template_job", inputs, template_content=template, engine=engine)
        assert text == "T 1 en T"


async def test_jinja_is_the_default_and_takes_blocks_of_both_kinds(place: Place) -> None:
    template = "{% for i in items %}{{ i }},{% endfor %}{{#each items}}{{this}};{{/each}}"
    output = await place.output("template_job", {"items": [1, 2]}, template=template)
    assert output.value == {"default": "1,2,1;2;"}
    assert output.metadata == {"engine": "jinja2"}


async def test_an_unknown_name_is_an_error_in_jinja_and_stays_in_internal(place: Place) -> None:
    with pytest.raises(TemplateError, match="'tilte' is undefined"):
        await place.value("template_job", {"title": 1}, template_content="{{ tilte }}")
    internal = {"template_content": "{{ tilte }}", "engine": "internal"}
    assert await place.value("template_job", {"title": 1}, **internal) == "{{ tilte }}"
    assert await place.observed("template_job", {"title": 1}, **internal) == [
        "TEMPLATE_KEY_MISSING"
    ]
    with pytest.raises(TemplateError):
        await place.value("template_job", {"title": 1}, **internal, strict=True)


async def test_a_template_may_lie_in_a_file_whose_path_is_a_template(place: Place) -> None:
    place.write("templates/en.j2", "Hello {{ name }}")
    output = await place.output(
        "template_job", {"name": "Ann"}, template_path="templates/{lang}.j2"
    )
    assert output.value == {"default": "Hello Ann"}
    assert output.metadata == {"engine": "jinja2", "template_path": "templates/en.j2"}


async def test_a_template_in_the_node_beats_the_file(place: Place) -> None:
    props = {"template_content": "", "template_path": "gone.j2"}
    assert await place.value("template_job", **props) == ""


async def test_the_text_is_written_to_a_file(place: Place) -> None:
    output = await place.output(
        "template_job",
        {"name": "Ann"},
        template_content="Hi {{name}}",
        output_path="out/{{name}}_{lang}.txt",
    )
    assert place.read("out/Ann_en.txt") == "Hi Ann"
    assert output.value == {"default": "Hi Ann"}
    assert output.metadata["path"] == "out/Ann_en.txt"


async def test_paths_stay_below_the_base_directory(place: Place) -> None:
    with pytest.raises(PathDenied):
        await place.value("template_job", template_content="x", output_path="../x.txt")
    with pytest.raises(PathDenied):
        await place.value("template_job", template_path="/etc/hostname")
    with pytest.raises(FileMissing):
        await place.value("template_job", template_path="gone.j2")


async def test_an_unknown_key_in_a_path_is_observed(place: Place) -> None:
    props = {"template_content": "x", "output_path": "{nobody}.txt"}
    assert await place.observed("template_job", **props) == ["TEMPLATE_KEY_MISSING"]


async def test_variables_are_templates_and_a_lone_tag_is_the_value_itself(place: Place) -> None:
    variables = {
        "who": "{{name}} ({{lang}})",
        "models": "{{ data.models }}",
        "first": "{{data.models[0]}}",
        "nested": {"list": ["{{name}}", 1]},
        "count": 2,
    }
    inputs = {"name": "Ann", "data": {"models": ["a", "b"]}}
    template = "{{ who }}|{{ models | join('+') }}|{{ first }}|{{ nested.list[0] }}|{{ count }}"
    text = await place.value("template_job", inputs, template_content=template, variables=variables)
    assert text == "Ann (en)|a+b|a|Ann|2"


async def test_variables_with_unknown_keys_stay_as_written(place: Place) -> None:
    props = {"template_content": "{{ who }}", "variables": {"who": "{{nobody}}"}}
    assert await place.value("template_job", **props) == "{{nobody}}"
    assert await place.observed("template_job", **props) == ["TEMPLATE_KEY_MISSING"]


async def test_inputs_and_execution_variables_win_over_the_nodes_own(place: Place) -> None:
    props: dict[str, Any] = {
        "template_content": "{{ name }} {{ lang }} {{ title }} {{ local.name }}",
        "variables": {"name": "own", "lang": "own", "title": "own"},
    }
    text = await place.value("template_job", {"default": {"name": "Ann"}}, **props)
    assert text == "Ann en own own"
    nothing = replace(place, variables={})
    assert await nothing.value("template_job", **props) == "own own own own"


async def test_the_time_is_known_and_can_be_hidden(place: Place) -> None:
    template = "{{ generated_at }} {{ now }}"
    noon = "2026-03-01T12:00:00+00:00"
    assert await place.value("template_job", template_content=template) == f"{noon} {noon}"
    props = {"template_content": template, "variables": {"now": "then"}}
    assert await place.value("template_job", **props) == f"{noon} then"


async def test_a_preprocessor_is_refused(place: Place) -> None:
    preprocessor = {"module": "os", "function": "getcwd"}
    with pytest.raises(PreprocessorRefused, match="does not run in the server") as failure:
        await place.value("template_job", template_content="x", preprocessor=preprocessor)
    assert failure.value.hint is not None


def test_a_template_is_needed() -> None:
    with pytest.raises(ValidationError, match="template_path or template_content"):
        TemplateJobProps.model_validate({"template_path": ""})
    with pytest.raises(ValidationError, match="engine"):
        TemplateJobProps.model_validate({"template": "x", "engine": "mako"})


def test_it_may_run_again_after_a_crash() -> None:
    assert after_crash("template_job", template="x") == "rerun"
