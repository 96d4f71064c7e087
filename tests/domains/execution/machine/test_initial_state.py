"""Runs that begin with results of an earlier run: what is given is not executed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.diagram.fingerprint import node_fingerprint
from dipeo_server.domains.execution.events import (
    Breakpoint,
    GivenOutput,
    NodeOutputSet,
    ObservedError,
)
from dipeo_server.domains.execution.interventions import BreakpointWhen
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.errors import InvalidInput
from tests.builders import Story, diagram

_N = NodeExecutionStatus


def begun(text: str, initial: Mapping[str, Any], **options: Any) -> Story:
    """A run that begins with these results; what is no GivenOutput is the output itself."""
    given = {
        key: each if isinstance(each, GivenOutput) else GivenOutput(each)
        for key, each in initial.items()
    }
    wish = {"initial": given, **options.pop("wish", {})}
    return Story(text, wish=wish, **options)


def input_of(story: Story, key: str) -> list[Any]:
    """What came along a node's edges."""
    index = story.state.diagram.index_of[key]
    return [ref.envelope.value_at(ref.port) for ref in story.state.inputs[index]]


def stale_at(story: Story) -> list[tuple[str | None, str]]:
    """The nodes whose given result was not used, and why."""
    return [
        (each.event.failure.node, each.event.failure.message)
        for each in story.log
        if isinstance(each.event, ObservedError)
        and each.event.failure.code == "INITIAL_STATE_STALE"
    ]


def test_what_is_listed_is_done_at_once_and_its_children_get_its_result() -> None:
    """003-05: the run goes fast forward to where it failed; nothing listed is executed again."""
    story = begun("s -> a -> b -> c1; b -> e", {"s": None, "a": 1, "b": {"x": 2}})
    assert list(story.state.running.values()) == [story.run_of("c1"), story.run_of("e")]
    assert input_of(story, "e") == [{"x": 2}]
    for key in ("s", "a", "b"):
        assert (story.node(key).status, story.node(key).entries) == (_N.COMPLETED, 0)
    told = [each.event for each in story.log if isinstance(each.event, NodeOutputSet)]
    assert [event.node_run.node for event in told] == ["s", "a", "b"]
    assert {event.reason for event in told} == {"initial_state"}
    assert story.state.steps == 2


def test_a_run_whose_nodes_are_all_listed_completes_without_running_anything() -> None:
    """003-05: an earlier run as a whole."""
    story = begun("s -> a -> e", {"s": 0, "a": 1, "e": 2})
    assert story.status() is ExecutionStatus.COMPLETED
    assert story.state.steps == 0
    assert story.begun[-1] == "ExecutionCompleted"


def test_a_result_with_the_fingerprint_of_its_node_is_taken() -> None:
    """003-W4: the node is what it was."""
    drawn = diagram("s -> a -> e")
    fingerprint = node_fingerprint(drawn, drawn.get_node("a"))
    story = begun("s -> a -> e", {"a": GivenOutput(1, fingerprint)})
    story.returns("s")
    assert input_of(story, "e") == [1]
    assert stale_at(story) == []


def test_a_changed_node_runs_again_and_the_run_says_why() -> None:
    """003-W4: what was the result of another node is not the result of this one."""
    drawn = diagram("s -> a -> e", props={"a": {"code": "1"}})
    fingerprint = node_fingerprint(drawn, drawn.get_node("a"))
    story = begun("s -> a -> e", {"a": GivenOutput(1, fingerprint)}, props={"a": {"code": "2"}})
    assert story.returns("s") == ["NodeCompleted", "ObservedError", "NodeStarted"]
    [(key, why)] = stale_at(story)
    assert key == "a"
    assert fingerprint in why
    story.returns("a", 2)
    story.returns("e")
    assert story.status() is ExecutionStatus.COMPLETED
    assert story.state.observed_errors == 1


@pytest.mark.parametrize("key, hint", [("fetsh", "Did you mean 'fetch'?"), ("zzz", None)])
def test_a_result_of_a_node_that_is_not_there_is_refused(key: str, hint: str | None) -> None:
    """003-W4: a result that belongs to nothing is a mistake that is told before anything runs."""
    with pytest.raises(InvalidInput, match=key) as refused:
        begun("s -> fetch -> e", {key: 1})
    assert refused.value.hint == hint
    assert refused.value.field == ("input", "initialState", key)


def test_only_the_first_visit_of_a_loop_is_given() -> None:
    """003-05: a later visit of the node is another one."""
    story = begun("s -> a -> c; c.t -> a; c.f -> e", {"a": 1})
    story.returns("s")
    assert input_of(story, "c") == [1]
    story.returns("c", port="condtrue")
    assert story.run_of("a").occurrence == 2
    assert story.node("a").executed == 1


def test_a_condition_takes_its_branch_where_the_result_says_which() -> None:
    """003-05: {port: value}, true and false choose; anything else is no result of a condition."""
    text = "s -> c; c.t -> a; c.f -> b"
    for output, taken in ((True, "a"), ({"condfalse": {"x": 1}}, "b")):
        story = begun(text, {"s": 0, "c": output})
        assert [run.node for run in story.state.running.values()] == [taken]
    story = begun(text, {"s": 0, "c": {"x": 1}})
    assert [run.node for run in story.state.running.values()] == ["c"]
    assert "condtrue" in stale_at(story)[0][1]


def test_a_barrier_is_not_passed_by_what_it_once_said() -> None:
    """003-W4: a rejection that is fed back as a plain value must not become an approval."""
    story = begun("s -> g; g.ok -> e", {"s": 0, "g": {"decision": "REJECTED"}})
    assert story.run_of("g").occurrence == 1
    assert stale_at(story)[0][0] == "g"


def test_conditions_on_edges_hold_for_given_results_too() -> None:
    """003-05: the children of a listed node are those its result leads to."""
    edges = {
        "a>b": {"kind": "when", "condition": "output > 1"},
        "a>d": {"kind": "default"},
    }
    story = begun("s -> a -> b; a -> d", {"s": 0, "a": 2}, edges=edges)
    assert [run.node for run in story.state.running.values()] == ["b"]
    edges["a>b"]["condition"] = "missing > 1"
    story = begun("s -> a -> b; a -> d", {"s": 0, "a": 2}, edges=edges)
    assert [run.node for run in story.state.running.values()] == ["a"]
    assert "missing" in stale_at(story)[0][1]


def test_what_is_not_reached_is_not_used() -> None:
    """003-05: a result does not open a path that is not taken."""
    story = begun("s -> c; c.t -> a -> e; c.f -> b", {"s": 0, "c": False, "a": 1})
    assert story.node("a").status is _N.SKIPPED
    assert stale_at(story) == []


def test_a_paused_start_gives_nothing_before_it_goes_on() -> None:
    """003-05: while a run is held nothing starts, and nothing is done either."""
    story = begun("s -> a -> e", {"s": 0, "a": 1}, wish={"is_paused": True})
    assert story.node("s").status is _N.PENDING
    story.resumes()
    assert story.run_of("e").occurrence == 1


def test_breakpoints_hold_at_given_results() -> None:
    """003-05: a breakpoint behind a node sees the result that was given."""
    breakpoints = (Breakpoint("a", BreakpointWhen.AFTER, "output == 1"),)
    story = begun("s -> a -> e", {"s": 0, "a": 1}, wish={"breakpoints": breakpoints})
    assert story.status() is ExecutionStatus.PAUSED
    assert story.node("a").status is _N.COMPLETED


CHAIN = "s -> a -> b; s -> d; b -> j; d -> j; j -> e"


@given(st.sets(st.sampled_from(["s", "a", "b", "d", "j", "e"])))
def test_whatever_is_given_the_run_ends_the_same(listed: set[str]) -> None:
    """003-05: fast forward from any set of results ends as the run they come from."""
    first = Story(CHAIN)
    finished(first)
    results = {key: first.state.outputs[key].body for key in listed}
    story = begun(CHAIN, results)
    finished(story)
    assert {key: each.body for key, each in story.state.outputs.items()} == {
        key: each.body for key, each in first.state.outputs.items()
    }
    assert story.state.steps == 6 - len(listed)
    again = ExecutionMachine.replay(story.log)
    again.state.touched.clear()
    story.state.touched.clear()
    assert again.state == story.state


def finished(story: Story) -> None:
    """Complete everything with a value that tells the inputs."""
    while story.state.running:
        key = next(iter(story.state.running.values())).node
        story.returns(key, [key, *input_of(story, key)])
    assert story.status() is ExecutionStatus.COMPLETED
