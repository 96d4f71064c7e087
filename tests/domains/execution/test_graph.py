"""Execution graphs: states joined by steps, forks as branches, and their pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from dipeo_server.domains.diagram.rendering.picture import Line, Shape
from dipeo_server.domains.diagram.rendering.renderer import PictureTooLarge
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.graph import Branch, Branches, ExecutionGraph, Walk, join
from dipeo_server.domains.execution.graph_picture import BOXES_MAX, compose_graph
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from tests.builders import Story

LOOP = "s -> a -> c; c.f -> a; c.t -> e"
ROOT, FORK, FORK_OF_FORK, EARLY = (ExecutionID(name) for name in ("root", "f1", "f2", "f3"))


def graph_of(
    asked: ExecutionID, branches: Iterable[Branch], logs: Mapping[ExecutionID, list[Recorded]]
) -> ExecutionGraph:
    known = Branches(branches)
    left_at = known.left_at()
    states = {}
    for branch in known:
        walk = Walk(branch, left_at.get(branch.execution_id, frozenset()))
        for recorded in logs[branch.execution_id]:
            walk.observe(recorded)
        states[branch.execution_id] = walk.states()
    return join(asked, known, states)


def chain() -> Story:
    story = Story("s -> a -> b -> e")
    for key in ("s", "a", "b", "e"):
        story.returns(key)
    return story


def forked(asked: ExecutionID) -> ExecutionGraph:
    """Logs of one shape: a fork at 5, a fork of that at 7, and one of it at 3, which is root's."""
    log = chain().log
    branches = [
        Branch(ROOT),
        Branch(FORK, ROOT, Seq(5)),
        Branch(FORK_OF_FORK, FORK, Seq(7)),
        Branch(EARLY, FORK, Seq(3)),
    ]
    return graph_of(asked, branches, dict.fromkeys((ROOT, FORK, FORK_OF_FORK, EARLY), log))


def looped(turns: int) -> Story:
    story = Story(
        LOOP, max_steps=10**6, props={"a": {"max_iteration": 10**6}, "c": {"max_iteration": 10**6}}
    )
    story.returns("s")
    for turn in range(turns):
        story.returns("a")
        story.returns("c", port="condtrue" if turn == turns - 1 else "condfalse")
    story.returns("e")
    return story


def test_000_05_each_step_leads_from_a_state_to_the_next() -> None:
    graph = graph_of(ROOT, [Branch(ROOT)], {ROOT: chain().log})
    assert [state.summary for state in graph.states] == [
        "started",
        "s completed",
        "a completed",
        "b completed",
        "e completed",
        "COMPLETED",
    ]
    assert [state.node for state in graph.states] == [None, "s", "a", "b", "e", None]
    assert len(graph.edges) == len(graph.states) - 1
    assert graph.line == {state.id for state in graph.states}


def test_000_05_the_newest_state_is_there_though_it_is_no_step() -> None:
    story = Story("s -> g -> e")
    story.returns("s")
    story.asks("g")
    graph = graph_of(ROOT, [Branch(ROOT)], {ROOT: story.log})
    assert graph.states[-1].sequence == story.log[-1].seq


def test_000_11_a_fork_branches_off_where_it_left_its_origin() -> None:
    graph = forked(FORK)
    assert ("root@5", "f1@6") in graph.edges
    assert ("f1@7", "f2@8") in graph.edges
    ids = [state.id for state in graph.states]
    assert len(set(ids)) == len(ids)
    assert {end for edge in graph.edges for end in edge} <= set(ids)
    assert not any(state.execution_id == FORK and state.sequence <= 5 for state in graph.states)


def test_a_fork_at_a_shared_event_branches_off_the_run_that_it_is_of() -> None:
    assert ("root@3", "f3@4") in forked(FORK).edges


def test_the_line_of_a_run_goes_through_its_origins() -> None:
    graph = forked(FORK_OF_FORK)
    line = sorted(graph.line)
    assert "f2@8" in line
    assert "f1@7" in line
    assert "root@5" in line
    assert "root@6" not in line
    assert not any(each.startswith("f3") for each in line)


def test_each_kind_of_step_has_words() -> None:
    story = Story("s -> c; c.t -> a -> e; c.f -> b", props={"a": {"max_iteration": 1}})
    story.returns("s")
    story.returns("c", port="condtrue")
    story.raises("a")
    graph = graph_of(ROOT, [Branch(ROOT)], {ROOT: story.log})
    summaries = [state.summary for state in graph.states]
    assert "b skipped: branch_not_taken" in summaries
    assert "a failed: CODE_ERROR" in summaries
    assert summaries[-1] == "FAILED: CODE_ERROR"


def test_000_06_the_picture_has_a_box_for_each_state() -> None:
    picture = compose_graph(forked(FORK))
    assert len(picture.boxes) == len(forked(FORK).states)
    assert picture.boxes[0].shape is Shape.START
    assert {arrow.line for arrow in picture.arrows} == {Line.PLAIN, Line.FALLBACK}
    assert [box.label for box in picture.boxes].count("fork") == 3
    assert "4 runs" in picture.title[1]


@pytest.mark.parametrize("turns", [60, 2_000])
def test_a_long_run_is_drawn_with_its_middle_in_one_box(turns: int) -> None:
    graph = graph_of(ROOT, [Branch(ROOT)], {ROOT: looped(turns).log})
    picture = compose_graph(graph)
    assert len(picture.boxes) <= BOXES_MAX
    (middle,) = [box for box in picture.boxes if box.label.startswith("…")]
    shown = len(picture.boxes) - 1
    assert middle.label == f"… {len(graph.states) - shown} steps"
    assert picture.boxes[-1].label == "✓ COMPLETED"
    assert len(picture.arrows) == len(picture.boxes) - 1


def test_a_graph_that_branches_too_often_says_how_to_narrow_it() -> None:
    log = chain().log
    names = [ExecutionID(f"f{number}") for number in range(BOXES_MAX)]
    branches = [Branch(ROOT), *(Branch(name, ROOT, Seq(4)) for name in names)]
    graph = graph_of(ROOT, branches, dict.fromkeys((ROOT, *names), log))
    with pytest.raises(PictureTooLarge) as refused:
        compose_graph(graph)
    assert "upTo" in str(refused.value.hint)
