"""Work that should be in flight, given the state; each with a stable key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from dipeo_server.domains.execution.ids import NodeRun


@dataclass(frozen=True, slots=True)
class RunNode:
    """The handler of this NodeRun should be running."""

    node_run: NodeRun

    @property
    def key(self) -> tuple[str, NodeRun]:
        """Stable: the same work has the same key."""
        return ("run", self.node_run)


@dataclass(frozen=True, slots=True)
class SetTimer:
    """TimerFired should be sent at `due_at` for this NodeRun."""

    node_run: NodeRun
    due_at: datetime

    @property
    def key(self) -> tuple[str, NodeRun]:
        """Stable: the same work has the same key."""
        return ("timer", self.node_run)


@dataclass(frozen=True, slots=True)
class SetBudgetTimer:
    """BudgetTimePassed should be sent at `due_at`: the run may not be RUNNING for longer."""

    due_at: datetime

    @property
    def node_run(self) -> NodeRun:
        """It belongs to no node."""
        return THE_RUN

    @property
    def key(self) -> tuple[str, datetime]:
        """Another one for each deadline."""
        return ("budget", self.due_at)


THE_RUN = NodeRun("", 0, 0)
"""Stands where a command that is for the run itself has to name a visit."""

Command: TypeAlias = RunNode | SetTimer | SetBudgetTimer
CommandKey: TypeAlias = tuple[str, NodeRun | datetime]
