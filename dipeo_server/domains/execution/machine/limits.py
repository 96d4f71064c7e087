"""Rules: what a run may spend (steps, tokens, time), and the pause when it has."""

from __future__ import annotations

from datetime import datetime, timedelta

from dipeo_server.domains.execution.events import (
    Budget,
    Event,
    ExecutionStatusChanged,
    LimitRaised,
    PauseCause,
)
from dipeo_server.domains.execution.signals import ResumeRequested
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import InvalidInput


def exceeded(state: ExecutionState) -> PauseCause | None:
    """The limit that keeps further nodes from starting, if there is one."""
    if state.steps >= state.max_steps:
        return PauseCause.MAX_STEPS
    budget = state.budget
    if budget.max_tokens is not None and state.token_usage.total >= budget.max_tokens:
        return PauseCause.MAX_TOKENS
    if budget.max_seconds is None or state.last_at is None:
        return None
    is_over = busy_seconds(state, state.last_at) >= budget.max_seconds
    return PauseCause.MAX_SECONDS if is_over else None


def busy_seconds(state: ExecutionState, now: datetime) -> float:
    """How long the run has been RUNNING until now."""
    since = state.busy_since
    return state.busy_seconds + (0.0 if since is None else (now - since).total_seconds())


def deadline(state: ExecutionState) -> datetime | None:
    """When the time that the run may be RUNNING has passed, if it goes on running."""
    budget, since = state.budget.max_seconds, state.busy_since
    if budget is None or since is None or state.ending is not None:
        return None
    return since + timedelta(seconds=max(0.0, budget - state.busy_seconds))


def time_passed(state: ExecutionState, now: datetime) -> tuple[Event, ...]:
    """The runner's timer rang; stale unless the time really has passed."""
    due = deadline(state)
    if due is None or now < due or state.is_paused:
        return ()
    paused, cause = ExecutionStatus.PAUSED, PauseCause.MAX_SECONDS
    return (ExecutionStatusChanged(state.status, paused, reason=cause.value, cause=cause),)


def checked(budget: Budget) -> Budget:
    """The budget. Raises InvalidInput for one that allows nothing."""
    if budget.max_tokens is not None and budget.max_tokens < 1:
        raise InvalidInput("maxTokens must be at least 1.", field=("maxTokens",))
    if budget.max_seconds is not None and budget.max_seconds <= 0:
        raise InvalidInput("maxTime must be more than nothing.", field=("maxTime",))
    return budget


def raised(state: ExecutionState, signal: ResumeRequested) -> tuple[Event, ...]:
    """The limits with which a run goes on. Raises InvalidInput where they are used up."""
    limit = state.max_steps if signal.max_steps is None else signal.max_steps
    if limit <= state.steps:
        message = f"The run has taken {state.steps} steps and its limit is {limit}."
        hint = f"Pass maxSteps greater than {state.steps}."
        raise InvalidInput(message, field=("maxSteps",), hint=hint)
    budget = _merged(state.budget, checked(signal.budget or Budget()))
    used = state.token_usage.total
    if budget.max_tokens is not None and budget.max_tokens <= used:
        message = f"The run has used {used} tokens and its limit is {budget.max_tokens}."
        raise InvalidInput(message, field=("maxTokens",), hint=f"Pass maxTokens above {used}.")
    if budget.max_seconds is not None and budget.max_seconds <= state.busy_seconds:
        spent = f"{state.busy_seconds:.1f} s"
        message = f"The run has run for {spent} and its limit is {budget.max_seconds:g} s."
        raise InvalidInput(message, field=("maxTime",), hint=f"Pass maxTime above {spent}.")
    if limit == state.max_steps and budget == state.budget:
        return ()
    changed = None if budget == state.budget else budget
    return (LimitRaised(limit, actor=signal.actor, budget=changed),)


def _merged(old: Budget, new: Budget) -> Budget:
    """What is given anew counts, everything else stays."""
    tokens = old.max_tokens if new.max_tokens is None else new.max_tokens
    seconds = old.max_seconds if new.max_seconds is None else new.max_seconds
    return Budget(tokens, seconds)
