"""Messages from outside to a graph: each is a run of its own that ends at once, so it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.domains.diagram.compile import compile_diagram
from dipeo_server.domains.diagram.model import DomainDiagram, DomainNode
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.execution.events import ExecutionStarted
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.runtime.plain_json import plain_json

HEAD: Final = "__message_head__"
"""The variable of a run that counts the messages that it has taken."""

_PAYLOAD: Final = "payload"


@dataclass(frozen=True, slots=True)
class Message:
    """What was pushed; `index` counts from 0."""

    index: int
    payload: Any


class MessageQueue:
    """The messages of one graph, in the order in which they were pushed; none is ever removed."""

    def __init__(self, graph_id: ExecutionID, store: StateStore) -> None:
        self._graph_id = graph_id
        self._store = store
        self._length = 0

    async def load(self) -> None:
        """Count what is stored. Raises StorageError."""
        while await self._store.summary(self._id_of(self._length)) is not None:
            self._length += 1

    async def push(self, runner: LocalRunner, specs: Mapping[str, NodeSpec], payload: Any) -> int:
        """Keep a message; its index. One at a time. Raises StorageError."""
        index = self._length
        diagram = DomainDiagram((DomainNode("message", "message", "start", "message", {}),), ())
        request = StartExecution(
            compile_diagram(diagram, specs).executable,
            plain_json({_PAYLOAD: payload}),
            execution_id=self._id_of(index),
        )
        await runner.start(request)
        self._length = index + 1
        return index

    async def at(self, index: int) -> Message | None:
        """The message at that place, or None. Raises StorageError."""
        if index >= self._length:
            return None
        [first, *_] = await self._store.read(self._id_of(index), limit=1)
        assert isinstance(first.event, ExecutionStarted)
        return Message(index, first.event.variables[_PAYLOAD])

    def _id_of(self, index: int) -> ExecutionID:
        return ExecutionID(f"{self._graph_id}.message.{index}")
