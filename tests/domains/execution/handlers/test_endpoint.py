"""An endpoint gives the result of its way, and saves it on request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dipeo_server.domains.execution.handlers.endpoint import EndpointProps
from dipeo_server.errors import PathDenied
from tests.domains.execution.handlers.visiting import Place, after_crash, registration

TALK = {"messages": [{"role": "assistant", "content": "Bye"}], "last_message": "Bye"}


@pytest.fixture
def place(base_dir: Path) -> Place:
    return Place(base_dir, key="The End")


@pytest.mark.parametrize(
    "inputs, result",
    [
        ({"default": "text"}, "text"),
        ({"default": {"a": 1}}, {"a": 1}),
        ({"report": {"a": 1}}, {"a": 1}),
        ({"default": 1, "b": 2}, {"default": 1, "b": 2}),
        ({}, None),
    ],
)
async def test_one_input_is_the_result_and_several_are_a_map(
    place: Place, inputs: dict[str, Any], result: Any
) -> None:
    output = await place.output("endpoint", inputs, file_name="unused.txt")
    assert (output.value, output.metadata) == ({"default": result}, {})
    assert list(place.base_dir.iterdir()) == []


@pytest.mark.parametrize(
    "value, format_, text",
    [
        ("as it is", "txt", "as it is"),
        ("# As it is", "md", "# As it is"),
        ({"a": [1]}, "txt", '{\n  "a": [\n    1\n  ]\n}'),
        ({"default": "inner"}, "txt", "inner"),
        (TALK, "md", "Bye"),
        (None, "txt", ""),
        (True, "txt", "true"),
        ({"a": 1}, "json", '{\n  "a": 1\n}\n'),
        ('{"a":1}', "json", '{"a":1}'),
        ("no JSON", "json", '"no JSON"\n'),
        ({"b": [1, "é"], "a": None}, "yaml", "b:\n- 1\n- é\na: null\n"),
        ([{"a": 1, "b": "x"}], "csv", "a,b\n1,x\n"),
    ],
)
async def test_the_result_is_written_in_the_named_format(
    place: Place, value: Any, format_: str, text: str
) -> None:
    props = {"save_to_file": True, "file_name": "out/file.dat", "file_format": format_}
    output = await place.output("endpoint", {"default": value}, **props)
    assert place.read("out/file.dat") == text
    assert output.value == {"default": value}
    assert output.metadata == {"saved_to": "out/file.dat"}


@pytest.mark.parametrize(
    "name, text",
    [("a.json", '{\n  "n": 1\n}\n'), ("a.YML", "n: 1\n"), ("a.txt", '{\n  "n": 1\n}'), ("a", None)],
)
async def test_without_a_format_the_suffix_says_it(
    place: Place, name: str, text: str | None
) -> None:
    await place.output("endpoint", {"default": {"n": 1}}, save_to_file=True, file_name=name)
    assert place.read(name) == (text or '{\n  "n": 1\n}')


@pytest.mark.parametrize("name", ["file_name", "file_path", "filePath"])
async def test_the_file_name_is_a_template_and_has_older_names(place: Place, name: str) -> None:
    props = {"save_to_file": True, name: "results/{topic}_{{user.id}}.txt"}
    inputs = {"topic": "trees", "user": {"id": 7}}
    output = await place.output("endpoint", inputs, **props)
    assert output.metadata == {"saved_to": "results/trees_7.txt"}
    assert json.loads(place.read("results/trees_7.txt")) == inputs


@pytest.mark.parametrize(
    "format_, name", [(None, "output_the_end.json"), ("md", "output_the_end.md")]
)
async def test_without_a_name_it_is_made_of_the_key(
    place: Place, format_: str | None, name: str
) -> None:
    output = await place.output(
        "endpoint", {"default": "x"}, save_to_file=True, file_format=format_
    )
    assert output.metadata == {"saved_to": name}


async def test_nothing_is_written_outside_of_the_base_directory(place: Place) -> None:
    with pytest.raises(PathDenied):
        await place.output(
            "endpoint", {"default": "x"}, save_to_file=True, file_name="../{default}.txt"
        )
    assert list(place.base_dir.parent.iterdir()) == [place.base_dir]


@pytest.mark.parametrize(
    "written, known", [("TXT", "txt"), ("text", "txt"), ("markdown", "md"), ("yml", "yaml")]
)
def test_formats_have_other_names(written: str, known: str) -> None:
    assert EndpointProps.model_validate({"file_format": written}).file_format == known
    assert EndpointProps.model_validate({"file_format": ""}).file_format is None


@pytest.mark.parametrize("written", ["docx", 3])
def test_an_unknown_format_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError, match="file_format"):
        EndpointProps.model_validate({"file_format": written})


def test_it_has_no_output_and_may_run_again() -> None:
    spec = registration("endpoint").spec
    assert (spec.ports.outputs, spec.is_pure, after_crash("endpoint")) == ((), False, "rerun")
