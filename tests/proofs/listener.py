"""A client that follows runs over one socket, and remembers every event that it was told."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.proofs.nonces import nonces

FOLLOW = """subscription($id: ID!, $after: Sequence) {
  executionEvents(executionId: $id, after: $after) {
    __typename
    ... on ExecutionEvent { sequence }
    ... on NodeStarted { nodeKey occurrence attempt }
    ... on NodeCompleted { nodeKey occurrence attempt output { body } }
    ... on ResyncRequired { reason } } }"""


@dataclass(frozen=True)
class Heard:
    """What was told of an event: its GraphQL type, node and nonces."""

    type: str
    node: str | None
    nonces: frozenset[str]


@dataclass
class Hearsay:
    """Everything that subscribers were told, over all lives of a server."""

    events: defaultdict[str, list[Heard]] = field(default_factory=lambda: defaultdict(list))
    ended: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def hear(self, execution: str, event: dict[str, Any]) -> None:
        """One event; each comes once, right behind the one before it."""
        known = self.events[execution]
        if event.get("sequence") != str(len(known) + 1):
            self.faults.append(f"{execution}: {event} came behind {len(known)}")
            return
        found = frozenset(nonces(event.get("output")))
        known.append(Heard(event["__typename"], event.get("nodeKey"), found))


class Listener:
    """One socket of one life; follows runs from where they were heard last."""

    def __init__(self, socket: ClientConnection, hearsay: Hearsay) -> None:
        self._socket = socket
        self._hearsay = hearsay
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    @asynccontextmanager
    async def at(cls, url: str, hearsay: Hearsay) -> AsyncIterator[Self]:
        """Listen to a life, as long as the block lasts.

        Raises OSError, WebSocketException when it has ended.
        """
        async with connect(
            url.replace("http", "ws", 1),
            subprotocols=[Subprotocol("graphql-transport-ws")],
            max_queue=None,
        ) as socket:
            await socket.send(json.dumps({"type": "connection_init"}))
            listener = cls(socket, hearsay)
            try:
                yield listener
            finally:
                await socket.close()
                await listener.heard_all()

    async def follow(self, execution_id: str) -> None:
        """Follow a run from now on. Raises WebSocketException when the life has ended."""
        variables = {"id": execution_id, "after": str(len(self._hearsay.events[execution_id]))}
        payload = {"query": FOLLOW, "variables": variables}
        message = {"id": execution_id, "type": "subscribe", "payload": payload}
        await self._socket.send(json.dumps(message))

    async def heard_all(self) -> None:
        """Wait until everything that has come is remembered."""
        await self._listening

    async def _listen(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                self._take(json.loads(await self._socket.recv()))

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "next":
                (event,) = message["payload"]["data"].values()
                self._hearsay.hear(message["id"], event)
            case "complete":
                self._hearsay.ended.add(message["id"])
            case "connection_ack":
                pass
            case _:
                self._hearsay.faults.append(str(message))
