"""Frozen histories of runs that people, limits and crashes steer."""

from __future__ import annotations

from dipeo_server.domains.execution.events import (
    BarrierAction,
    Breakpoint,
    Budget,
)
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.interventions import BreakpointWhen, PauseMode
from dipeo_server.domains.execution.machine.forking import undone
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import (
    TokenUsage,
)
from dipeo_server.domains.execution.signals import (
    DecisionMade,
    DecisionRevoked,
    ForkRequested,
    OutputGiven,
    RetryRequested,
    SkipRequested,
)
from tests.builders import Story

GATE = "s -> g -> e; g.no -> n -> e2; g.skip -> k -> e3"
LOOP = "s -> a -> c; c.f -> a; c.t -> e"


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


def forked() -> Story:
    """Another run that goes on from where a node ran and somebody was asked."""
    story = Story("s -> a -> b -> e; s -> g -> e2", variables={"x": 1})
    story.returns("s")
    story.asks("g", timeout=60.0, default_action="REJECT")
    story.wait(30)
    story.machine = ExecutionMachine.replay(story.log)
    last, before = story.log[-1].event, undone(story.log)
    wish = ForkRequested(
        ExecutionID("fork"),
        ExecutionID("x"),
        last,
        before,
        variables={"x": 2},
        outputs={"s": "other", "b": "given"},
        actor="ann",
    )
    story.tell(wish)
    story.returns("a")
    story.decides("g", BarrierAction.APPROVE, actor="ann")
    story.returns("e")
    story.returns("e2")
    return story
