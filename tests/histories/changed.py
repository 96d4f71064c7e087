"""Frozen histories of runs whose graph is changed while they go on."""

from __future__ import annotations

from typing import Any

from dipeo_server.domains.diagram.mutations import (
    DeleteEdge,
    DeleteNode,
    GraphMutation,
    UpsertEdge,
    UpsertNode,
    apply_mutations,
)
from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.signals import (
    GraphMutationRequested,
    ResumeRequested,
    RetryRequested,
)
from tests.builders import SPECS, Story

LOOP = "s -> a -> c; c.f -> a; c.t -> e"
BRANCHES = "s -> a -> e; s -> b -> e2"


def change(story: Story, *mutations: GraphMutation) -> GraphMutationRequested:
    """The wish to run the graph of the story with these changes."""
    new = apply_mutations(story.state.diagram, mutations, SPECS).executable
    return GraphMutationRequested(new, story.state.revision, actor="ann")


def node(key: str, kind: str = "work", **props: Any) -> UpsertNode:
    return UpsertNode({"key": key, "type": kind, "props": props})


def edge(source: str, target: str, **more: Any) -> UpsertEdge:
    return UpsertEdge({"source": source, "target": target, **more})


def between(story: Story, source: str, target: str) -> str:
    """The key of the edge between two nodes."""
    keys = [each.key for each in story.state.diagram.nodes]
    return next(
        each.key
        for each in story.state.diagram.edges
        if (keys[each.source], keys[each.target]) == (source, target)
    )


def all_return(story: Story, *keys: str) -> Story:
    for key in keys:
        story.returns(key, key)
    return story


def node_added_live() -> Story:
    """Behind one that has ended, and behind one that runs."""
    story = all_return(Story(BRANCHES), "s", "a")
    story.tell(change(story, node("m"), edge("a", "m"), node("n"), edge("b", "n")))
    return all_return(story, "m", "b", "e", "n", "e2")


def node_added_at_a_pause() -> Story:
    story = all_return(Story("s -> a -> e"), "s")
    story.pauses()
    story.returns("a")
    old = between(story, "a", "e")
    story.tell(change(story, DeleteEdge(old), node("m"), edge("a", "m"), edge("m", "e")))
    story.resumes()
    return all_return(story, "m", "e")


def branch_deleted_live() -> Story:
    story = all_return(Story("s -> a -> b -> e; s -> k -> e2"), "s")
    story.tell(change(story, DeleteNode("b"), DeleteNode("e")))
    return all_return(story, "a", "k", "e2")


def branch_deleted_at_a_pause() -> Story:
    story = Story(BRANCHES, wish={"is_paused": True})
    story.steps("s")
    story.returns("s")
    story.tell(change(story, DeleteNode("b")))
    story.resumes()
    return all_return(story, "a", "e")


def settings_changed_live() -> Story:
    story = all_return(Story("s -> a -> b -> e"), "s")
    retry = {"attempts": 2, "initial_seconds": 5}
    story.tell(change(story, node("b", retry=retry)))
    story.returns("a")
    story.raises("b", retryable=True)
    story.fires("b")
    return all_return(story, "b", "e")


def settings_changed_at_a_pause() -> Story:
    """Of a node that has failed, and of one that was stopped."""
    story = all_return(Story(BRANCHES), "s")
    story.pauses()
    story.raises("a")
    story.pauses(PauseMode.NOW)
    default = {"policy": "default_output", "output": "none"}
    story.tell(change(story, node("a", on_error=default), node("b", max_iteration=5)))
    story.tell(RetryRequested("a", "ann"))
    story.resumes()
    story.fires("a")
    story.raises("a")
    return all_return(story, "b", "e2", "e")


def kind_changed() -> Story:
    """A step becomes one that asks a person."""
    story = all_return(Story("s -> a -> b -> e"), "s")
    story.tell(change(story, node("b", "barrier")))
    story.returns("a")
    story.asks("b")
    story.decides("b", BarrierAction.APPROVE, actor="ann")
    return all_return(story, "e")


def edge_deleted_live() -> Story:
    """What no start leads to any more never runs."""
    story = all_return(Story("s -> a -> b -> e; s -> k -> e2"), "s")
    story.tell(change(story, DeleteEdge(between(story, "a", "b"))))
    return all_return(story, "a", "k", "e2")


def edge_moved_at_a_pause() -> Story:
    story = all_return(Story("s -> a -> e; s -> k -> e2"), "s")
    story.pauses()
    story.returns("a")
    key = between(story, "a", "e")
    story.tell(change(story, node("k2"), edge("a", "k2", key=key), edge("k2", "e")))
    story.resumes()
    return all_return(story, "k", "e2", "k2", "e")


def dependency_added_live() -> Story:
    """A node that is still to come waits for one more."""
    story = all_return(Story("s -> a -> b -> e; s -> k -> e2"), "s")
    story.tell(change(story, edge("k", "b")))
    return all_return(story, "a", "k", "b", "e2", "e")


def exit_of_a_running_loop() -> Story:
    """It brings what its node gave last, once the loop has ended."""
    story = all_return(Story(LOOP), "s", "a")
    story.tell(change(story, node("e2", "endpoint"), edge("a", "e2"), node("a", max_iteration=9)))
    story.returns("c", port="condfalse")
    story.returns("a", "again")
    story.returns("c", port="condtrue")
    return all_return(story, "e", "e2")


def loop_before_it_began() -> Story:
    """A chain becomes a loop while none of it has begun."""
    story = all_return(Story("s -> a -> b -> e"), "s")
    old = between(story, "b", "e")
    retry, out = {"source_handle": "condfalse"}, {"source_handle": "condtrue"}
    story.tell(
        change(
            story,
            DeleteEdge(old),
            node("c", "condition"),
            edge("b", "c"),
            edge("c", "b", **retry),
            edge("c", "e", **out),
        )
    )
    all_return(story, "a", "b")
    story.returns("c", port="condfalse")
    story.returns("b")
    story.returns("c", port="condtrue")
    return all_return(story, "e")


def node_taken_out_and_back() -> Story:
    """Its visits are counted on; and a change is made of a changed graph."""
    story = all_return(Story("s -> a -> e; s -> k -> e2"), "s", "a", "e")
    story.tell(change(story, DeleteNode("a")))
    story.tell(change(story, node("a"), edge("s", "a"), node("e3", "endpoint"), edge("a", "e3")))
    return all_return(story, "a", "e3", "k", "e2")


def changed_by_resuming() -> Story:
    story = all_return(Story("s -> a -> e", max_steps=2), "s", "a")
    wish = change(story, DeleteNode("e"), node("m"), edge("a", "m"))
    story.tell(ResumeRequested(10, variables={"x": 1}, actor="ann", change=wish))
    return all_return(story, "m")


def changed_after_a_restart() -> Story:
    story = all_return(Story("s -> x1 -> e; s -> a -> e2"), "s")
    story.restarts()
    story.tell(change(story, DeleteNode("e"), node("m"), edge("x1", "m")))
    story.decides("x1", BarrierAction.APPROVE, actor="ann")
    story.restarts()
    story.decides("x1", BarrierAction.MODIFY, attempt=2, answer="was done", actor="ann")
    return all_return(story, "a", "m", "e2")
