"""A sub_diagram runs another diagram once: what the child gets, and what becomes of its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dipeo_server.domains.execution.children import ChildResult, ChildRun
from dipeo_server.domains.execution.document_parts import PartMissing
from dipeo_server.domains.execution.handlers.sub_diagram import SubDiagramFailed, SubDiagramProps
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import FileMissing
from tests.domains.execution.handlers.visiting import (
    Children,
    Place,
    after_crash,
    ended,
    registration,
)


@pytest.fixture
def place(base_dir: Path) -> Place:
    children = Children(lambda child: ended(outputs={"End": dict(child.variables)}))
    return Place(base_dir, key="Sub", children=children, variables={"lang": "en"})


def ending(place: Place, result: ChildResult) -> Place:
    return replace(place, children=Children(lambda _: result))


async def started(place: Place, inputs: dict[str, Any] | None = None, /, **props: Any) -> ChildRun:
    """The child that the node starts."""
    assert place.children is not None
    await place.output("sub_diagram", inputs, **{"diagram_name": "child", **props})
    return place.children.started[-1]


# --- which diagram


async def test_a_diagram_is_named_and_its_name_is_a_template(place: Place) -> None:
    child = await started(place, diagram_name="flows/{lang}", diagram_format="light")
    assert child == ChildRun("flows/en", None, "light", {}, "")


@pytest.mark.parametrize(
    "written, format_",
    [("json", "native"), ("yaml", None), ("", None), (None, None), ("Readable", "readable")],
)
async def test_formats_have_older_names(
    place: Place, written: str | None, format_: str | None
) -> None:
    assert (await started(place, diagram_format=written)).format == format_


@pytest.mark.parametrize(
    "document, format_",
    [
        ({"nodes": [], "connections": []}, "light"),
        ({"nodes": [], "flow": []}, "readable"),
        ({"nodes": {}, "arrows": {}}, "native"),
        ({"nodes": []}, None),
        ("version: light", None),
    ],
)
async def test_a_diagram_may_be_written_out(
    place: Place, document: Any, format_: str | None
) -> None:
    child = await started(place, diagram_data=document)
    assert (child.path, child.document, child.format) == (None, document, format_)
    assert (await started(place, diagram_data=document, diagram_format="light")).format == "light"


def test_a_diagram_is_needed() -> None:
    with pytest.raises(ValidationError, match="diagram_name or diagram_data"):
        SubDiagramProps.model_validate({"diagram_name": "", "diagram_data": {}})


# --- what the child gets


@pytest.mark.parametrize(
    "inputs, variables",
    [
        ({}, {}),
        ({"default": {"a": 1, "b": 2}}, {"a": 1, "b": 2}),
        ({"default": {"a": 1}, "a": 2, "c": 3}, {"a": 2, "c": 3}),
        ({"default": {"default": {"a": 1}}}, {"a": 1}),
        ({"default": '{"a": 1}'}, {"a": 1}),
        ({"default": {"default": '{"a": 1}'}}, {"a": 1}),
        ({"default": "text"}, {"default": "text"}),
        ({"default": "{text"}, {"default": "{text"}),
        ({"default": [1]}, {"default": [1]}),
        ({"default": None, "a": None}, {"a": None}),
        ({"default": {}}, {"default": {}}),
    ],
)
async def test_its_variables_are_the_inputs_a_map_on_default_spread(
    place: Place, inputs: dict[str, Any], variables: dict[str, Any]
) -> None:
    assert (await started(place, inputs)).variables == variables


@pytest.mark.parametrize("name", ["pass_input_data", "passInputData"])
async def test_inputs_may_be_kept_from_it(place: Place, name: str) -> None:
    assert (await started(place, {"default": {"a": 1}}, **{name: False})).variables == {}


async def test_a_mapping_says_what_it_gets(place: Place) -> None:
    inputs = {"default": {"user": {"name": "Ann"}}, "n": 1}
    mapping = {"who": "user.name", "count": "n", "language": "lang", "all": "default"}
    child = await started(place, inputs, input_mapping=mapping, pass_input_data=False)
    assert child.variables == {
        "who": "Ann",
        "count": 1,
        "language": "en",
        "all": {"user": {"name": "Ann"}},
    }


async def test_a_mapping_from_what_is_not_there_is_an_error(place: Place) -> None:
    with pytest.raises(PartMissing, match="'Sub': input_mapping: 'nobody'") as failure:
        await started(place, {"default": 1, "n": 1}, input_mapping={"who": "nobody"})
    assert failure.value.hint == "Inputs: default, n."


# --- what becomes of its end


@pytest.mark.parametrize(
    "result, value",
    [
        (ended(outputs={"End": {"a": 1}}, last="other"), {"a": 1}),
        (ended(outputs={"A": 1, "B": 2}, last="other"), {"A": 1, "B": 2}),
        (ended(last="the last"), "the last"),
        (ended(), None),
    ],
)
async def test_the_result_is_that_of_its_endpoints(
    place: Place, result: ChildResult, value: Any
) -> None:
    output = await ending(place, result).output("sub_diagram", diagram_name="child")
    assert output.value == {"default": value}
    assert output.metadata == {"child_execution_id": "exec_0_child", "diagram": "child"}


@pytest.mark.parametrize(
    "outputs, mapping, value",
    [
        ({"End": {"a": [1, 2]}}, {"first": "End.a.0", "all": "End"}, {"first": 1, "all": {}}),
        ({"End": {"a": [1, 2]}}, {"second": "a.1"}, {"second": 2}),
        ({"The. End": 1, "B": 2}, {"x": "The. End"}, {"x": 1}),
    ],
)
async def test_a_mapping_says_what_is_taken_of_it(
    place: Place, outputs: dict[str, Any], mapping: dict[str, str], value: dict[str, Any]
) -> None:
    if "all" in value:
        value = {**value, "all": outputs["End"]}
    there = ending(place, ended(outputs=outputs))
    assert await there.value("sub_diagram", diagram_name="c", output_mapping=mapping) == value


async def test_a_mapping_to_what_is_not_there_is_an_error(place: Place) -> None:
    there = ending(place, ended(outputs={"End": {"a": 1}}))
    with pytest.raises(PartMissing, match="output_mapping: 'Ende'") as failure:
        await there.value("sub_diagram", diagram_name="c", output_mapping={"x": "Ende"})
    assert failure.value.hint == "Endpoints of the child: End."


@pytest.mark.parametrize(
    "result, code, message",
    [
        (
            ended(
                ExecutionStatus.FAILED,
                error={"code": "CODE_ERROR", "message": "KeyError: 'x'", "node": "Work"},
            ),
            "CODE_ERROR",
            "The sub-diagram 'c' (exec_0_child) failed at 'Work': KeyError: 'x'",
        ),
        (
            ended(ExecutionStatus.FAILED),
            "CHILD_FAILED",
            "The sub-diagram 'c' (exec_0_child) failed.",
        ),
        (
            ended(ExecutionStatus.ABORTED),
            "CANCELLED",
            "The sub-diagram 'c' (exec_0_child) was aborted.",
        ),
    ],
)
async def test_a_child_that_fails_fails_the_node_with_its_own_code(
    place: Place, result: ChildResult, code: str, message: str
) -> None:
    with pytest.raises(SubDiagramFailed) as failure:
        await ending(place, result).value("sub_diagram", diagram_name="c")
    assert (failure.value.code, failure.value.message) == (code, message)


async def test_a_child_that_cannot_start_is_an_error(place: Place) -> None:
    def refuse(_: ChildRun) -> ChildResult:
        raise FileMissing("There is no diagram.")

    with pytest.raises(FileMissing):
        await replace(place, children=Children(refuse)).value("sub_diagram", diagram_name="c")


@pytest.mark.parametrize(
    "props, codes",
    [
        ({"ignoreIfSub": True}, ["UNSUPPORTED_FIELD"]),
        ({"wait_for_completion": False}, ["UNSUPPORTED_FIELD"]),
        ({"isolate_conversation": True, "use_standard_execution": True}, []),
    ],
)
async def test_what_has_no_effect_is_said(
    place: Place, props: dict[str, Any], codes: list[str]
) -> None:
    assert await place.observed("sub_diagram", diagram_name="c", **props) == codes


def test_it_holds_no_slot_and_finds_its_child_again_after_a_crash() -> None:
    assert not registration("sub_diagram").spec.holds_slot
    assert after_crash("sub_diagram", diagram_name="c") == "rerun"
