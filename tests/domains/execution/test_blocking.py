"""Every node that has not run can say what keeps it from that."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from dipeo_server.domains.execution.blocking import Blocker, blockers
from dipeo_server.domains.execution.events import Breakpoint, ErrorStrategy
from dipeo_server.domains.execution.interventions import BreakpointWhen
from dipeo_server.domains.execution.output import SKIP_BRANCH, WaitUntil, create_node_output
from dipeo_server.domains.execution.signals import SkipRequested
from dipeo_server.domains.execution.state import view
from dipeo_server.domains.execution.status import NodeExecutionStatus
from tests.builders import Story
from tests.reference.generate import random_failures, random_sketch
from tests.reference.machine_run import MachineRun

_N = NodeExecutionStatus


def why(story: Story, key: str) -> list[tuple[str, str | None]]:
    """Reasons, and the nodes they are about."""
    return [(each.reason, each.node) for each in blockers(view(story.state), key)]


def details(story: Story, key: str) -> str:
    return " ".join(each.detail for each in blockers(view(story.state), key))


def test_a_node_waits_for_the_nodes_above_it_that_have_not_ended() -> None:
    story = Story("s -> a -> j; s -> b -> j; j -> e")
    story.returns("s")
    story.returns("a")
    assert blockers(view(story.state), "j") == (
        Blocker("upstream", "b", "arrow_3", "'b' has not ended: it is RUNNING."),
    )
    assert why(story, "e") == [("upstream", "j")]
    assert why(story, "b") == why(story, "a") == []


def test_behind_a_loop_a_node_waits_for_its_end() -> None:
    story = Story("s -> a -> c; c.t -> a; c.f -> e")
    story.returns("s")
    story.returns("a")
    assert "the loop at 'a', which has not ended" in details(story, "e")
    story.returns("c", port="condtrue")
    assert why(story, "e") == [("upstream", "c")]


def test_what_waits_says_for_what() -> None:
    retried = {"retry": {"attempts": 2, "initial_seconds": 60}}
    story = Story("s -> g; s -> d; s -> a", props={"a": retried})
    story.returns("s")
    story.asks("g")
    story.gives("d", WaitUntil(60, create_node_output({"default": 1})))
    story.raises("a", retryable=True)
    assert why(story, "g") == [("person", "g")]
    assert why(story, "d") == [("delay", "d")]
    assert why(story, "a") == [("retry", "a")]
    assert "12:01:00" in details(story, "a")
    assert "a broke" in details(story, "a")
    story.pauses()
    assert why(story, "a") == [("retry", "a"), ("paused", None)]


def test_what_is_ready_says_what_holds_it() -> None:
    story = Story("s -> a; s -> b")
    story.pauses(reason="lunch")
    story.returns("s")
    assert why(story, "a") == [("paused", None)]
    assert "lunch" in details(story, "a")
    story.steps("b")
    assert why(story, "a") == [("step", "b")]
    assert why(story, "b") == []


def test_breakpoints_limits_and_an_end_hold_what_is_ready() -> None:
    story = Story("s -> a", wish={"breakpoints": (Breakpoint("a", BreakpointWhen.BEFORE),)})
    story.returns("s")
    assert why(story, "a") == [("breakpoint", None)]
    story = Story("s -> a", max_steps=1)
    story.returns("s")
    assert why(story, "a") == [("limit", None)]
    story = Story("s -> a; s -> b")
    story.pauses()
    story.returns("s")
    story.steps("b")
    story.aborts()
    assert why(story, "a") == [("ending", None)]
    story.stops("b")
    assert why(story, "a") == [("ended", None)]
    assert "ABORTED" in details(story, "a")


def test_more_ready_nodes_than_places_wait_for_one() -> None:
    story = Story("; ".join(f"s -> a{number}" for number in range(70)))
    story.returns("s")
    assert why(story, "a69") == [("places", None)]
    assert "64 nodes" in details(story, "a69")


def test_a_node_on_a_branch_not_taken_names_the_edge() -> None:
    story = Story("s -> c; c.t -> a -> b; c.f -> e")
    story.returns("s")
    story.returns("c", port="condfalse")
    assert blockers(view(story.state), "a") == (
        Blocker("branch_not_taken", "c", "arrow_1", "'c' did not go on at 'condtrue'."),
    )
    assert why(story, "b") == [("branch_not_taken", "a")]
    assert "'a' was skipped" in details(story, "b")


def test_conditions_on_edges_are_told() -> None:
    edges = {"a>b": {"kind": "when", "condition": "output > 1"}, "a>e": {"kind": "default"}}
    story = Story("s -> a -> b; a -> e", edges=edges)
    story.returns("s")
    story.returns("a", 1)
    assert "where output > 1" in details(story, "b")


def test_a_failure_above_is_named_with_its_message() -> None:
    story = Story("s -> a -> b -> d; s -> e", strategy=ErrorStrategy.COLLECT)
    story.returns("s")
    story.raises("a")
    assert why(story, "b") == [("upstream_failed", "a")]
    assert "a broke" in details(story, "b")
    assert why(story, "d") == [("upstream_failed", "b")]
    assert why(story, "a") == []


def test_a_branch_that_a_node_skipped_is_told() -> None:
    story = Story("s -> a -> b; s -> e")
    story.returns("s")
    story.gives("a", SKIP_BRANCH)
    assert why(story, "b") == [("skip_branch", "a")]


@pytest.mark.parametrize("key, about", [("a", None), ("b", "a")])
def test_what_somebody_skipped_says_so(key: str, about: str | None) -> None:
    story = Story("s -> a -> b; s -> e")
    story.returns("s")
    story.tell(SkipRequested("a"))
    assert why(story, key) == [("by_user", about)]


def test_what_no_start_leads_to_says_so() -> None:
    story = Story("s -> e; a -> b")
    assert why(story, "b") == [("unreachable", None)]


def test_a_join_that_is_not_met_names_its_dead_edges() -> None:
    story = Story(
        "s -> c; c.t -> a -> j; c.f -> b -> j; s -> d", props={"j": {"join": "k_of_n", "k": 2}}
    )
    story.returns("s")
    story.returns("c", port="condtrue")
    story.returns("a")
    assert story.node("j").skip_reason == "join_not_met"
    assert why(story, "j") == [("branch_not_taken", "b")]


def test_with_nothing_else_known_a_skip_still_says_its_reason() -> None:
    story = Story("s -> c; c.t -> a; c.f -> e")
    story.returns("s")
    story.returns("c", port="condfalse")
    bare = view(story.state)
    blind = replace(bare, tokens=(None,) * len(bare.tokens))
    assert [(each.reason, each.edge) for each in blockers(blind, "a")] == [
        ("branch_not_taken", None)
    ]


def test_at_every_moment_each_node_runs_has_run_or_says_why_not() -> None:
    for seed in range(400):
        rng = random.Random(seed)
        sketch, script = random_sketch(rng, 8, joins_all=seed % 2 == 0)
        run = MachineRun(sketch, script, random_failures(rng, sketch), cap=4)
        for _ in range(100):
            seen = view(run.state)
            for node, state in zip(seen.diagram.nodes, seen.nodes, strict=True):
                found = blockers(seen, node.key)
                has_run = state.status not in (_N.PENDING, _N.SKIPPED, _N.WAITING)
                assert not (found if has_run else not found), f"{node.key} {sketch} seed={seed}"
            if not run.running:
                break
            run.complete(rng.choice(run.running))
