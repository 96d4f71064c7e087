"""state → the commands that should be in flight now; nothing else says what to do."""

from __future__ import annotations

from collections.abc import Mapping

from dipeo_server.domains.execution.commands import (
    Command,
    CommandKey,
    RunNode,
    SetBudgetTimer,
    SetTimer,
)
from dipeo_server.domains.execution.machine.limits import deadline
from dipeo_server.domains.execution.machine.steering_events import RUN_INDEX
from dipeo_server.domains.execution.state import ExecutionState, WaitKind


def command_for(state: ExecutionState, index: int) -> Command | None:
    """What should be in flight for one node (`RUN_INDEX`: for the run itself).

    Nothing is once the run has ended or is ending.
    """
    if state.status.is_terminal or state.ending is not None:
        return None
    if index == RUN_INDEX:
        due_at = deadline(state)
        return None if due_at is None else SetBudgetTimer(due_at)
    run = state.running.get(index)
    if run is not None:
        return RunNode(run)
    waiting = state.waiting.get(index)
    if waiting is None or waiting.due_at is None:
        return None
    if waiting.kind is WaitKind.RETRY and state.is_paused:
        return None
    return SetTimer(waiting.node_run, waiting.due_at)


def outstanding(state: ExecutionState) -> Mapping[CommandKey, Command]:
    """Every command that should be in flight, by key."""
    indexes = [*state.running, *state.waiting, RUN_INDEX]
    commands = (command_for(state, index) for index in indexes)
    return {command.key: command for command in commands if command is not None}
