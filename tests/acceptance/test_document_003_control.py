"""Source document 003: skipped branches, failures and what a node does about them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import (
    ErrorStrategy,
    Failure,
    NodeFailed,
    NodeRetryScheduled,
)
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import SKIP_BRANCH
from dipeo_server.domains.execution.signals import NodeRaised
from dipeo_server.domains.execution.state import view
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.storage.opening import open_store
from tests.builders import Story
from tests.runtime.world import World, world

SKIPPED = NodeExecutionStatus.SKIPPED


def at_a(text: str, **options: Any) -> Story:
    """A story in which node `a` is running."""
    story = Story(text, **options)
    story.returns("s")
    return story


def running(story: Story) -> set[str]:
    return {run.node for run in story.state.running.values()}


# --- skipping


def test_003_06_a_skipped_branch_is_skipped_to_its_end() -> None:
    """003-06: SKIP_BRANCH travels down, and ends where something else is alive."""
    story = at_a("s -> a -> b -> d -> j -> e; s -> k -> j")
    story.gives("a", SKIP_BRANCH)
    for key in "bd":
        assert (story.node(key).status, story.node(key).skip_reason) == (SKIPPED, "skip_branch")
    story.returns("k")
    assert running(story) == {"j"}


def test_003_06_a_run_of_which_all_is_skipped_has_completed() -> None:
    """003-06."""
    story = at_a("s -> a -> b -> e")
    assert story.gives("a", SKIP_BRANCH)[-1] == "ExecutionCompleted"


@pytest.mark.parametrize(
    "join, live, runs",
    [
        ({"join": "all"}, 1, True),
        ({"join": "any"}, 1, True),
        ({"join": "first"}, 1, True),
        ({"join": "k_of_n", "k": 2}, 2, True),
        ({"join": "k_of_n", "k": 2}, 1, False),
        ({"join": "all"}, 0, False),
        ({"join": "any"}, 0, False),
    ],
)
def test_003_w3_how_many_live_parents_a_join_needs_is_its_policy(
    join: dict[str, Any], live: int, runs: bool
) -> None:
    """003-W3: one skipped parent does not skip a child that others feed."""
    story = at_a("s -> a -> j; s -> b -> j; s -> k -> j; j -> e", props={"j": join})
    for number, key in enumerate("abk"):
        if number < live:
            story.returns(key)
        else:
            story.gives(key, SKIP_BRANCH)
    assert (running(story) == {"j"}) is runs
    assert (story.node("j").status is SKIPPED) is not runs


# --- failures


def test_003_07_a_failure_reaches_every_child_and_theirs() -> None:
    """003-07: the parent's failure propagates by default."""
    story = at_a("s -> a -> b -> d -> e; s -> k -> e2", strategy=ErrorStrategy.COLLECT)
    story.raises("a")
    assert {story.node(key).skip_reason for key in "bde"} == {"upstream_failed"}
    story.returns("k")
    assert story.returns("e2")[-1] == "ExecutionFailed"


def test_003_07_a_join_that_needs_one_runs_in_spite_of_a_failure() -> None:
    """003-07: where another edge is enough, the failure is no reason to skip."""
    props = {"j": {"join": "any"}}
    story = at_a("s -> a -> j -> e; s -> b -> j", props=props, strategy=ErrorStrategy.COLLECT)
    story.raises("a")
    story.returns("b")
    assert running(story) == {"j"}
    story.returns("j")
    assert story.returns("e")[-1] == "ExecutionFailed"  # The failure itself was not handled.


@pytest.mark.parametrize("names", [["TIMEOUT"], ["TimeoutError"], ["OTHER", "TimeoutError"]])
def test_003_w9_on_error_matches_codes_and_types(names: list[str]) -> None:
    """003-W9: on_error {match types, ...}; also 003-07, a node may declare what it handles."""
    on_error = {"policy": "default_output", "output": 7, "match": names}
    story = at_a("s -> a -> e", props={"a": {"on_error": on_error}})
    failure = Failure("TIMEOUT", "late", "a", error_type="TimeoutError")
    story.tell(NodeRaised(story.run_of("a"), failure))
    assert running(story) == {"e"}
    other = at_a("s -> a -> e", props={"a": {"on_error": on_error}})
    other.raises("a", "CODE_ERROR")
    assert other.status() is ExecutionStatus.FAILED


@pytest.mark.parametrize(
    "policy, text, goes_on",
    [
        ("continue", "s -> a -> b", "b"),
        ("default_output", "s -> a -> b", "b"),
        ("error_port", "s -> a -> b; a.error -> r", "r"),
        ("fallback", "s -> a -> b; a -> r", "r"),
    ],
)
def test_003_w9_a_failure_takes_the_way_that_its_policy_names(
    policy: str, text: str, goes_on: str
) -> None:
    """003-W9: route to an edge, default output, or go on; told as an observed error."""
    edges = {"a>r": {"kind": "fallback"}} if policy == "fallback" else {}
    story = at_a(text, props={"a": {"on_error": {"policy": policy}}}, edges=edges)
    assert story.raises("a")[:2] == ["ObservedError", "NodeFailed"]
    assert story.event("NodeFailed").handled == policy
    assert running(story) == {goes_on}
    story.returns(goes_on)
    assert story.status() is ExecutionStatus.COMPLETED


@pytest.mark.parametrize("policy", ["error_port", "fallback"])
def test_003_w9_a_policy_whose_edge_is_missing_hides_no_failure(policy: str) -> None:
    """003-W9: nothing turns an error into silence."""
    story = at_a("s -> a -> e", props={"a": {"on_error": {"policy": policy}}})
    story.raises("a")
    assert story.event("NodeFailed").handled is None
    assert story.status() is ExecutionStatus.FAILED


def test_003_w9_a_handled_failure_is_routed_by_conditions_as_a_result_is() -> None:
    """003-W9: conditions see the error; those that do not hold are not followed."""
    edges = {
        "a>b": {"kind": "when", "condition": "code == 'TIMEOUT'"},
        "a>d": {"kind": "when", "condition": "code == 'OTHER'"},
    }
    story = at_a("s -> a; a -> b; a -> d", edges=edges, props={"a": {"on_error": CONTINUE}})
    story.raises("a", "TIMEOUT")
    assert running(story) == {"b"}
    assert story.node("d").skip_reason == "branch_not_taken"
    assert view(ExecutionMachine.replay(story.log).state) == view(story.state)


CONTINUE = {"policy": "continue"}


def test_003_w9_a_handled_failure_that_matches_no_edge_has_failed_after_all() -> None:
    """003-W9: told as what it was, and as what became of it."""
    edges = {"a>b": {"kind": "when", "condition": "code == 'OTHER'"}}
    props = {"a": {"on_error": CONTINUE, "fan_out": "first"}}
    story = at_a("s -> a; a -> b", edges=edges, props=props)
    story.raises("a", "TIMEOUT")
    assert story.event("ObservedError").failure.code == "TIMEOUT"
    assert story.event("NodeFailed").failure.code == "UNROUTED"
    assert story.status() is ExecutionStatus.FAILED


# --- strategies of the run


@pytest.mark.parametrize(
    "strategy, status, beside",
    [
        (ErrorStrategy.FAIL_FAST, ExecutionStatus.FAILED, NodeExecutionStatus.ABORTED),
        (ErrorStrategy.COLLECT, ExecutionStatus.FAILED, NodeExecutionStatus.COMPLETED),
        (ErrorStrategy.COLLECT_PARTIAL, ExecutionStatus.COMPLETED, NodeExecutionStatus.COMPLETED),
    ],
)
def test_003_07_what_a_failure_does_to_the_rest_is_the_strategy_of_the_run(
    strategy: ErrorStrategy, status: ExecutionStatus, beside: NodeExecutionStatus
) -> None:
    """003-07."""
    story = at_a("s -> a -> e; s -> b -> e2", strategy=strategy)
    story.raises("a")
    if strategy is ErrorStrategy.FAIL_FAST:
        story.stops("b")
    else:
        story.returns("b")
        story.returns("e2")
    assert story.status() is status
    assert story.node("b").status is beside


# --- retries


def retried(story: Story, count: int) -> list[float]:
    """Let `a` fail so often; the seconds after which each next attempt was due."""
    waits = []
    for _ in range(count):
        story.raises("a", retryable=True)
        scheduled = story.event("NodeRetryScheduled")
        waits.append((scheduled.due_at - story.now).total_seconds())
        story.fires("a")
    return waits


@pytest.mark.parametrize(
    "policy, waits",
    [
        ({"backoff": "constant", "initial_seconds": 3}, [3, 3, 3, 3]),
        ({"backoff": "exponential", "initial_seconds": 1}, [1, 2, 4, 8]),
        ({"backoff": "exponential", "initial_seconds": 1, "max_seconds": 3}, [1, 2, 3, 3]),
    ],
)
def test_003_w9_attempts_are_made_with_patience(policy: dict[str, Any], waits: list[float]) -> None:
    """003-W9: retry."""
    story = at_a("s -> a -> e", props={"a": {"retry": {"attempts": 5, **policy}}})
    assert retried(story, 4) == waits
    assert story.raises("a", retryable=True)[-1] == "ExecutionFailed"
    assert story.node("a").attempt == 5


def test_003_w9_only_the_errors_that_are_listed_are_tried_again() -> None:
    """003-W9: `retry_on` beats what an error says of itself."""
    props = {"a": {"retry": {"attempts": 3, "retry_on": ["BUSY"]}}}
    story = at_a("s -> a -> e", props=props)
    assert "NodeRetryScheduled" in story.raises("a", "BUSY")
    story.fires("a")
    assert story.raises("a", "OTHER", retryable=True)[-1] == "ExecutionFailed"


def test_003_w9_a_policy_takes_the_failure_once_attempts_are_used_up() -> None:
    """003-W9: first retry, then on_error."""
    props = {"a": {"retry": {"attempts": 2}, "on_error": CONTINUE}}
    story = at_a("s -> a -> e", props=props)
    assert retried(story, 1)
    story.raises("a", retryable=True)
    assert running(story) == {"e"}


@given(jitter=st.floats(0, 1), seconds=st.floats(0, 1_000))
def test_003_w9_chance_in_a_delay_is_bounded_and_recorded(jitter: float, seconds: float) -> None:
    """003-W9: a replay sees the delay that was, and the same run would choose it again."""
    policy = {"attempts": 3, "backoff": "constant", "jitter": jitter}
    policy |= {"initial_seconds": seconds, "max_seconds": 1_000}
    story, again = (at_a("s -> a -> e", props={"a": {"retry": policy}}) for _ in range(2))
    waits = retried(story, 2)
    assert waits == retried(again, 2)
    rounding = timedelta(microseconds=1).total_seconds()
    assert all(seconds * (1 - jitter) - rounding <= wait <= seconds + rounding for wait in waits)
    due = [r.event.due_at for r in story.log if isinstance(r.event, NodeRetryScheduled)]
    assert len(due) == 2
    assert view(ExecutionMachine.replay(story.log).state) == view(story.state)


def test_003_w9_an_attempt_counts_for_its_visit_only() -> None:
    """003-W9: the next turn of a loop has all its attempts again."""
    props = {"a": {"retry": {"attempts": 2, "initial_seconds": 0}}}
    story = Story("s -> h -> a -> c; c.t -> h; c.f -> e", props=props)
    story.returns("s")
    for port in ("condtrue", "condfalse"):
        story.returns("h")
        assert retried(story, 1) == [0]
        story.returns("a")
        story.returns("c", port=port)
    story.returns("e")
    assert story.status() is ExecutionStatus.COMPLETED


# --- the time of an attempt, on a real runner


@pytest.fixture
async def place() -> AsyncIterator[World]:
    tries: list[int] = []

    async def slow_at_first(ctx: ExecutionContext) -> str:
        tries.append(ctx.node_run.attempt)
        await ctx.sleep(3_600 if len(tries) == 1 else 0)
        return "in time"

    store = await open_store("memory:")
    async with world(store, {"a": slow_at_first}) as running_world:
        yield running_world
    await store.close()


async def test_003_w9_the_time_of_an_attempt_is_its_own(place: World) -> None:
    """003-W9: a handler that takes too long is stopped, and tried again."""
    retry = {"attempts": 2, "initial_seconds": 0}
    props = {"a": {"timeout": 0.05, "retry": retry}}
    id_ = await place.start("s -> a -> e", props=props)
    ended = await place.ended(id_)
    assert ended.status is ExecutionStatus.COMPLETED
    assert ended.outputs["a"].body == "in time"
    failed = [each for each in await place.events(id_) if isinstance(each, NodeFailed)]
    assert [(each.failure.code, each.will_retry) for each in failed] == [("TIMEOUT", True)]
    assert place.visits.inside == []


async def test_003_w9_an_attempt_that_takes_too_long_fails_its_node(place: World) -> None:
    """003-W9."""
    ended = await place.run("s -> a -> e", props={"a": {"timeout": 0.05}})
    assert ended.status is ExecutionStatus.FAILED
    assert ended.error is not None
    assert "'a' did not end within 0.05 s" in ended.error.message
