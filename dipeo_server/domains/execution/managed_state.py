"""A state that keeps and fetches itself by way of its manager (source document 002)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.saved_state import SavedState
from dipeo_server.domains.execution.state import NodeState
from dipeo_server.domains.execution.state_manager import ExecutionStateManager
from dipeo_server.domains.execution.status import ExecutionStatus


class ExecutionStateProtocol(Protocol):
    """What the state of an execution tells, and how it is kept."""

    @property
    def execution_id(self) -> ExecutionID:
        """Whose state it is."""

    @property
    def status(self) -> ExecutionStatus:
        """Where the run stands."""

    @property
    def node_states(self) -> Mapping[str, NodeState]:
        """How each node stands, by its key."""

    @property
    def start_time(self) -> datetime | None:
        """When it began; None before it was kept."""

    @property
    def end_time(self) -> datetime | None:
        """When it ended, if it has."""

    async def persist(self) -> None:
        """Keep what is new in it."""

    async def restore(self) -> None:
        """Fetch what is kept."""


class ManagedState:
    """The ExecutionStateProtocol over a manager: what it tells is what was last kept or fetched.

    Set `value` to what is to be kept next, such as `context.to_state()`.
    """

    def __init__(self, manager: ExecutionStateManager, value: SavedState) -> None:
        self._manager = manager
        self.value = value

    @property
    def execution_id(self) -> ExecutionID:
        """Whose state it is."""
        return self.value.execution_id

    @property
    def status(self) -> ExecutionStatus:
        """Where the run stands."""
        return self.value.status

    @property
    def node_states(self) -> Mapping[str, NodeState]:
        """How each node stands, by its key."""
        return self.value.node_states

    @property
    def start_time(self) -> datetime | None:
        """When it began; None before it was kept."""
        return self.value.start_time

    @property
    def end_time(self) -> datetime | None:
        """When it ended, if it has."""
        return self.value.end_time

    async def persist(self) -> None:
        """Keep what is new in it, in one piece. Raises InvalidState, StorageError."""
        await self._manager.save_state(self.execution_id, self.value)
        await self.restore()

    async def restore(self) -> None:
        """Fetch what is kept, whoever kept it. Raises NotFound, StorageError."""
        self.value = await self._manager.load_state(self.execution_id)
