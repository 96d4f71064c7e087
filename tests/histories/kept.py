"""Frozen histories of runs that are forked, kept at checkpoints, or spend what they may."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from dipeo_server.domains.diagram.mutations import DeleteNode
from dipeo_server.domains.execution.checkpoint import (
    PRESETS,
    CheckpointFailurePolicy,
    CheckpointPolicy,
    CheckpointPreset,
    CheckpointSettings,
    CheckpointTrigger,
)
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BranchCompleted,
    Budget,
    Failure,
    ParallelCompleted,
    ParallelStarted,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.machine.forking import undone
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import End, TokenUsage, create_node_output
from dipeo_server.domains.execution.signals import (
    BranchTold,
    BudgetTimePassed,
    CheckpointRequested,
    DecisionMade,
    ForkRequested,
    NodePutOff,
    NodeReport,
    OutputGiven,
    PauseRequested,
    ResumeRequested,
)
from tests.builders import NOON, Story
from tests.histories.changed import all_return, change, edge, node

GATE = "s -> g -> e; g.no -> n -> e2; g.skip -> k -> e3"
T = CheckpointTrigger


# --- forks ----------------------------------------------------------------------------------------


def fork(story: Story, number: int = 1, at: int | None = None, **wish: Any) -> Story:
    """The story goes on as another run, from behind an event of it."""
    log = story.log[:at]
    origin = story.state.id
    story.log, story.machine = log, ExecutionMachine.replay(log)
    fork_id = ExecutionID(f"fork{number}")
    request = ForkRequested(fork_id, origin, log[-1].event, undone(log), actor="ann", **wish)
    story.tell(request)
    return story


def place(story: Story, kind: str, count: int = 1) -> int:
    """Where the log has an event of that name for so many times."""
    found = [each.seq for each in story.log if type(each.event).__name__ == kind]
    return found[count - 1]


def fork_with_overrides() -> Story:
    """Other results of nodes that have ended, run, have failed and are still to come."""
    story = Story("s -> a -> b -> d -> e; s -> x1 -> e2", variables={"x": 1, "y": 1})
    all_return(story, "s", "a")
    story.pauses()
    story.raises("b")
    story.wait(5)
    outputs = {"a": "other", "x1": "was done", "b": "mended", "d": "given"}
    fork(story, variables={"x": [2], "z": None}, outputs=outputs)
    return all_return(story, "e2", "e")


def fork_of_a_fork() -> Story:
    story = all_return(Story("s -> a -> b -> e", variables={"n": 0}), "s")
    story.returns("a", puts={"n": 1})
    fork(story, 1, variables={"n": 10})
    story.returns("b", puts={"n": 11})
    story.wait(60)
    fork(story, 2, outputs={"a": "other"}, variables={"m": 1})
    return all_return(story, "e")


def fork_from_within_a_batch() -> Story:
    """What a visit had written whose end is not shared is taken back; a retry is due at once."""
    retry = {"attempts": 2, "initial_seconds": 50}
    story = Story("s -> a -> e; s -> b -> e2", variables={"n": 0}, props={"b": {"retry": retry}})
    story.returns("s")
    story.raises("b", retryable=True)
    fork(story, 1, at=place(story, "NodeFailed"))
    story.fires("b")
    story.returns("a", puts={"n": 1, "m": 1})
    fork(story, 2, at=place(story, "StateChanged", 2))
    return all_return(story, "a", "e", "b", "e2")


def fork_that_begins_paused() -> Story:
    """Nobody has paused it, or decided in it; somebody is asked again."""
    story = Story("s -> g -> e; s -> a -> e2")
    story.tell(DecisionMade("g", 2, BarrierAction.APPROVE, actor="bob"))
    story.returns("s")
    story.asks("g", timeout=60.0, default_action="REJECT")
    story.pauses(reason="lunch")
    story.wait(20)
    fork(story, is_paused=True)
    story.decides("g", BarrierAction.APPROVE, actor="ann")
    story.resumes()
    return all_return(story, "a", "e", "e2")


def fork_of_a_child() -> Story:
    """The run of a sub-diagram goes on below the fork of its parent."""
    wish = {"parent_id": ExecutionID("exec_0_parent"), "parent": NodeRun("child", 1), "key": "k"}
    story = all_return(Story("s -> a -> e", wish=wish), "s")
    fork(story, parent_id=ExecutionID("exec_0_other"), parent=NodeRun("child", 1))
    return all_return(story, "a", "e")


def fork_with_another_graph() -> Story:
    story = all_return(Story("s -> a -> e"), "s")
    fork(story, is_paused=True)
    story.tell(change(story, node("m"), edge("a", "m")))
    story.resumes()
    return all_return(story, "a", "m", "e")


def fork_of_a_changed_graph() -> Story:
    """From behind the change, and then from before it."""
    story = all_return(Story("s -> a -> e; s -> b -> e2"), "s")
    story.tell(change(story, node("m"), edge("b", "m")))
    fork(story, 1)
    story.returns("b")
    fork(story, 2, at=place(story, "DiagramMutated") - 1)
    return all_return(story, "a", "b", "e", "e2")


# --- checkpoints ----------------------------------------------------------------------------------


def _kept(text: str, *policy: CheckpointTrigger, **options: Any) -> Story:
    return Story(text, wish={"checkpoints": policy}, **options)


def kept_at_decisions() -> Story:
    policy: CheckpointPolicy = PRESETS[CheckpointPreset.CONSERVATIVE]
    story = _kept(GATE, *policy)
    story.returns("s")
    story.asks("g")
    story.pauses()
    story.decides("g", BarrierAction.REJECT, actor="ann")
    story.resumes()
    return all_return(story, "n", "e2")


def kept_on_request() -> Story:
    story = _kept("s -> a -> e", *PRESETS[CheckpointPreset.MANUAL])
    story.returns("s", {"large": "x" * 2_000})
    story.tell(CheckpointRequested("ann"))
    story.tell(CheckpointRequested("ann"))
    return all_return(story, "a", "e")


def kept_at_every_step() -> Story:
    return all_return(_kept("s -> a -> b -> e", T.EVERY_STEP), "s", "a", "b", "e")


def kept_where_much_would_be_lost() -> Story:
    story = all_return(_kept("s -> q1 -> q2 -> x1 -> e", T.ADAPTIVE), "s")
    story.wait(0.25)
    story.returns("q1")
    story.returns("q2", usage=TokenUsage(60, 50))
    return all_return(story, "x1", "e")


def kept_and_lost() -> Story:
    """One that could not be taken is told, and fails nothing."""
    story = _kept("s -> a -> e", T.EVERY_STEP, T.EXECUTION_COMPLETED)
    story.returns("s", {1: "a key that is no text"})
    return all_return(story, "a", "e")


def held_where_nothing_is_kept() -> Story:
    """Each one that cannot be taken holds the run, but for the one at its end."""
    story = _unkept(CheckpointFailurePolicy.PAUSE, "s -> a -> e")
    story.returns("s")
    story.resumes()
    story.returns("a")
    story.resumes()
    return all_return(story, "e")


def failed_where_nothing_is_kept() -> Story:
    """What runs beside it is stopped; a fork goes on, as far as that can keep its states."""
    story = _unkept(CheckpointFailurePolicy.FAIL, "s -> a -> e; s -> q1 -> e2")
    story.returns("s")
    story.stops("a")
    story.stops("q1")
    fork(story, at=place(story, "CheckpointFailed"))
    story.returns("a")
    story.stops("q1")
    story.stops("e")
    return story


def _unkept(policy: CheckpointFailurePolicy, text: str) -> Story:
    settings = CheckpointSettings(on_failure=policy, size_max=100)
    wish = {"checkpoints": (T.EVERY_STEP, T.EXECUTION_COMPLETED), "checkpointing": settings}
    return Story(text, wish=wish)


def kept_over_a_change_and_a_fork() -> Story:
    story = all_return(_kept("s -> a -> e", T.EVERY_STEP, T.HUMAN_DECISION), "s")
    story.tell(change(story, node("m"), edge("a", "m")))
    fork(story)
    return all_return(story, "a", "e", "m")


# --- decisions, results and limits ----------------------------------------------------------------


def decisions_ahead_of_time() -> Story:
    """Used, expired, not needed, and one that does not fit any more."""
    story = Story("s -> g -> e; g.no -> w -> g; s -> g2 -> e2; s -> q1 -> g3 -> e3; g3 -> e4")
    soon = NOON + timedelta(seconds=30)
    reject, approve = BarrierAction.REJECT, BarrierAction.APPROVE
    story.tell(DecisionMade("g", 1, reject, "not yet", actor="ann"))
    story.tell(DecisionMade("g", None, approve, max_uses=3, actor="ann"))
    story.tell(DecisionMade("g", 7, BarrierAction.SKIP, expires_at=soon))
    modify = DecisionMade("g2", None, BarrierAction.MODIFY, puts={"x": 1}, expires_at=soon)
    story.tell(modify)
    story.tell(DecisionMade("g3", 1, BarrierAction.REROUTE, reroute="e3", actor="bob"))
    story.returns("s")
    story.wait(20)
    story.asks("g2")
    story.asks("g", variable="gate")
    story.wait(20)
    story.tell(change(story, DeleteNode("e3")))
    story.returns("q1")
    story.asks("g3")
    story.decides("g3", approve, actor="bob")
    story.returns("w")
    story.asks("g", variable="gate")
    return all_return(story, "e", "e2", "e4")


def results_given_by_hand() -> Story:
    """Of what is ready, runs, waits and has told its result early."""
    story = Story("s -> a -> c; c.t -> d -> e; s -> b -> e2; s -> r -> e3; s -> x1")
    story.returns("s")
    story.tell(OutputGiven("a", 1, "ann"))
    story.tell(OutputGiven("c", output=True, actor="ann"))
    story.tell(NodeReport(story.run_of("x1"), create_node_output({"default": "early"})))
    story.pauses(PauseMode.NOW)
    story.tell(OutputGiven("d", {"by": "hand"}, "ann"))
    story.tell(OutputGiven("b", None, "ann"))
    story.resumes()
    return all_return(story, "r", "e", "e2", "e3")


def a_branch_of_a_group_fails() -> Story:
    story = all_return(Story("s -> p -> e"), "s")
    run = story.run_of("p")
    failure = Failure("CODE_ERROR", "left broke", "left", hint="mend it")
    story.tell(BranchTold(run, ParallelStarted(run, ("left", "right"))))
    story.tell(BranchTold(run, BranchCompleted(run, "left", 0.5, failure)))
    story.tell(BranchTold(run, BranchCompleted(run, "right", 2.0)))
    story.tell(BranchTold(run, ParallelCompleted(run, 2.0)))
    story.raises("p")
    return story


def time_is_spent() -> Story:
    wish = {"budget": Budget(max_seconds=10.0)}
    story = all_return(Story("s -> a -> b -> e", wish=wish), "s")
    story.wait(10)
    story.tell(BudgetTimePassed())
    story.returns("a")
    story.wait(100)
    story.resumes(budget=Budget(max_seconds=30.0))
    return all_return(story, "b", "e")


def held_with_its_parent() -> Story:
    """A visit that had no place yet is put off."""
    wish = {"parent_id": ExecutionID("exec_0_parent"), "parent": NodeRun("child", 1)}
    story = all_return(Story("s -> a -> e; s -> b", wish=wish), "s")
    story.tell(PauseRequested(is_by_parent=True))
    story.tell(NodePutOff(story.run_of("b")))
    story.tell(ResumeRequested(is_by_parent=True))
    return all_return(story, "b", "a", "e")


def late_for_the_end() -> Story:
    """Results that come while the run is being ended are discarded."""
    story = Story("s -> a -> e; s -> b -> e2; s -> k", props={"k": {"may_end": True}})
    story.returns("s")
    story.gives("k", End(create_node_output({"default": "enough"})))
    story.returns("a", "late")
    story.raises("b")
    return story
