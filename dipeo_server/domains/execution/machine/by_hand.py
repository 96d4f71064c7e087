"""Rules: a person runs a failed node again, skips a node, or gives its result."""

from __future__ import annotations

from datetime import datetime

from dipeo_server.domains.execution.events import Event
from dipeo_server.domains.execution.signals import OutputGiven, RetryRequested, SkipRequested
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.errors import InvalidState


def retry(state: ExecutionState, signal: RetryRequested, now: datetime) -> tuple[Event, ...]:
    """Run a failed node again."""
    raise InvalidState(f"{state.id}: {signal.node!r} cannot be run again ({now}).")


def skip(state: ExecutionState, signal: SkipRequested) -> tuple[Event, ...]:
    """Do not run a node."""
    raise InvalidState(f"{state.id}: {signal.node!r} cannot be skipped.")


def give_output(state: ExecutionState, signal: OutputGiven, now: datetime) -> tuple[Event, ...]:
    """Take this as a node's result."""
    raise InvalidState(f"{state.id}: {signal.node!r} cannot be given a result ({now}).")
