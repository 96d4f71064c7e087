"""When checkpoints are taken, what is told of them, and what becomes of those that fail."""

from __future__ import annotations

from typing import Any

import pytest

from dipeo_server.domains.execution.checkpoint import (
    COMPLETE,
    PRESETS,
    CheckpointPolicy,
    CheckpointPreset,
    CheckpointScore,
    CheckpointTrigger,
    TakenCheckpoint,
    checkpoint_id,
    place_of,
)
from dipeo_server.domains.execution.events import BarrierAction, CheckpointSaved
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.checkpoints import cost_of
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.signals import CheckpointRequested
from dipeo_server.domains.execution.snapshot import document_of, restored
from dipeo_server.errors import ExecutionFinished
from tests.builders import Story

T = CheckpointTrigger
EVERY: CheckpointPolicy = (T.EVERY_STEP,)


def story(text: str, policy: CheckpointPolicy, **options: Any) -> Story:
    return Story(text, wish={"checkpoints": policy}, **options)


def triggers(told: Story) -> list[CheckpointTrigger]:
    """What checkpoints were taken for, in order."""
    found = (recorded.event for recorded in told.log)
    return [event.trigger for event in found if isinstance(event, CheckpointSaved)]


def chain(count: int) -> str:
    return " -> ".join(map(key, range(count)))


def key(number: int) -> str:
    """The first node of a chain is a start, all others are pure."""
    return f"q{number}" if number else "s"


def walk(told: Story, count: int) -> list[TakenCheckpoint]:
    """Run a chain of so many nodes; the checkpoints that were taken."""
    for number in range(count):
        told.returns(key(number), f"value {number}")
    return told.machine.taken()


# --- policies -------------------------------------------------------------------------------------


def test_presets_are_sets_of_triggers() -> None:
    """004-46."""
    conservative = {T.BARRIER_RESOLVED, T.HUMAN_DECISION, T.EXECUTION_COMPLETED}
    assert set(PRESETS[CheckpointPreset.CONSERVATIVE]) == conservative
    minimal = {T.BARRIER_RESOLVED, T.EXECUTION_COMPLETED}
    assert set(PRESETS[CheckpointPreset.MINIMAL]) == minimal
    assert set(PRESETS[CheckpointPreset.MANUAL]) == {T.ON_REQUEST}


def test_without_a_policy_none_is_taken() -> None:
    told = Story("s -> a -> e")
    for key in "sae":
        told.returns(key)
    assert told.state.status.is_terminal
    assert triggers(told) == []


@pytest.mark.parametrize("preset", [CheckpointPreset.CONSERVATIVE, CheckpointPreset.MINIMAL])
def test_one_is_taken_right_before_the_end_and_told_in_one_breath(
    preset: CheckpointPreset,
) -> None:
    told = story("s -> e", PRESETS[preset])
    told.returns("s")
    last = told.returns("e")
    assert last[-2:] == ["CheckpointSaved", "ExecutionCompleted"]
    saved = told.event("CheckpointSaved")
    assert (saved.at, saved.trigger) == (told.state.last_seq - 2, T.EXECUTION_COMPLETED)


def test_failed_and_aborted_runs_have_one_before_their_end() -> None:
    failed = story("s -> a", PRESETS[CheckpointPreset.MINIMAL])
    failed.returns("s")
    assert failed.raises("a")[-2:] == ["CheckpointSaved", "ExecutionFailed"]
    aborted = story("s -> g", PRESETS[CheckpointPreset.MINIMAL])
    aborted.returns("s")
    aborted.asks("g")
    assert aborted.aborts()[-2:] == ["CheckpointSaved", "ExecutionAborted"]


def test_a_barrier_that_is_resolved_is_kept_and_one_that_waits_is_durable_before() -> None:
    """004-46, 004-W8: what waits is in the log before anybody is told; its end is a checkpoint."""
    told = story("s -> g.ok -> b -> d", PRESETS[CheckpointPreset.MINIMAL])
    told.returns("s")
    asked = told.asks("g")
    assert "BarrierWaiting" in asked
    assert "CheckpointSaved" not in asked
    after = told.decides("g", BarrierAction.APPROVE)
    assert after[-1] == "CheckpointSaved"
    assert triggers(told) == [T.BARRIER_RESOLVED]
    assert told.running() == ["b"]  # Past the barrier: its result is in.


def test_a_barrier_that_times_out_is_kept_as_well() -> None:
    told = story("s -> g.ok -> b; g.no -> d", PRESETS[CheckpointPreset.MINIMAL])
    told.returns("s")
    told.asks("g", timeout=60.0)
    assert told.fires("g")[-1] == "CheckpointSaved"
    assert triggers(told) == [T.BARRIER_RESOLVED]


def test_whatever_a_person_does_is_a_human_decision() -> None:
    """004-W12: the trigger is raised by decisions, controls and interventions."""
    told = story("s -> a -> b", (T.HUMAN_DECISION,))
    assert told.pauses()[-1] == "CheckpointSaved"
    assert told.resumes()[-1] == "CheckpointSaved"
    told.returns("s")
    assert told.pauses(is_by_parent=True)[-1] != "CheckpointSaved"
    assert triggers(told) == [T.HUMAN_DECISION, T.HUMAN_DECISION]


def test_manual_means_on_request_alone() -> None:
    """004-W9: asking works with any policy, and takes one only when somebody asks."""
    told = story("s -> a -> e", PRESETS[CheckpointPreset.MANUAL])
    told.returns("s")
    assert triggers(told) == []
    assert told.tell(CheckpointRequested("ann")) == ["CheckpointSaved"]
    assert told.tell(CheckpointRequested("ann")) == []  # Nothing has happened since.
    told.returns("a")
    told.returns("e")
    assert triggers(told) == [T.ON_REQUEST]
    with pytest.raises(ExecutionFinished):
        told.tell(CheckpointRequested("ann"))


def test_every_step_is_every_end_of_a_node() -> None:
    told = story(chain(5), EVERY)
    taken = walk(told, 5)
    assert triggers(told) == [T.EVERY_STEP] * 5
    assert [each.checkpoint.next_node for each in taken] == ["q1", "q2", "q3", "q4", COMPLETE]


# --- adaptive -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seconds, tokens, node, is_due",
    [
        (0.0, 0, "q1", False),
        (0.099, 0, "q1", False),
        (0.100, 0, "q1", True),
        (0.0, 99, "q1", False),
        (0.0, 100, "q1", True),
        (0.05, 50, "q1", True),
        (0.0, 0, "x1", True),
    ],
)
def test_adaptive_weighs_time_tokens_and_effects(
    seconds: float, tokens: int, node: str, *, is_due: bool
) -> None:
    """004-47: 1 for a millisecond, 1,000 for a thousand tokens, 10,000 for an effect."""
    told = story(f"s -> {node} -> e", (T.ADAPTIVE,))
    told.returns("s")
    told.wait(seconds)
    told.returns(node, usage=TokenUsage(input=tokens))
    assert triggers(told) == [T.ADAPTIVE] * is_due


def test_adaptive_adds_up_and_begins_anew() -> None:
    """004-47"""
    told = story(chain(6), (T.ADAPTIVE,))
    for number in range(6):
        told.wait(0.04)
        told.returns(key(number))
    assert triggers(told) == [T.ADAPTIVE, T.ADAPTIVE]
    assert told.state.unsaved == 0.0


def test_a_checkpoint_has_the_result_it_was_taken_for_and_points_past_it() -> None:
    """004-W10: the node's changes are in, and what comes next is another node."""
    told = story("s -> x1 -> a -> e", (T.ADAPTIVE,))
    told.returns("s")
    told.returns("x1", "done", puts={"k": 7})
    (taken,) = told.machine.taken()
    document = document_of([taken.payload], taken.checkpoint.content_hash)
    state = restored(document, told.state.diagram, {})
    assert state.variables == {"k": 7}
    assert state.outputs["x1"].body == "done"
    assert taken.checkpoint.next_node == "a"


def test_what_a_node_took_is_told_by_its_state() -> None:
    """004-25: duration in ms, cost in tokens, and whether it has effects."""
    told = Story("s -> x1 -> q1 -> e")
    told.returns("s")
    told.wait(0.25)
    told.returns("x1", usage=TokenUsage(input=400, output=100))
    nodes, states = told.state.diagram.nodes, told.state.nodes
    cost = cost_of(nodes[1], states[1])
    assert (cost.duration_ms, cost.token_cost, cost.has_side_effects) == (250.0, 0.5, True)
    assert cost.weighed(CheckpointScore()) == 250 + 500 + 10_000
    assert cost_of(nodes[2], states[2]).weighed(CheckpointScore()) == 0  # It has not ended.


# --- what is kept ---------------------------------------------------------------------------------


def test_a_checkpoint_tells_of_itself() -> None:
    """004-49"""
    told = story(chain(2), EVERY)
    told.returns("s")
    (taken,) = told.machine.taken()
    known, saved = taken.checkpoint, told.event("CheckpointSaved")
    assert (saved.checkpoint_id, saved.at, saved.trigger) == (known.id, known.at, known.trigger)
    assert (saved.size_bytes, saved.content_hash) == (len(taken.payload), known.content_hash)
    assert known.graph_hash == told.state.diagram.content_hash
    assert (known.next_node, known.created_at) == ("q1", told.now)
    assert place_of(known.id) == (ExecutionID("x"), known.at)


@pytest.mark.parametrize(
    "text", ["", "checkpoint_", "checkpoint_x", "checkpoint__3", "barrier_x_3"]
)
def test_what_is_no_id_of_a_checkpoint_names_nothing(text: str) -> None:
    assert place_of(text) is None
    assert place_of(checkpoint_id(ExecutionID("exec_0_a"), Seq(12))) == ("exec_0_a", 12)


def test_behind_twenty_differences_a_whole_one_is_taken() -> None:
    """004-48, 004-W11: each difference is one to the state that was kept before it."""
    count = 50
    told = story(chain(count), EVERY)
    taken = walk(told, count)
    bases = [
        place for place, each in enumerate(taken) if each.checkpoint.base == each.checkpoint.at
    ]
    assert bases == [0, 21, 42]
    parts: list[bytes] = []
    for each in taken:
        is_base = each.checkpoint.base == each.checkpoint.at
        parts = [each.payload] if is_base else [*parts, each.payload]
        document = document_of(parts, each.checkpoint.content_hash)
        assert len(document["state"]["nodes"]) == count
    assert max(len(each.payload) for each in taken[1:21]) * 5 < len(taken[21].payload)


def test_after_a_restart_the_next_one_is_whole() -> None:
    told = story(chain(6), EVERY)
    for number in range(3):
        told.returns(key(number))
    told.restarts()
    told.returns("q3")
    (taken,) = told.machine.taken()
    assert taken.checkpoint.base == taken.checkpoint.at


def test_a_checkpoint_that_fails_is_told_and_fails_nothing() -> None:
    """004-W12"""
    told = story("s -> q1", EVERY)
    names = told.returns("s", object())
    assert names[-1] == "CheckpointFailed"
    failed = told.event("CheckpointFailed")
    assert failed.trigger is T.EVERY_STEP
    assert "TypeError" in failed.message
    assert told.machine.taken() == []
    assert told.running() == ["q1"]
