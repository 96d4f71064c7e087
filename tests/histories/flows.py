"""Frozen histories of runs that nobody touches: chains, loops, branches, failures."""

from __future__ import annotations

from dipeo_server.domains.execution.events import (
    BranchCompleted,
    ErrorStrategy,
    GivenOutput,
    ParallelCompleted,
    ParallelStarted,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.output import (
    SKIP_BRANCH,
    End,
    Goto,
    TokenUsage,
    WaitUntil,
    create_node_output,
)
from dipeo_server.domains.execution.signals import (
    BranchTold,
)
from tests.builders import Story

LOOP = "s -> a -> c; c.f -> a; c.t -> e"


def chain() -> Story:
    story = Story("s -> a -> b -> e", variables={"city": "Łódź", "n": 1})
    for key, value in (("s", {"n": 1}), ("a", "ünïcode ✓"), ("b", [1, 2.5, None]), ("e", True)):
        story.wait(0.25)
        story.returns(key, value, puts={"last": key}, usage=TokenUsage(3, 2, 1))
    return story


def loop() -> Story:
    story = Story(LOOP, reducers={"total": "add"})
    story.returns("s")
    for turn in range(4):
        story.returns("a", turn, puts={"total": turn})
        story.returns("c", turn, port="condtrue" if turn == 3 else "condfalse")
    story.returns("e", "done")
    return story


def nested_loops() -> Story:
    story = Story("s -> a -> b -> c; c.f -> b; c.t -> c2; c2.f -> a; c2.t -> e")
    story.returns("s")
    for outer in range(2):
        story.returns("a", outer)
        for inner in range(2):
            story.returns("b", inner)
            story.returns("c", inner, port="condtrue" if inner else "condfalse")
        story.returns("c2", outer, port="condtrue" if outer else "condfalse")
    story.returns("e")
    return story


def max_iterations() -> Story:
    story = Story(LOOP, props={"a": {"max_iteration": 2}})
    story.returns("s")
    for turn in range(3):
        if story.state.running and "a" in story.running():
            story.returns("a", turn)
        story.returns("c", turn, port="condtrue" if turn == 2 else "condfalse")
    story.returns("e")
    return story


def branches_not_taken() -> Story:
    story = Story("s -> c; c.t -> a -> j; c.f -> b -> j; j -> e")
    story.returns("s")
    story.returns("c", 1, port="condtrue")
    story.returns("a")
    story.returns("j")
    story.returns("e")
    return story


def branch_skipped() -> Story:
    story = Story("s -> a -> b -> e; s -> k -> e2")
    story.returns("s")
    story.gives("a", SKIP_BRANCH)
    story.returns("k")
    story.returns("e2")
    return story


def side_by_side() -> Story:
    story = Story("s -> a -> j; s -> b -> j; s -> d -> j; j -> e", reducers={"x": "add"})
    story.returns("s")
    for key in ("b", "d", "a"):
        story.wait(1)
        story.returns(key, key, puts={"x": 1})
    story.returns("j")
    story.returns("e")
    return story


def first_of_many() -> Story:
    story = Story("s -> a -> j; s -> b -> j; j -> e", props={"j": {"join": "first"}})
    story.returns("s")
    story.returns("b", "B")
    story.returns("j")
    story.returns("a", "A")
    story.returns("e")
    return story


def retried() -> Story:
    retry = {"attempts": 3, "initial_seconds": 5}
    story = Story("s -> a -> e", props={"a": {"retry": retry}})
    story.returns("s")
    for _ in range(2):
        story.raises("a", retryable=True)
        story.fires("a")
    story.returns("a")
    story.returns("e")
    return story


def failed_and_fell_back() -> Story:
    story = Story(
        "s -> a -> e; a -> b -> e2",
        props={"a": {"on_error": {"policy": "fallback"}}},
        edges={"a>b": {"kind": "fallback"}},
    )
    story.returns("s")
    story.raises("a", "TIMEOUT")
    story.returns("b")
    story.returns("e2")
    return story


def default_output() -> Story:
    on_error = {"policy": "default_output", "output": {"x": 1}}
    story = Story("s -> a -> e", props={"a": {"on_error": on_error}})
    story.returns("s")
    story.raises("a")
    story.returns("e")
    return story


def failed_fast() -> Story:
    story = Story("s -> a -> e; s -> b -> e2")
    story.returns("s")
    story.raises("a")
    story.stops("b")
    return story


def failures_collected() -> Story:
    story = Story("s -> a -> e; s -> b -> e2; s -> k", strategy=ErrorStrategy.COLLECT)
    story.returns("s")
    story.raises("a")
    story.raises("b", "TIMEOUT")
    story.returns("k")
    return story


def partly_collected() -> Story:
    story = Story("s -> a -> e; s -> k -> e2", strategy=ErrorStrategy.COLLECT_PARTIAL)
    story.returns("s")
    story.raises("a")
    story.returns("k")
    story.returns("e2")
    return story


def conflicting_writes() -> Story:
    story = Story("s -> a -> e; s -> b -> e2", strategy=ErrorStrategy.COLLECT)
    story.returns("s")
    story.returns("a", puts={"x": 1})
    story.returns("b", puts={"x": 2})
    story.returns("e")
    return story


def delayed() -> Story:
    story = Story("s -> a -> e")
    story.returns("s")
    story.gives("a", WaitUntil(30.0, create_node_output({"default": "later"})))
    story.fires("a")
    story.returns("e")
    return story


def went_to_and_ended() -> Story:
    story = Story("s -> a -> b -> e; a -> k -> e2", props={"k": {"may_end": True}})
    story.returns("s")
    story.gives("a", Goto("k", create_node_output({"default": 1})))
    story.gives("k", End(create_node_output({"default": 2})))
    return story


def parallel_group() -> Story:
    story = Story("s -> p -> e")
    story.returns("s")
    run = story.run_of("p")
    story.tell(BranchTold(run, ParallelStarted(run, ("left", "right"))))
    story.wait(1)
    for branch in ("right", "left"):
        story.tell(BranchTold(run, BranchCompleted(run, branch, 1.0)))
    story.tell(BranchTold(run, ParallelCompleted(run, 1.0)))
    story.returns("p", {"left": 1, "right": 2})
    story.returns("e")
    return story


def sub_diagram() -> Story:
    """The run that a node of another one has started."""
    wish = {"parent_id": ExecutionID("exec_0_parent"), "parent": NodeRun("child", 2, 1)}
    story = Story("s -> a -> e", variables={"topic": "tea"}, wish=wish)
    for key in ("s", "a", "e"):
        story.returns(key, key)
    return story


def initial_results() -> Story:
    story = Story("s -> a -> b -> e", wish={"initial": {"a": GivenOutput("known")}})
    story.returns("s")
    story.returns("b")
    story.returns("e")
    return story


def still_running() -> Story:
    story = Story("s -> a -> e; s -> g -> e2")
    story.returns("s")
    story.asks("g")
    return story
