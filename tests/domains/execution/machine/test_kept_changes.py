"""Checkpoints hold whatever changed variables: nodes, reducers, people and fallbacks."""

from __future__ import annotations

from typing import Any

from dipeo_server.domains.execution.checkpoint import CheckpointTrigger
from dipeo_server.domains.execution.delta import StateDelta
from dipeo_server.domains.execution.events import (
    BarrierAction,
    CheckpointSaved,
    Recorded,
    StateChanged,
)
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import Fallback, create_node_output
from dipeo_server.domains.execution.signals import NodeReturned
from dipeo_server.domains.execution.snapshot import document_of, restored
from dipeo_server.domains.execution.state import ExecutionState
from tests.builders import Story

T = CheckpointTrigger
TEXT = "s -> a -> g -> b -> d -> e; b -> f -> d"
EDGES = {"b>f": {"kind": "fallback"}}
REDUCERS = {"total": "add", "seen": "append"}


def told() -> tuple[Story, dict[str, Any]]:
    """A run with all of these changes, kept at every step and decision, and what came of it."""
    policy = (T.EVERY_STEP, T.BARRIER_RESOLVED)
    story = Story(TEXT, edges=EDGES, reducers=REDUCERS, wish={"checkpoints": policy})
    story.returns("s", puts={"total": 1, "seen": "s"})
    story.returns("a", puts={"total": 2, "seen": "a", "gone": True})
    story.asks("g")
    story.decides("g", BarrierAction.MODIFY, puts={"limit": 5, "total": 40})
    failing = Fallback("too dear", create_node_output({"default": None}))
    deltas = (StateDelta({"total": 3, "seen": "b"}, ("gone",)),)
    story.tell(NodeReturned(story.run_of("b"), failing, deltas))
    story.returns("f", puts={"seen": "f"})
    story.returns("d", puts={"total": 4})
    story.returns("e")
    return story, dict(story.state.variables)


def clean(state: ExecutionState) -> ExecutionState:
    state.touched.clear()
    return state


def test_what_barriers_fallbacks_and_reducers_change_is_in_every_checkpoint() -> None:
    """004-W11: what was put is kept as it was reduced, each difference behind its own base."""
    story, variables = told()
    assert variables["seen"] == ["s", "a", "b", "f"]
    assert variables["limit"] == 5
    assert "gone" not in variables
    taken = story.machine.taken()
    assert len(taken) >= 6
    parts: list[bytes] = []
    for each in taken:
        known = each.checkpoint
        parts = [each.payload] if known.base == known.at else [*parts, each.payload]
        document = document_of(parts, known.content_hash)
        state = restored(document, story.state.diagram, {})
        live = ExecutionMachine.replay(story.log[: known.at]).state
        assert clean(state) == clean(live), known.at
        assert behind(state, story.log[known.at :]) == variables


def behind(state: ExecutionState, log: list[Recorded]) -> dict[str, Any]:
    """The variables that a restored state comes to with the events behind it; none is reduced."""
    found = dict(state.variables)
    for recorded in log:
        event = recorded.event
        if isinstance(event, StateChanged):
            if event.is_deleted:
                found.pop(event.key)
            else:
                found[event.key] = event.value
    return found


def test_a_checkpoint_is_told_behind_what_it_holds() -> None:
    """004-W10, 004-W11."""
    story, _ = told()
    for recorded in story.log:
        if isinstance(recorded.event, CheckpointSaved):
            assert recorded.event.at == recorded.seq - 1
