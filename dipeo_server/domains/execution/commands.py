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


Command: TypeAlias = RunNode | SetTimer
CommandKey: TypeAlias = tuple[str, NodeRun]
