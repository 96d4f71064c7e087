"""Execution graphs: states joined by steps, forks as branches, and their pictures."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from dipeo_server.domains.diagram.mutations import (
    GraphMutation,
    UpsertEdge,
    UpsertNode,
    apply_mutations,
)
from dipeo_server.domains.diagram.rendering.picture import Line, Shape
from dipeo_server.domains.diagram.rendering.renderer import PictureTooLarge
from dipeo_server.domains.execution.events import (
    BarrierWaiting,
    ExecutionForked,
    ParallelStarted,
    Recorded,
)
from dipeo_server.domains.execution.graph import Branches, ExecutionGraph, join
from dipeo_server.domains.execution.graph_groups import GroupKind
from dipeo_server.domains.execution.graph_picture import BOXES_MAX, compose_graph
from dipeo_server.domains.execution.graph_walk import Branch, Walk
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.signals import BranchTold, GraphMutationRequested
from tests.builders import SPECS, Story

A_1, C_2 = NodeRun("a", 1), NodeRun("c", 2)
LOOP = "s -> a -> c; c.f -> a; c.t -> e"
ROOT, FORK, FORK_OF_FORK, EARLY = (ExecutionID(name) for name in ("root", "f1", "f2", "f3"))


def graph_of(
    asked: ExecutionID, branches: Iterable[Branch], logs: Mapping[ExecutionID, list[Recorded]]
) -> ExecutionGraph:
    known = Branches(branches)
    left_at = known.left_at()
    walks: dict[ExecutionID, Walk] = {}
    for branch in known:
        walk = Walk(branch, left_at.get(branch.execution_id, frozenset()))
        for recorded in logs[branch.execution_id]:
            walk.observe(recorded)
        walks[branch.execution_id] = walk
    return join(asked, known, walks)


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


def grouped(graph: ExecutionGraph) -> dict[str, tuple[str | None, list[str]]]:
    """By group the one around it, and what its states tell."""
    summaries = {state.id: state.summary for state in graph.states}
    return {
        group.id: (group.parent, [summaries[each] for each in group.states])
        for group in graph.groups
    }


def test_000_05_a_turn_of_a_loop_is_a_group() -> None:
    graph = graph_of(ROOT, [Branch(ROOT)], {ROOT: looped(2).log})
    assert grouped(graph) == {
        "root/a/1": (None, ["a completed", "c completed"]),
        "root/a/2": (None, ["a #2 completed", "c #2 completed"]),
    }
    assert {group.kind for group in graph.groups} == {GroupKind.LOOP_TURN}
    assert [group.label for group in graph.groups] == ["a, turn 1", "a, turn 2"]


def test_000_05_turns_of_inner_loops_are_groups_in_those_of_outer_ones() -> None:
    story = Story("s -> a -> b -> c; c.t -> b; c.f -> c2; c2.t -> a; c2.f -> e")
    story.returns("s")
    for outer in (1, 2):
        story.returns("a")
        for inner in (1, 2):
            story.returns("b")
            story.returns("c", port="condtrue" if inner == 1 else "condfalse")
        story.returns("c2", port="condtrue" if outer == 1 else "condfalse")
    story.returns("e")
    found = grouped(graph_of(ROOT, [Branch(ROOT)], {ROOT: story.log}))
    assert {group: around for group, (around, _) in found.items()} == {
        "root/a/1": None,
        "root/b/1": "root/a/1",
        "root/b/2": "root/a/1",
        "root/a/2": None,
        "root/b/3": "root/a/2",
        "root/b/4": "root/a/2",
    }
    assert found["root/a/2"][1] == ["a #2 completed", "c2 #2 completed"]
    assert found["root/b/4"][1] == ["b #4 completed", "c #4 completed"]


def test_an_inner_loop_that_is_skipped_has_no_turn() -> None:
    story = Story("s -> a -> c; c.t -> b -> c3; c3.t -> b; c.f -> d; c3.f -> d; d -> c2; c2.t -> a")
    story.returns("s")
    for outer in (1, 2):
        story.returns("a")
        story.returns("c", port="condtrue" if outer == 1 else "condfalse")
        if outer == 1:
            story.returns("b")
            story.returns("c3", port="condfalse")
        story.returns("d")
        story.returns("c2", port="condtrue" if outer == 1 else "condfalse")
    found = grouped(graph_of(ROOT, [Branch(ROOT)], {ROOT: story.log}))
    assert set(found) == {"root/a/1", "root/b/1", "root/a/2"}
    skipped = {"b skipped: branch_not_taken", "c3 skipped: branch_not_taken"}
    assert skipped <= set(found["root/a/2"][1])


def test_a_fork_goes_on_in_the_turn_in_which_it_left() -> None:
    log = looped(3).log
    left = next(each.seq for each in log if getattr(each.event, "node_run", None) == C_2)
    branches = [Branch(ROOT), Branch(FORK, ROOT, left)]
    found = grouped(graph_of(FORK, branches, {ROOT: log, FORK: log}))
    assert [each for each in found if each.startswith("f1")] == ["f1/a/2", "f1/a/3"]
    assert found["f1/a/2"][1] == ["c #2 completed"]


@pytest.mark.parametrize("seed", range(30))
def test_000_11_however_a_run_is_forked_its_graph_is_a_tree_of_branches(seed: int) -> None:
    rng, log = random.Random(seed), looped(3).log
    branches = [Branch(ROOT)]
    for number in range(rng.randint(1, 6)):
        left = Seq(rng.randint(1, len(log) - 1))
        branches.append(Branch(ExecutionID(f"f{number}"), rng.choice(branches).execution_id, left))
    asked = rng.choice(branches)
    graph = graph_of(asked.execution_id, branches, dict.fromkeys(_ids(branches), log))
    ids = [state.id for state in graph.states]
    assert len(set(ids)) == len(ids)
    # Each but the first has one step to it, so that there is one way from the begin to each.
    assert sorted(b for _, b in graph.edges) == sorted(ids[1:])
    # The run that was asked for went through the steps of its log, each once, in order.
    line = [state.sequence for state in graph.states if state.id in graph.line]
    steps = {state.sequence for state in graph_of(ROOT, [Branch(ROOT)], {ROOT: log}).states}
    places = {each.forked_at for each in branches} | {each.forked_at + 1 for each in branches}
    assert len(set(line)) == len(line)
    assert steps <= set(line) <= steps | places
    held = [state for group in graph.groups for state in group.states]
    assert len(set(held)) == len(held)


def _ids(branches: Iterable[Branch]) -> list[ExecutionID]:
    return [each.execution_id for each in branches]


def test_a_change_of_the_graph_is_a_step() -> None:
    """000-12: with its number, and a picture of its own."""
    story = Story("s -> a -> e")
    story.returns("s")
    mutations: list[GraphMutation] = [
        UpsertNode({"key": "b", "type": "work"}),
        UpsertEdge({"source": "a", "target": "b"}),
    ]
    new = apply_mutations(story.state.diagram, mutations, SPECS).executable
    story.tell(GraphMutationRequested(new, 0))
    for key in ("a", "b", "e"):
        story.returns(key)
    graph = graph_of(ROOT, [Branch(ROOT)], {ROOT: story.log})
    assert [state.summary for state in graph.states][1:4] == [
        "s completed",
        "graph changed: revision 1",
        "a completed",
    ]
    box = compose_graph(graph).boxes[2]
    assert (box.label, box.shape) == ("± graph changed: revision 1", Shape.OTHER)
    assert box.shape not in {each.shape for each in compose_graph(graph).boxes[3:]}


def test_somebody_who_is_asked_is_drawn_as_one() -> None:
    story = Story("s -> g -> e")
    story.returns("s")
    story.asks("g")
    log = story.log
    asked = next(each for each in log if isinstance(each.event, BarrierWaiting))
    branches = [Branch(ROOT), Branch(FORK, ROOT, asked.seq)]
    picture = compose_graph(graph_of(ROOT, branches, {ROOT: log, FORK: log}))
    [box] = [each for each in picture.boxes if each.shape is Shape.PEOPLE]
    assert box.label == "‖ g asks a person"


# --- runs of sub-diagrams ------------------------------------------------------------------------


def child_story(**wish: Any) -> Story:
    child = Story("s -> i -> e", wish={"parent_id": ROOT, "parent": NodeRun("a", 1), **wish})
    for key in ("s", "i", "e"):
        child.returns(key)
    return child


def test_000_05_the_run_of_a_sub_diagram_hangs_between_begin_and_end_of_its_visit() -> None:
    child = ExecutionID("child")
    logs = {ROOT: chain().log, child: child_story().log}
    graph = graph_of(ROOT, [Branch(ROOT), Branch(child, caller=ROOT)], logs)
    by_id = {state.id: state for state in graph.states}
    into = [by_id[a].summary for a, b in graph.edges if b == "child@1"]
    last = [state.id for state in graph.states if state.execution_id == child][-1]
    out = [by_id[b].summary for a, b in graph.edges if a == last]
    assert (into, out) == (["a started"], ["a completed"])
    [group] = graph.groups
    assert (group.id, group.kind, group.label) == ("child", GroupKind.SUB_DIAGRAM, "a")
    assert graph.line == set(by_id)
    picture = compose_graph(graph)
    assert [box.label for box in picture.boxes if box.shape is Shape.CHILD] == ["↳ a"]
    assert "dashed" not in picture.title[1]


def test_000_05_branches_side_by_side_are_groups_in_one() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    run = story.run_of("a")
    story.tell(BranchTold(run, ParallelStarted(run, ("left", "right"))))
    story.returns("a")
    logs = {ROOT: story.log}
    branches = [Branch(ROOT)]
    for key in ("left", "right"):
        logs[ExecutionID(key)] = child_story(key=key).log
        branches.append(Branch(ExecutionID(key), caller=ROOT))
    groups = graph_of(ROOT, branches, logs).groups
    assert [(group.kind, group.label, group.parent) for group in groups] == [
        (GroupKind.PARALLEL, "a", None),
        (GroupKind.BRANCH, "left", "root/a#1"),
        (GroupKind.BRANCH, "right", "root/a#1"),
    ]


def test_a_child_that_is_forked_with_its_parent_leads_to_the_end_of_the_forks_visit() -> None:
    log = chain().log
    begun = next(each.seq for each in log if getattr(each.event, "node_run", None) == A_1)
    child, again = ExecutionID("child"), ExecutionID("again")
    origin = child_story().log
    opening = ExecutionForked(
        again, child, Seq(3), origin[2].at, parent_id=FORK, parent=NodeRun("a", 1)
    )
    own = [*origin[:3], Recorded(Seq(4), origin[3].at, opening), *origin[4:]]
    branches = [
        Branch(ROOT),
        Branch(FORK, ROOT, begun),
        Branch(child, caller=ROOT),
        Branch(again, child, Seq(3), caller=FORK),
    ]
    graph = graph_of(FORK, branches, {ROOT: log, FORK: log, child: origin, again: own})
    edges, by_id = set(graph.edges), {state.id: state for state in graph.states}
    assert ("child@3", "again@4") in edges
    [end] = [b for a, b in edges if by_id[a].execution_id == again != by_id[b].execution_id]
    assert (by_id[end].execution_id, by_id[end].summary) == (FORK, "a completed")
    # What the child did behind the fork belongs to the other run.
    assert {by_id[each].execution_id for each in graph.line} == {ROOT, FORK, child, again}
    assert max(by_id[each].sequence for each in graph.line if each.startswith("child")) == 3
    assert [group.id for group in graph.groups] == ["child", "again"]


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
