"""Source document 004, "State" and "Routing": deltas, next steps and fallbacks, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from dipeo_server.domains.execution.delta import StateDelta
from dipeo_server.domains.execution.events import (
    ErrorStrategy,
    Failure,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ObservedError,
    PauseCause,
    StateChanged,
)
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import (
    End,
    Fallback,
    Goto,
    TokenUsage,
    create_node_output,
)
from dipeo_server.domains.execution.routing import Unrouted, chosen_edges
from dipeo_server.domains.execution.signals import NodeReturned
from dipeo_server.domains.execution.state import view
from dipeo_server.domains.execution.status import ExecutionStatus
from tests.builders import Story, diagram

FIRST = {"a": {"fan_out": "first"}}
DONE = create_node_output({"default": "done"})


def at_a(text: str, **options: Any) -> Story:
    """A story in which node `a` is running."""
    story = Story(text, **options)
    story.returns("s")
    return story


def running(story: Story) -> set[str]:
    return {run.node for run in story.state.running.values()}


def when(condition: str, priority: int = 0) -> dict[str, Any]:
    return {"kind": "when", "condition": condition, "priority": priority}


def kind(name: str) -> dict[str, Any]:
    return {"kind": name}


def log_of(story: Story) -> list[str]:
    """Starts, changes and ends, as the source document's event stream tells them."""
    told = []
    for recorded in story.log:
        match recorded.event:
            case NodeStarted(node_run=run):
                told.append(f"start {run.node}")
            case NodeCompleted(node_run=run) | NodeFailed(node_run=run):
                told.append(f"end {run.node}")
            case StateChanged(key=key):
                told.append(f"changed {key}")
            case _:
                pass
    return told


# --- the result and the state


def test_004_22_a_run_tells_its_state_its_log_and_how_long_it_took() -> None:
    """004-22: trace id, final state, log entries with success, duration."""
    story = at_a("s -> a -> e")
    story.wait(2)
    story.returns("a", 1, puts={"x": 1})
    story.wait(1)
    story.returns("e")
    told = view(story.state)
    assert told.id == "x"
    assert told.variables == {"x": 1}
    assert told.created_at is not None
    assert told.ended_at is not None
    assert (told.ended_at - told.created_at).total_seconds() == 3
    assert log_of(story) == [
        "start s",
        "end s",
        "start a",
        "changed x",
        "end a",
        "start e",
        "end e",
    ]


def test_004_23_nodes_return_deltas_which_a_reducer_applies() -> None:
    """004-23: puts and deletes; a key without a reducer of its own gets the default one."""
    story = at_a("s -> a -> e", variables={"n": 1, "old": 1, "x": 1}, reducers={"n": "add"})
    delta = StateDelta({"n": 2, "x": 2}, deletes=("old",))
    story.tell(NodeReturned(story.run_of("a"), DONE, (delta,)))
    assert story.state.variables == {"n": 3, "x": 2}


def test_004_24_each_applied_delta_is_told() -> None:
    """004-24: as what it was reduced to, so that a replay needs no reducer."""
    story = at_a("s -> a -> e", variables={"n": 1}, reducers={"n": "add"})
    story.tell(NodeReturned(story.run_of("a"), DONE, (StateDelta({"n": 2}), StateDelta({"n": 3}))))
    changes = [each.event for each in story.log if isinstance(each.event, StateChanged)]
    assert [(change.key, change.value) for change in changes] == [("n", 3), ("n", 6)]


def test_004_25_a_node_tells_its_time_tokens_and_whether_it_has_effects() -> None:
    """004-25: what a checkpoint's score is made of."""
    story = at_a("s -> a -> e")
    story.wait(2)
    story.returns("a", usage=TokenUsage(3, 4))
    node = story.node("a")
    assert node.started_at is not None
    assert node.ended_at is not None
    assert (node.ended_at - node.started_at).total_seconds() == 2
    assert node.token_usage == TokenUsage(3, 4)
    assert not story.state.diagram.get_node("a").is_pure


def test_004_w14_a_rejected_delta_fails_the_node_and_is_not_told() -> None:
    """004-W14: only what was applied is told, also of what came before it."""
    story = at_a("s -> a -> e", variables={"n": "text"}, reducers={"n": "add"})
    story.returns("a", puts={"x": 1, "n": 2})
    assert story.event("NodeFailed").failure.code == "CONFLICT"
    assert not [each for each in story.log if isinstance(each.event, StateChanged)]
    assert story.state.variables == {"n": "text"}


# --- next steps


def test_004_26_going_to_a_node_needs_an_edge() -> None:
    """004-26: GoTo(target), else MissingEdge(from, to)."""
    story = at_a("s -> a -> b -> e; a -> c2 -> e")
    story.gives("a", Goto("b", DONE))
    assert running(story) == {"b"}
    lost = at_a("s -> a -> b -> e")
    lost.gives("a", Goto("e", DONE))
    failure = lost.event("NodeFailed").failure
    assert failure.code == "MISSING_EDGE"
    assert "'a' wants to go to 'e'" in failure.message
    assert failure.hint == "Its edges lead to: b."


@pytest.mark.parametrize("value, target", [(10, "high"), (5, "mid"), (4, "plain"), (-1, "plain")])
def test_004_27_conditions_by_priority_then_the_first_plain_edge(value: int, target: str) -> None:
    """004-27: GoToNext: conditional edges first, then the first normal one."""
    story = at_a(
        "s -> a; a -> plain; a -> rest; a -> mid; a -> high",
        props=FIRST,
        edges={
            "a>rest": kind("default"),
            "a>mid": when("output > 4"),
            "a>high": when("output > 9", priority=1),
        },
    )
    story.returns("a", value)
    assert running(story) == {target}


def test_004_27_the_default_edge_comes_last() -> None:
    story = at_a(
        "s -> a; a -> rest; a -> b",
        props=FIRST,
        edges={"a>rest": kind("default"), "a>b": when("output")},
    )
    story.returns("a", 0)
    assert running(story) == {"rest"}


def test_004_28_nothing_matches_tells_every_attempt() -> None:
    """004-28, 004-W17: each condition with its text and its value."""
    story = at_a(
        "s -> a; a -> b; a -> d",
        props=FIRST,
        edges={"a>b": when("output > 3"), "a>d": when("x and y")},
        variables={"x": True, "y": 0},
    )
    story.returns("a", 1)
    failure = story.event("NodeFailed").failure
    assert failure.code == "UNROUTED"
    assert failure.message == "No edge of 'a' holds: output > 3 = False; x and y = 0."
    assert story.status() is ExecutionStatus.FAILED


class Counting(Mapping[str, Any]):
    """Names for conditions; counts how often each was looked up."""

    def __init__(self, **names: Any) -> None:
        self.names = names
        self.looked_up: list[str] = []

    def __getitem__(self, name: str) -> Any:
        self.looked_up.append(name)
        return self.names[name]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@pytest.mark.parametrize("fan_out", ["first", "all"])
def test_004_w17_every_condition_is_evaluated_once(fan_out: str) -> None:
    """004-W17: also for the report that none holds."""
    compiled = diagram(
        "s -> a; a -> b; a -> d; a -> k",
        props={"a": {"fan_out": fan_out}},
        edges={"a>b": when("one > 1"), "a>d": when("two > 2"), "a>k": when("three > 3")},
    )
    names = Counting(one=0, two=0, three=0)
    node = compiled.get_node("a")
    if fan_out == "first":
        with pytest.raises(Unrouted):
            chosen_edges(compiled, node, ("default",), names)
    else:
        assert chosen_edges(compiled, node, ("default",), names) == ()
    assert names.looked_up == ["one", "two", "three"]


def test_004_w17_what_has_matched_ends_the_search() -> None:
    compiled = diagram(
        "s -> a; a -> b; a -> d",
        props=FIRST,
        edges={"a>b": when("one"), "a>d": when("two")},
    )
    names = Counting(one=1, two=1)
    assert chosen_edges(compiled, compiled.get_node("a"), ("default",), names) == ("arrow_1",)
    assert names.looked_up == ["one"]


def test_004_w17_long_values_are_told_in_part() -> None:
    story = at_a("s -> a; a -> b", props=FIRST, edges={"a>b": when("output and []")})
    story.returns("a", "x" * 1_000)
    assert len(story.event("NodeFailed").failure.message) < 300


def test_004_29_a_node_without_edges_ends_its_way_and_no_other() -> None:
    """004-29, 004-W21: many ends, instead of one; a graph walk has one, and its executor checks."""
    story = at_a("s -> a; s -> b -> e")
    assert "ExecutionCompleted" not in story.returns("a")
    story.returns("b")
    assert story.returns("e")[-1] == "ExecutionCompleted"


def test_004_30_a_node_that_may_not_end_the_run_cannot() -> None:
    """004-30: End as next step from a non-end node is an error."""
    story = at_a("s -> a -> e")
    story.gives("a", End(DONE))
    assert "'a' wants to end the run, and may not" in story.event("NodeFailed").failure.message
    assert story.status() is ExecutionStatus.FAILED


def test_004_31_a_node_that_may_ends_the_run() -> None:
    """004-31: what still runs is stopped, and the run has completed."""
    story = at_a("s -> a -> e; s -> b -> e2", props={"a": {"may_end": True}})
    story.gives("a", End(DONE))
    assert story.stops("b")[-1] == "ExecutionCompleted"
    assert story.status() is ExecutionStatus.COMPLETED


# --- fallbacks


def test_004_32_a_fallback_takes_its_edge_and_is_observed() -> None:
    """004-32: ObservedError.Degraded("fallback to X: reason")."""
    story = at_a("s -> a -> b -> e; a -> less -> e2", edges={"a>less": kind("fallback")})
    told = story.gives("a", Fallback("no network"))
    assert told[:2] == ["ObservedError", "NodeCompleted"]
    observed = story.event("ObservedError").failure
    assert (observed.code, observed.message) == ("DEGRADED", "fallback to less: no network")
    assert running(story) == {"less"}
    assert story.node("b").skip_reason == "branch_not_taken"


def test_004_32_a_fallback_without_its_edge_is_a_failure() -> None:
    """004-32: no fallback edge is NodeExecutionFailed."""
    story = at_a("s -> a -> e")
    story.gives("a", Fallback("no network"))
    failure = story.event("NodeFailed").failure
    assert failure.code == "FALLBACK"
    assert "no network" in failure.message


def test_004_33_observed_errors_accompany_success() -> None:
    """004-33."""
    story = at_a("s -> a -> e")
    seen = Failure("ODD", "a bit odd", "a")
    story.tell(NodeReturned(story.run_of("a"), DONE, observed=(seen,)))
    assert story.event("ObservedError").failure == seen
    assert story.returns("e")[-1] == "ExecutionCompleted"
    assert story.event("ExecutionCompleted").observed_errors == 1


def test_004_w18_default_is_for_what_matches_nothing_and_fallback_for_failures() -> None:
    """004-W18: two edges, where the source had one for both."""
    edges = {"a>b": when("output"), "a>rest": kind("default"), "a>less": kind("fallback")}
    text = "s -> a; a -> b; a -> rest; a -> less"
    for props in ({}, FIRST):
        unmatched = at_a(text, edges=edges, props=props)
        unmatched.returns("a", 0)
        assert running(unmatched) == {"rest"}
        broken = at_a(text, edges=edges, props=props)
        broken.raises("a")
        assert running(broken) == {"less"}
        matched = at_a(text, edges=edges, props=props)
        matched.returns("a", 1)
        assert running(matched) == {"b"}


def test_004_w18_without_a_default_edge_nothing_matched_is_a_failure_of_its_own() -> None:
    """004-W18: so a fallback edge takes it as it takes any failure, and it is told."""
    edges = {"a>b": when("output"), "a>less": kind("fallback")}
    story = at_a("s -> a; a -> b; a -> less", edges=edges, props=FIRST)
    story.returns("a", 0)
    assert story.event("ObservedError").failure.code == "UNROUTED"
    assert running(story) == {"less"}


def test_004_w18_the_first_of_several_fallback_edges_is_followed() -> None:
    edges = {"a>b": kind("fallback"), "a>d": kind("fallback")}
    story = at_a("s -> a; a -> b; a -> d", edges=edges, props=FIRST)
    story.raises("a")
    assert running(story) == {"b"}


def test_004_w19_a_node_that_fell_back_has_ended() -> None:
    """004-W19: the source left it running."""
    for ends in ("falls back", "fails"):
        story = at_a("s -> a -> b; a -> less", edges={"a>less": kind("fallback")})
        if ends == "fails":
            story.raises("a")
        else:
            story.gives("a", Fallback("less"))
        assert story.node("a").ended_at is not None
        assert log_of(story)[-3:] == ["start a", "end a", "start less"]
        assert view(ExecutionMachine.replay(story.log).state) == view(story.state)


def test_004_w19_a_failed_run_has_its_log_and_all_its_errors() -> None:
    """004-W19: the source's GraphError told neither log nor duration."""
    story = at_a("s -> a -> e; s -> b -> e2", strategy=ErrorStrategy.COLLECT)
    story.wait(3)
    story.raises("a", "ONE")
    story.raises("b", "TWO")
    ended = story.event("ExecutionFailed")
    assert [failure.code for failure in ended.errors] == ["ONE", "TWO"]
    assert log_of(story) == ["start s", "end s", "start a", "start b", "end a", "end b"]
    assert view(story.state).ended_at is not None


def test_004_w21_every_edge_that_holds_is_followed() -> None:
    """004-W21: fan-out, where the source followed the first one only."""
    story = at_a("s -> a; a -> b -> e; a -> d -> e2; a -> k", edges={"a>k": when("output > 1")})
    story.returns("a", 2)
    assert running(story) == {"b", "d", "k"}


def test_004_w22_too_many_steps_hold_the_run_instead_of_killing_it() -> None:
    """004-W22: it pauses with the reason; raise the limit, and it goes on."""
    story = Story("s -> a -> e", max_steps=1)
    story.returns("s")
    assert story.status() is ExecutionStatus.PAUSED
    assert story.state.pause_cause is PauseCause.MAX_STEPS
    story.resumes(10)
    story.returns("a")
    assert story.returns("e")[-1] == "ExecutionCompleted"


def test_an_observed_error_names_its_visit() -> None:
    story = at_a("s -> a -> b; a -> less", edges={"a>less": kind("fallback")})
    run = story.run_of("a")
    story.gives("a", Fallback("less"))
    observed = [each.event for each in story.log if isinstance(each.event, ObservedError)]
    assert [each.node_run for each in observed] == [run]
