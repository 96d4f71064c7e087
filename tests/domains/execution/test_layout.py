"""Pictures as Graphviz lays them out: no box lies on another, and every label fits its box."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import pytest

from dipeo_server.domains.diagram.mutations import (
    GraphMutation,
    UpsertEdge,
    UpsertNode,
    apply_mutations,
)
from dipeo_server.domains.diagram.rendering.dot import to_dot
from dipeo_server.domains.diagram.rendering.picture import Box, Picture, Shape
from dipeo_server.domains.execution.events import BarrierAction, BarrierWaiting
from dipeo_server.domains.execution.graph_picture import compose_graph
from dipeo_server.domains.execution.graph_walk import Branch
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.picture import STYLES, compose_run
from dipeo_server.domains.execution.signals import GraphMutationRequested
from dipeo_server.domains.execution.state import view
from dipeo_server.domains.execution.status import NodeExecutionStatus
from tests.builders import SPECS, Story
from tests.domains.execution.test_graph import (
    EARLY,
    FORK,
    FORK_OF_FORK,
    ROOT,
    child_story,
    forked,
    graph_of,
    looped,
)
from tests.drawing import dot, needs_dot

POINTS_PER_INCH = 72


def half_finished() -> Picture:
    """A run with a loop, branches, a failure, somebody who is asked, and nodes to come."""
    story = Story(
        "s -> a -> c; c.f -> a; c.t -> g -> e; c.t -> b -> d -> e2; c.t -> x1; s -> c2; "
        "c2.t -> k; c2.f -> m -> e3",
        props={"x1": {"on_error": {"policy": "continue"}}},
    )
    story.returns("s")
    story.returns("c2", port="condtrue")
    story.returns("a")
    story.returns("c", port="condfalse")
    story.returns("a")
    story.returns("c", port="condtrue")
    story.asks("g")
    story.raises("x1")
    return compose_run(view(story.state), SPECS)


def eventful() -> Picture:
    """An execution graph with a loop, forks, a change, a question, a failure and a sub-diagram."""
    story = Story("s -> a -> c; c.t -> a; c.f -> g; g -> b -> e")
    story.returns("s")
    for port in ("condtrue", "condfalse"):
        story.returns("a")
        story.returns("c", port=port)
    story.asks("g")
    asked = next(each.seq for each in story.log if isinstance(each.event, BarrierWaiting))
    mutations: list[GraphMutation] = [
        UpsertNode({"key": "a node that was put in later", "type": "work"}),
        UpsertEdge({"source": "b", "target": "a node that was put in later"}),
    ]
    new = apply_mutations(story.state.diagram, mutations, SPECS).executable
    story.tell(GraphMutationRequested(new, 0))
    changed = story.log[-1].seq
    story.decides("g", BarrierAction.APPROVE)
    story.raises("b")
    child = ExecutionID("exec_0_abcdefghijklmnopqrstuvwxyz")
    logs = {child: child_story().log, **dict.fromkeys((ROOT, FORK, EARLY), story.log)}
    branches = [
        Branch(ROOT),
        Branch(FORK, ROOT, asked),
        Branch(EARLY, ROOT, changed),
        Branch(child, caller=ROOT),
    ]
    return compose_graph(graph_of(ROOT, branches, logs))


def every_status() -> Picture:
    boxes = tuple(
        Box(
            f"a node with a long name, which is {status.value} {shape}", shape, (style.sign, status)
        )
        for status, style in STYLES.items()
        for shape in (Shape.CHOICE, Shape.PEOPLE, Shape.START, Shape.END)
    )
    legend = tuple((style, f"{style.sign} {status}: 4") for status, style in STYLES.items())
    return Picture(boxes, (), ("Every status", "in every shape"), legend)


PICTURES: Mapping[str, Callable[[], Picture]] = {
    "run": half_finished,
    "statuses": every_status,
    "graph": lambda: compose_graph(forked(FORK_OF_FORK)),
    "eventful graph": eventful,
    "long graph": lambda: compose_graph(graph_of(ROOT, [Branch(ROOT)], {ROOT: looped(500).log})),
}


def laid_out(picture: Picture) -> list[dict[str, Any]]:
    """The nodes, the legend's too, as they are drawn."""
    graph = json.loads(dot(to_dot(picture), "json"))
    return [each for each in graph["objects"] if "pos" in each]


def place(node: dict[str, Any]) -> tuple[float, float, float, float]:
    """Left, lower, right and upper end of a node, in points."""
    x, y = (float(part) for part in node["pos"].split(","))
    across, up = (float(node[side]) * POINTS_PER_INCH / 2 for side in ("width", "height"))
    return x - across, y - up, x + across, y + up


def test_000_06_an_execution_graph_tells_apart_whatever_led_to_its_states() -> None:
    picture = eventful()
    by_label = {box.label: box for box in picture.boxes}
    assert {box.shape for box in picture.boxes} == {
        Shape.START,
        Shape.MODEL,
        Shape.PEOPLE,
        Shape.OTHER,
        Shape.CHILD,
        Shape.END,
    }
    assert by_label["± graph changed: revision 1"].shape is Shape.OTHER
    assert by_label["‖ g asks a person"].shape is Shape.PEOPLE
    assert by_label["↳ a"].shape is Shape.CHILD
    assert by_label["✗ b failed: CODE_ERROR"].style is STYLES[NodeExecutionStatus.FAILED]
    assert [box.label for box in picture.boxes].count("fork") == 2
    for box in picture.boxes:
        if box.style is not None:
            assert box.label.startswith(f"{box.style.sign} "), box.label
    styles = [style for style, _ in picture.legend]
    assert styles == [style for style in STYLES.values() if style in styles]
    assert {box.style for box in picture.boxes if box.style is not None} == set(styles)


@needs_dot
@pytest.mark.parametrize("name", PICTURES)
def test_000_06_no_box_lies_on_another(name: str) -> None:
    nodes = laid_out(PICTURES[name]())
    for one, other in combinations(nodes, 2):
        (left, low, right, high), (left2, low2, right2, high2) = place(one), place(other)
        apart = right <= left2 or right2 <= left or high <= low2 or high2 <= low
        assert apart, (one["label"], other["label"])


@needs_dot
@pytest.mark.parametrize("name", PICTURES)
def test_000_06_every_label_fits_its_box(name: str) -> None:
    for node in laid_out(PICTURES[name]()):
        left, low, right, high = place(node)
        texts = [each for each in node["_ldraw_"] if each["op"] == "T"]
        assert texts, node["label"]
        for text in texts:
            x, y = text["pt"]
            assert left <= x - text["width"] / 2, node["label"]
            assert x + text["width"] / 2 <= right, node["label"]
            assert low <= y <= high, node["label"]


def test_every_status_has_a_colour_and_a_sign_of_its_own() -> None:
    assert set(STYLES) == set(NodeExecutionStatus)
    for what in ("name", "sign", "fill", "border"):
        values = [getattr(style, what) for style in STYLES.values()]
        assert all(values)
        assert len(set(values)) == len(values) or what == "border"
    looks = {(style.fill, style.border) for style in STYLES.values()}
    assert len(looks) == len(STYLES)
