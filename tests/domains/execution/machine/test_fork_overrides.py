"""Stories of forks that begin with other variables and results."""

from __future__ import annotations

import pytest

from dipeo_server.domains.execution.events import (
    ErrorStrategy,
    ExecutionForked,
    GivenOutput,
    NodeOutputSet,
)
from dipeo_server.domains.execution.output import WaitUntil, create_node_output
from dipeo_server.errors import InvalidInput
from tests.builders import Story, names
from tests.domains.execution.machine.forks import (
    COMPLETED,
    finish,
    forked,
    inputs,
    own,
)

# --- with changes -------------------------------------------------------------------------------


def test_variables_are_set_before_it_goes_on() -> None:
    story = Story("s -> a -> e", variables={"x": 1})
    story.returns("s")
    fork = forked(story, variables={"x": 2, "y": [3]})
    assert fork.state.variables == {"x": 2, "y": [3]}
    kinds = names(own(fork))
    assert kinds.index("StateChanged") < kinds.index("NodeStarted")


def test_a_result_that_is_not_used_yet_is_replaced() -> None:
    story = Story("s -> a -> b -> e; a -> e2")
    story.returns("s")
    story.returns("a", "old")
    fork = forked(story, outputs={"a": "new"})
    assert fork.state.outputs["a"].body == "new"
    assert fork.node("a").output == fork.state.outputs["a"]
    assert inputs(fork, "b") == inputs(fork, "e2") == ["new"]
    event = next(each.event for each in own(fork) if isinstance(each.event, NodeOutputSet))
    assert (event.reason, event.actor, event.ports) == ("override", "ann", ("default",))
    assert finish(fork) is COMPLETED


def test_what_used_the_old_result_keeps_it() -> None:
    story = Story("s -> a -> b -> e; a -> e")
    story.returns("s")
    story.returns("a", "old")
    story.returns("b", "made of old")
    fork = forked(story, outputs={"a": "new"})
    assert fork.state.outputs["b"].body == "made of old"
    assert sorted(inputs(fork, "e")) == ["made of old", "new"]
    assert [each.envelope.body for each in fork.state.inputs[2]] == ["old"]


def test_a_value_that_stays_over_the_turns_of_a_loop_is_replaced() -> None:
    story = Story(
        "s -> a -> h -> c; c.t -> h; c.f -> e; a -> w; h -> w; w -> c",
        edges={"a>w": {"label": "kept"}},
    )
    story.returns("s")
    story.returns("a", "old")
    story.returns("h", 1)
    story.returns("w", 1)
    story.returns("c", 1, port="condtrue")
    fork = forked(story, outputs={"a": "new"})
    fork.returns("h", 2)
    assert sorted(map(str, inputs(fork, "w"))) == ["2", "new"]


def test_a_result_of_what_has_not_run_is_taken_when_it_is_reached() -> None:
    story = Story("s -> a -> b -> e")
    story.returns("s")
    fork = forked(story, outputs={"b": {"n": 1}})
    opening = own(fork)[0].event
    assert isinstance(opening, ExecutionForked)
    assert opening.initial == {"b": GivenOutput({"n": 1})}
    fork.returns("a")
    assert fork.running() == ["e"]
    assert inputs(fork, "e") == [{"n": 1}]


def test_what_runs_waits_or_has_failed_ends_with_its_result() -> None:
    story = Story("s -> a -> e; s -> b -> e; s -> d -> e", strategy=ErrorStrategy.COLLECT)
    story.returns("s")
    story.raises("a")
    story.gives("b", WaitUntil(60, create_node_output({"default": 1})))
    fork = forked(story, outputs={"a": 1, "b": 2, "d": 3})
    assert inputs(fork, "e") == [1, 2, 3]
    assert "NodeInterrupted" not in fork.begun
    assert finish(fork) is COMPLETED


def test_an_unknown_node_is_refused_with_the_nearest_name() -> None:
    story = Story("s -> apple -> e")
    with pytest.raises(InvalidInput, match="no node 'aple'") as refused:
        forked(story, outputs={"aple": 1})
    assert refused.value.field == ("overrides", "outputs", "aple")
    assert "apple" in (refused.value.hint or "")


def test_what_asks_a_person_is_decided_and_given_no_result() -> None:
    story = Story("s -> g -> e")
    story.returns("s")
    story.asks("g")
    with pytest.raises(InvalidInput, match="waits for a person") as refused:
        forked(story, outputs={"g": 1})
    assert "SKIP" in (refused.value.hint or "")


def test_a_node_that_has_ended_cannot_leave_by_another_port() -> None:
    story = Story("s -> c; c.t -> a; c.f -> b")
    story.returns("s")
    story.returns("c", 1, port="condtrue")
    fork = forked(story, outputs={"c": True})
    assert fork.running() == ["a"]
    with pytest.raises(InvalidInput, match="comes too late") as refused:
        forked(story, outputs={"c": False})
    assert "before it ended" in (refused.value.hint or "")


def test_a_node_that_chooses_is_given_a_result_that_names_its_port() -> None:
    story = Story("s -> a -> c; c.t -> d; c.f -> b")
    story.returns("s")
    with pytest.raises(InvalidInput, match="names none"):
        forked(story, outputs={"c": "maybe"})
    fork = forked(story, outputs={"c": False})
    fork.returns("a")
    assert fork.running() == ["b"]
