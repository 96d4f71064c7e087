"""What the frozen histories tell: one function for each, from a diagram to the end of its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dipeo_server.domains.execution.events import (
    BarrierAction,
    BranchCompleted,
    Breakpoint,
    Budget,
    ErrorStrategy,
    GivenOutput,
    ParallelCompleted,
    ParallelStarted,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.interventions import BreakpointWhen, PauseMode
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
    DecisionMade,
    DecisionRevoked,
    OutputGiven,
    RetryRequested,
    SkipRequested,
)
from tests.builders import Story

GATE = "s -> g -> e; g.no -> n -> e2; g.skip -> k -> e3"
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


def _asked(story: Story) -> Story:
    story.returns("s")
    story.asks("g", timeout=60.0, default_action="REJECT", variable="g")
    story.wait(5)
    return story


def barrier_approved() -> Story:
    story = _asked(Story(GATE))
    story.decides("g", BarrierAction.APPROVE, reason="fine", actor="ann")
    story.returns("e")
    return story


def barrier_modified() -> Story:
    story = _asked(Story(GATE, variables={"price": 1}))
    story.decides("g", BarrierAction.MODIFY, puts={"price": 2}, actor="ann")
    story.returns("e")
    return story


def barrier_rejected() -> Story:
    story = _asked(Story(GATE))
    story.decides("g", BarrierAction.REJECT, reason="no", actor="ann")
    story.returns("n")
    story.returns("e2")
    return story


def barrier_rejected_without_edge() -> Story:
    story = _asked(Story("s -> g -> e"))
    story.decides("g", BarrierAction.REJECT, reason="no")
    return story


def barrier_skipped() -> Story:
    story = _asked(Story(GATE))
    story.decides("g", BarrierAction.SKIP)
    story.returns("k")
    story.returns("e3")
    return story


def barrier_rerouted() -> Story:
    story = _asked(Story(GATE))
    story.decides("g", BarrierAction.REROUTE, reroute="k")
    story.returns("k")
    story.returns("e3")
    return story


def barrier_timed_out() -> Story:
    story = _asked(Story(GATE))
    story.fires("g")
    story.returns("n")
    story.returns("e2")
    return story


def question_answered() -> Story:
    story = Story("s -> a -> e")
    story.returns("s")
    story.asks("a", "answer", answer_schema={"type": "object"})
    story.decides("a", BarrierAction.APPROVE, answer={"age": 3}, actor="bob")
    story.returns("e")
    return story


def early_decisions() -> Story:
    story = Story("s -> g; g.no -> w -> g; g.ok -> e")
    story.tell(DecisionMade("g", 1, BarrierAction.REJECT, "draft", actor="ann"))
    story.tell(DecisionMade("g", None, BarrierAction.APPROVE, max_uses=2, actor="ann"))
    story.tell(DecisionMade("g", 9, BarrierAction.SKIP, actor="bob"))
    story.tell(DecisionRevoked("d3", "bob"))
    story.returns("s")
    story.asks("g", variable="gate")
    story.returns("w")
    story.asks("g", variable="gate")
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


def paused_and_resumed() -> Story:
    story = Story("s -> a -> b -> e", variables={"x": 1})
    story.returns("s")
    story.pauses(reason="lunch")
    story.returns("a")
    story.wait(60)
    story.resumes(variables={"x": 2}, actor="ann")
    story.returns("b")
    story.returns("e")
    return story


def paused_at_once() -> Story:
    story = Story("s -> a -> e; s -> x1 -> e2")
    story.returns("s")
    story.pauses(PauseMode.NOW)
    for key in ("a", "x1"):
        if key in story.running():
            story.stops(key)
    story.resumes()
    story.decides("x1", BarrierAction.APPROVE, actor="ann")
    for key in ("a", "e", "x1", "e2"):
        story.returns(key)
    return story


def stepped() -> Story:
    story = Story("s -> a -> e; s -> b -> e", wish={"is_paused": True})
    for key, node in (("s", None), ("b", "b"), ("a", None), ("e", None)):
        story.steps(node)
        story.returns(key)
    return story


def breakpoints_hit() -> Story:
    story = Story(LOOP)
    story.breaks(
        Breakpoint("a", condition="n > 1"), Breakpoint("c", BreakpointWhen.AFTER), Breakpoint("e")
    )
    story.returns("s", puts={"n": 1})
    story.returns("a", puts={"n": 2})
    story.returns("c", port="condfalse")
    story.resumes()
    if story.state.is_paused:
        story.resumes()
    story.returns("a")
    story.breaks()
    story.returns("c", port="condtrue")
    story.returns("e")
    return story


def limits_raised() -> Story:
    wish = {"budget": Budget(max_tokens=5)}
    story = Story("s -> a -> b -> d -> e", max_steps=3, wish=wish)
    story.returns("s")
    story.returns("a", usage=TokenUsage(10, 5))
    story.resumes(budget=Budget(max_tokens=100, max_seconds=60.0))
    story.returns("b")
    story.resumes(10)
    story.returns("d")
    story.returns("e")
    return story


def aborted() -> Story:
    story = Story("s -> a -> e; s -> b -> e2")
    story.returns("s")
    story.aborts()
    story.stops("a")
    story.stops("b")
    return story


def aborted_while_asking() -> Story:
    story = _asked(Story(GATE))
    story.aborts()
    return story


def restarted() -> Story:
    story = Story("s -> a -> e; s -> x1 -> e2")
    story.returns("s")
    story.restarts()
    story.decides("x1", BarrierAction.APPROVE, actor="ann")
    story.returns("a")
    story.returns("x1")
    story.returns("e")
    story.returns("e2")
    return story


def output_given() -> Story:
    story = Story("s -> a -> b -> e")
    story.returns("s")
    story.pauses()
    story.raises("a")
    story.tell(OutputGiven("a", {"by": "hand"}, "ann"))
    story.resumes()
    story.returns("b")
    story.returns("e")
    return story


def skipped_by_hand() -> Story:
    story = Story("s -> a -> b -> e; s -> k -> e2")
    story.returns("s")
    story.tell(SkipRequested("a", "not today", "ann"))
    story.returns("k")
    story.returns("e2")
    return story


def retried_by_hand() -> Story:
    story = Story("s -> a -> b -> e")
    story.returns("s")
    story.pauses()
    story.raises("a")
    story.tell(RetryRequested("a", "ann"))
    story.resumes()
    if "a" not in story.running():
        story.fires("a")
    story.returns("a")
    story.returns("b")
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


SCENARIOS: Final[Mapping[str, Callable[[], Story]]] = {
    told.__name__: told
    for told in (
        *(chain, loop, nested_loops, max_iterations, branches_not_taken, branch_skipped),
        *(side_by_side, first_of_many, barrier_approved, barrier_modified, barrier_rejected),
        *(barrier_rejected_without_edge, barrier_skipped, barrier_rerouted, barrier_timed_out),
        *(question_answered, early_decisions, retried, failed_and_fell_back, default_output),
        *(failed_fast, failures_collected, partly_collected, conflicting_writes),
        *(paused_and_resumed, paused_at_once, stepped, breakpoints_hit, limits_raised, aborted),
        *(aborted_while_asking, restarted, output_given, skipped_by_hand, retried_by_hand),
        *(delayed, went_to_and_ended, parallel_group, sub_diagram, initial_results),
        *(still_running,),
    )
}
