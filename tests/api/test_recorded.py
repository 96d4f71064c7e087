"""Recorded facts as clients get them: interventions, and groups of branches."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dipeo_server.api.history import Before
from dipeo_server.api.ids import Kind, PartID, decode
from dipeo_server.api.types.event_bases import ExecutionEvent
from dipeo_server.api.types.recorded import Translator, node_key_of
from dipeo_server.domains.execution import events as facts
from dipeo_server.domains.execution.envelope import EnvelopeFactory
from dipeo_server.domains.execution.events import BarrierAction, Event, PauseCause, Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.interventions import (
    Breakpoint,
    BreakpointWhen,
    Budget,
    EarlyDecision,
)
from dipeo_server.domains.execution.status import ExecutionStatus
from tests.builders import NOON

RUN = ExecutionID("exec_0_abc")
VISIT = NodeRun("work", 2, 3)
MADE = EarlyDecision("d1", "gate", None, BarrierAction.APPROVE)
FAILURE = facts.Failure("CODE_ERROR", "It broke.", "work")


def told(event: Event) -> ExecutionEvent:
    recorded = Recorded(Seq(7), NOON, event)
    return Translator(RUN).translate(recorded, Before(is_complete=True))


@pytest.mark.parametrize(
    "event, node, expected",
    [
        (
            facts.NodeOutputSet(
                VISIT, EnvelopeFactory.create("work", 5), ("default",), actor="ann"
            ),
            "work",
            {
                "node_key": "work",
                "occurrence": 2,
                "attempt": 3,
                "ports": ["default"],
                "reason": "by_user",
                "actor": "ann",
            },
        ),
        (
            facts.ParallelStarted(VISIT, ("left", "right")),
            "work",
            {"node_key": "work", "occurrence": 2, "branches": ["left", "right"]},
        ),
        (
            facts.BranchCompleted(VISIT, "left", 1.5),
            "work",
            {
                "branch": "left",
                "is_success": True,
                "duration": timedelta(seconds=1.5),
                "error": None,
            },
        ),
        (
            facts.BranchCompleted(VISIT, "right", 0.5, FAILURE),
            "work",
            {"branch": "right", "is_success": False, "duration": timedelta(seconds=0.5)},
        ),
        (facts.ParallelCompleted(VISIT, 2.0), "work", {"duration": timedelta(seconds=2)}),
        (
            facts.EarlyDecisionChanged("d1", "gate", None, "recorded", MADE, "ann"),
            "gate",
            {"node_key": "gate", "occurrence": None, "change": "recorded", "actor": "ann"},
        ),
        (
            facts.BreakpointHit(VISIT, BreakpointWhen.AFTER),
            "work",
            {"node_key": "work", "occurrence": 2, "when": "AFTER"},
        ),
        (
            facts.LimitRaised(20, "ann", Budget(100, 60.0)),
            None,
            {"max_steps": 20, "max_tokens": 100, "max_time": timedelta(minutes=1)},
        ),
        (
            facts.LimitRaised(20, "ann"),
            None,
            {"max_steps": 20, "max_tokens": None, "max_time": None, "actor": "ann"},
        ),
        (
            facts.ExecutionStatusChanged(
                ExecutionStatus.RUNNING,
                ExecutionStatus.PAUSED,
                "breakpoint before work",
                cause=PauseCause.BREAKPOINT,
            ),
            None,
            {"cause": "breakpoint", "reason": "breakpoint before work"},
        ),
        (
            facts.NodeSkipped("work", "by_user", "ann", "Not needed."),
            "work",
            {"node_key": "work", "reason": "by_user", "actor": "ann", "comment": "Not needed."},
        ),
        (
            facts.NodeRetryScheduled(VISIT, NOON, FAILURE, "ann"),
            "work",
            {"node_key": "work", "attempt": 3, "due_at": NOON, "actor": "ann"},
        ),
    ],
)
def test_an_event_has_what_its_fact_has(
    event: Event, node: str | None, expected: dict[str, Any]
) -> None:
    found: Any = told(event)
    assert type(found).__name__ == type(event).__name__
    assert (found.sequence, found.execution_id, found.timestamp) == (7, RUN, NOON)
    assert {name: getattr(found, name) for name in expected} == expected
    assert node_key_of(Recorded(Seq(7), NOON, event)) == node


def test_a_branch_that_failed_says_why() -> None:
    found: Any = told(facts.BranchCompleted(VISIT, "right", 0.5, FAILURE))
    assert (found.error.code, found.error.message) == ("CODE_ERROR", "It broke.")


def test_breakpoints_are_told_as_they_are_now() -> None:
    changed = facts.BreakpointsChanged((Breakpoint("work", BreakpointWhen.AFTER, "x > 1"),), "ann")
    found: Any = told(changed)
    [only] = found.breakpoints
    assert (only.node_key, only.when, only.condition) == ("work", BreakpointWhen.AFTER, "x > 1")
    assert found.actor == "ann"


def test_a_decision_ahead_of_time_has_an_id_that_names_its_run() -> None:
    found: Any = told(facts.EarlyDecisionChanged("d1", "gate", 2, "used"))
    assert decode(found.decision_id) == PartID(Kind.DECISION, RUN, "d1")
