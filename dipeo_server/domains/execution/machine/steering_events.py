"""What people and limits do to a run, as changes of the state: the steering half of `evolve`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from dipeo_server.domains.execution.events import (
    BreakpointHit,
    BreakpointsChanged,
    EarlyDecisionChanged,
    ExecutionStatusChanged,
    Failure,
    LimitRaised,
)
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import EXECUTION_TRANSITIONS, ExecutionStatus

RUN_INDEX = -1
"""Stands for the run itself where commands go by the index of a node."""


def status_changed(state: ExecutionState, event: ExecutionStatusChanged, at: datetime) -> None:
    """The run pauses, goes on, waits; or it begins to stop, or to take one step."""
    if event.ending is not None:
        state.ending = event.ending
        state.ending_reason, state.ending_actor = event.reason, event.actor
        state.touched.update(state.running, state.waiting)
        state.touched.add(RUN_INDEX)
        return
    _move(state, event.after, at)
    is_paused = event.after is ExecutionStatus.PAUSED
    state.pause_reason = event.reason if is_paused else None
    state.pause_cause = event.cause if is_paused else None
    state.holds += is_paused
    state.unkept = None if is_paused else state.unkept
    state.stepping = event.step
    # A pause holds back due retries; leaving it lets their timers run again.
    state.touched.update(state.waiting)


def ended(
    state: ExecutionState, status: ExecutionStatus, error: Failure | None, at: datetime
) -> None:
    """The run is over."""
    _move(state, status, at)
    state.error = error
    state.ended_at = at
    state.unkept = None
    state.touched.update(state.running, state.waiting)


def _move(state: ExecutionState, after: ExecutionStatus, at: datetime) -> None:
    if after not in EXECUTION_TRANSITIONS[state.status]:
        raise AssertionError(f"an execution cannot go from {state.status} to {after}")
    if state.busy_since is not None:
        state.busy_seconds += (at - state.busy_since).total_seconds()
    state.busy_since = at if after is ExecutionStatus.RUNNING else None
    state.status = after
    if state.budget.max_seconds is not None:
        state.touched.add(RUN_INDEX)


def limit_raised(state: ExecutionState, event: LimitRaised) -> None:
    """The run may take more steps, or spend more."""
    state.max_steps = event.max_steps
    if event.budget is not None:
        state.budget = event.budget
        state.touched.add(RUN_INDEX)


def breakpoint_changed(state: ExecutionState, event: BreakpointsChanged | BreakpointHit) -> None:
    """There are other breakpoints, or one was hit, which counts once for each visit."""
    match event:
        case BreakpointsChanged(breakpoints=breakpoints):
            state.breakpoints = breakpoints
        case BreakpointHit(node_run=run, when=when):
            state.hits.add((state.diagram.index_of[run.node], run.occurrence, when))


def early_decision_changed(state: ExecutionState, event: EarlyDecisionChanged) -> None:
    """The book of decisions that were made ahead of time."""
    match event.change:
        case "recorded":
            if event.decision is not None:
                state.early_decisions[event.decision_id] = event.decision
                state.decisions_made += 1
        case "used":
            decision = state.early_decisions[event.decision_id]
            if decision.uses_left == 1:
                del state.early_decisions[decision.id]
            elif decision.uses_left is not None:
                left = replace(decision, uses_left=decision.uses_left - 1)
                state.early_decisions[decision.id] = left
        case "revoked" | "expired" | "unused":
            state.early_decisions.pop(event.decision_id, None)
        case _ as unreachable:
            assert_never(unreachable)
