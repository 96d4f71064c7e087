"""A sub_diagram in batch mode: one child per item, results in the order of the items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.diagram.compile import compile_diagram
from dipeo_server.domains.diagram.formats.detect import read_diagram
from dipeo_server.domains.execution.children import ChildResult, ChildRun
from dipeo_server.domains.execution.envelope import EnvelopeFactory
from dipeo_server.domains.execution.handlers.sub_diagram import SubDiagramFailed
from dipeo_server.domains.execution.registry import declared
from dipeo_server.domains.execution.resolver import resolve
from dipeo_server.domains.execution.state import InputRef
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import LimitExceeded, NodeError
from tests.domains.execution.handlers.visiting import Children, Place, ended


def doubled(child: ChildRun) -> ChildResult:
    """Doubles `n` or the item; fails on a negative number, cannot start on zero."""
    number = child.variables.get("n", child.variables.get("default"))
    if number == 0:
        raise NodeError("Zero cannot start.")
    if isinstance(number, int) and number < 0:
        error = {"code": "CODE_ERROR", "message": "negative", "node": "Double"}
        return ended(ExecutionStatus.FAILED, error=error)
    return ended(outputs={"End": number * 2})


@pytest.fixture
def place(base_dir: Path) -> Place:
    return Place(base_dir, key="Sub", children=Children(doubled), variables={"lang": "en"})


async def started(place: Place, inputs: Mapping[str, Any], **props: Any) -> list[ChildRun]:
    assert place.children is not None
    await place.output("sub_diagram", inputs, diagram_name="child", batch=True, **props)
    return place.children.started


async def test_every_item_has_a_child_and_results_keep_their_order(place: Place) -> None:
    output = await place.output(
        "sub_diagram", {"items": [{"n": 3}, {"n": 1}, {"n": 2}]}, diagram_name="c", batch=True
    )
    assert output.value == {"default": [6, 2, 4]}
    assert output.metadata == {
        "total_items": 3,
        "successful": 3,
        "failed": 0,
        "errors": [],
        "diagram": "c",
    }
    assert place.children is not None
    assert [child.key for child in place.children.started] == ["0", "1", "2"]
    assert place.children.at_once == 10


async def test_how_many_run_at_once(place: Place) -> None:
    await started(place, {"items": [1]}, max_concurrent=3)
    assert place.children is not None
    assert place.children.at_once == 3
    await started(place, {"items": [1]}, max_concurrent=3, batch_parallel=False)
    assert place.children.at_once == 1


@pytest.mark.parametrize(
    "inputs, key, items",
    [
        ({"items": [1, 2]}, "items", [1, 2]),
        ({"default": {"items": [1, 2]}}, "items", [1, 2]),
        ({"default": '{"items": [1, 2]}'}, "items", [1, 2]),
        ({"default": {"docs": "[1, 2]"}}, "docs", [1, 2]),
        ({"default": [1, 2]}, "default", [1, 2]),
        ({"items": 1}, "items", [1]),
        ({"items": [1], "default": {"items": [2]}}, "items", [1]),
    ],
)
async def test_items_are_found_among_the_inputs_and_in_default(
    place: Place, inputs: dict[str, Any], key: str, items: list[Any]
) -> None:
    children = await started(place, inputs, batch_input_key=key)
    assert [child.variables["default"] for child in children] == items


async def test_a_map_is_spread_and_anything_else_is_default(place: Place) -> None:
    inputs = {"items": [{"n": 1, "x": {"y": 2}}, 5], "extra": "e", "default": "d"}
    first, second = await started(place, inputs)
    assert first.variables == {
        "n": 1,
        "x": {"y": 2},
        "extra": "e",
        "_batch_index": 0,
        "_batch_total": 2,
    }
    assert second.variables == {
        "default": 5,
        "extra": "e",
        "_batch_index": 1,
        "_batch_total": 2,
    }


async def test_other_inputs_may_be_kept_from_the_children(place: Place) -> None:
    inputs = {"items": [{"n": 1}], "extra": "e"}
    [child] = await started(place, inputs, passInputData=False)
    assert child.variables == {"n": 1, "_batch_index": 0, "_batch_total": 1}


async def test_a_mapping_is_for_every_child(place: Place) -> None:
    inputs = {"items": [{"n": 1}], "extra": "e"}
    [child] = await started(place, inputs, input_mapping={"language": "lang"})
    assert child.variables == {"n": 1, "language": "en", "_batch_index": 0, "_batch_total": 1}


async def test_items_that_fail_are_left_out_and_observed(place: Place) -> None:
    result, context = await place.visit(
        "sub_diagram", {"items": [1, -1, 2, 0]}, diagram_name="c", batch=True
    )
    failed = "The sub-diagram 'c' (exec_0_child) failed at 'Double': negative"
    assert getattr(result, "value", None) == {"default": [2, 4]}
    assert getattr(result, "metadata", {})["errors"] == [
        {"index": 1, "error": failed, "error_type": "CODE_ERROR", "item": -1},
        {"index": 3, "error": "Zero cannot start.", "error_type": "INTERNAL", "item": 0},
    ]
    assert [(failure.code, failure.message) for failure in context.observed] == [
        ("CODE_ERROR", f"'Sub', item 1: {failed}"),
        ("INTERNAL", "'Sub', item 3: Zero cannot start."),
    ]


async def test_when_every_item_fails_the_node_fails(place: Place) -> None:
    with pytest.raises(SubDiagramFailed, match=r"All 2 items failed, the first: .*neg") as failure:
        await started(place, {"items": [-1, 0]})
    assert failure.value.code == "CODE_ERROR"


@pytest.mark.parametrize("key", ["results", "sections"])
async def test_a_rich_object_tells_everything_whatever_happened(place: Place, key: str) -> None:
    props = {"diagram_name": "c", "batch": True, "output_mode": "rich_object", "result_key": key}
    inputs = {"items": [1, 0]}
    assert await place.value("sub_diagram", inputs, **props) == {
        "total_items": 2,
        "successful": 1,
        "failed": 1,
        key: [2],
        "errors": [
            {"index": 1, "error": "Zero cannot start.", "error_type": "INTERNAL", "item": 0}
        ],
    }
    assert await place.observed("sub_diagram", inputs, **props) == []
    none_left = await place.value("sub_diagram", {"items": [0]}, **props)
    assert (none_left["failed"], none_left[key]) == (1, [])


async def test_no_items_are_no_children(place: Place) -> None:
    props = {"diagram_name": "c", "batch": True}
    assert await place.value("sub_diagram", {"items": []}, **props) == []
    assert await place.observed("sub_diagram", {"items": []}, **props) == []
    result, context = await place.visit("sub_diagram", {"default": {"docs": [1]}}, **props)
    assert getattr(result, "value", None) == {"default": []}
    assert [failure.code for failure in context.observed] == ["BATCH_EMPTY"]
    assert context.observed[0].hint == "There is: default, docs."


async def test_a_batch_is_bounded(place: Place) -> None:
    with pytest.raises(LimitExceeded, match="10,000"):
        await started(place, {"items": [1] * 10_001})


async def test_a_real_diagram_gets_its_item(base_dir: Path, corpus: Path) -> None:
    """The child's start gives the item, so that `item.get('index')` is right for each."""
    file = corpus / "dipeo/projects/frontend_enhance/section_implementor.light.yaml"
    specs = {type_: entry.spec for type_, entry in declared().items()}
    loaded = read_diagram(file.read_text(), specs=specs, path=file.name)
    assert loaded.diagram is not None
    diagram = compile_diagram(loaded.diagram, specs).executable
    edge = next(edge for edge in diagram.edges if edge.input_name == "item")
    seen: list[Any] = []

    def begin(child: ChildRun) -> ChildResult:
        seen.append(child.variables)
        return ended()

    parent = Place(base_dir, children=Children(begin))
    inputs = {"default": {"section_count": 2, "indices": [{"index": 0}, {"index": 1}]}}
    await parent.value(
        "sub_diagram", inputs, diagram_name="x", batch=True, batch_input_key="indices"
    )
    for index, variables in enumerate(seen):
        given = await replace(parent, variables=variables).value("start")
        ref = InputRef(edge.index, EnvelopeFactory.create("Start", given), "default")
        item = resolve(diagram, [ref]).inputs["item"]
        assert item.get("index") == index
