"""Stories in which people give the results of nodes."""

from __future__ import annotations

from typing import Any

import pytest

from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.output import WaitUntil, create_node_output
from dipeo_server.domains.execution.signals import NodeReturned
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.errors import InvalidInput
from tests.domains.execution.machine.by_hands import Hands

_N = NodeExecutionStatus


@pytest.mark.parametrize("moment", ["ready", "running", "retry", "delay", "failed"])
def test_a_result_is_given_wherever_a_node_has_none_yet(moment: str) -> None:
    story = Hands("s -> a -> b", props={"a": {"retry": {"attempts": 2, "initial_seconds": 60}}})
    if moment == "ready":
        story.pauses()
    story.returns("s")
    run = NodeRun("a", 1)
    if moment == "retry":
        story.raises("a", retryable=True)
        run = run.next_attempt()
    elif moment == "delay":
        story.gives("a", WaitUntil(60, create_node_output({"default": 1})))
    elif moment == "failed":
        story.pauses()
        story.raises("a")
    told = story.sets("a", {"x": 1})
    assert told[0] == "NodeOutputSet"
    event = story.event("NodeOutputSet")
    assert (event.node_run, event.actor, event.reason) == (run, "ann", "by_user")
    assert (story.node("a").status, story.node("a").failure) == (_N.COMPLETED, None)
    if story.state.is_paused:
        story.resumes()
    assert story.inputs_of("b") == [{"x": 1}]
    assert story.tell(NodeReturned(run, create_node_output({"default": 2}))) == []
    assert story.returns("b")[-1] == "ExecutionCompleted"


@pytest.mark.parametrize(
    "output, taken, carried",
    [
        (True, "a", True),
        (False, "b", False),
        ({"condtrue": {"x": 1}}, "a", {"x": 1}),
        ({"condtrue": None, "condfalse": 5}, "b", 5),
    ],
)
def test_a_result_of_a_condition_says_which_branch(output: Any, taken: str, carried: Any) -> None:
    story = Hands("s -> c; c.t -> a; c.f -> b")
    story.returns("s")
    story.sets("c", output)
    assert [run.node for run in story.state.running.values()] == [taken]
    assert story.inputs_of(taken) == [carried]


def test_a_result_that_names_no_port_is_refused_with_the_ports() -> None:
    story = Hands("s -> c; c.t -> a; c.f -> b")
    story.returns("s")
    for output in ("yes", {"elsewhere": 1}, {}, {"condtrue": 1, "elsewhere": 1}):
        with pytest.raises(InvalidInput, match="condtrue, condfalse") as refused:
            story.sets("c", output)
        assert refused.value.field == ("output",)
    assert story.run_of("c").occurrence == 1


def test_conditions_on_edges_see_the_given_result() -> None:
    edges = {"a>b": {"kind": "when", "condition": "x > 1"}, "a>d": {"kind": "default"}}
    story = Hands("s -> a -> b; a -> d", edges=edges)
    story.returns("s")
    with pytest.raises(InvalidInput, match="x"):
        story.sets("a", "no x in here")
    story.sets("a", {"x": 2})
    assert [run.node for run in story.state.running.values()] == ["b"]


def test_a_skipped_or_given_visit_survives_a_restart() -> None:
    story = Hands("s -> a -> e; s -> b -> e")
    story.returns("s")
    story.skips("a")
    story.sets("b", 1)
    story.restarts()
    assert (story.node("a").status, story.node("b").status) == (_N.SKIPPED, _N.COMPLETED)
    story.returns("e")
    assert story.status() is ExecutionStatus.COMPLETED
