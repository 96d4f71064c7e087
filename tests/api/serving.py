"""A real server on a free port, and the plainest clients for it: one HTTP, one WebSocket."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn
import websockets
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

from dipeo_server.api.context import ApiLimits, ApiServices
from dipeo_server.api.http import create_routes
from dipeo_server.app import backend
from dipeo_server.domains.execution.registry import HandlerRegistry
from dipeo_server.server import config_for, listen
from dipeo_server.settings import Settings

PROTOCOL = Subprotocol("graphql-transport-ws")

RUN = """
mutation ($input: RunDiagramInput!, $key: String) {
  runDiagram(input: $input, idempotencyKey: $key) {
    execution { id status lastSequence isActive }
    errors {
      __typename code message field hint
      ... on DiagramInvalid { problems { code severity message line column nodeKey } }
    }
  }
}
"""
EVENTS = """
subscription ($id: ID!, $after: Sequence, $nodeKeys: [String!]) {
  executionEvents(executionId: $id, after: $after, nodeKeys: $nodeKeys) {
    __typename
    ... on ExecutionEvent { sequence executionId timestamp traceId }
    ... on NodeStarted { nodeKey occurrence attempt spanId }
    ... on NodeCompleted { nodeKey occurrence attempt spanId duration ports output { body } }
    ... on NodeSkipped { nodeKey occurrence reason }
    ... on BarrierWaiting { nodeKey barrierId prompt }
    ... on ExecutionCompleted { duration observedErrors }
    ... on ResyncRequired { reason snapshot { id lastSequence nodeStates { nodeKey } } }
  }
}
"""


def light(*chains: str, **nodes: str) -> str:
    """A light document: `light("a -> b", a="start", b="transform")`; further fields after a `,`."""
    lines = ["version: light", "nodes:"]
    for label, text in nodes.items():
        type_, *fields = text.split(",", 1)
        more = f", {fields[0].strip()}" if fields else ""
        lines.append(f"  - {{label: {label}, type: {type_}{more}}}")
    lines.append("connections:")
    for chain in chains:
        stops = [stop.strip() for stop in chain.split("->")]
        lines.extend(f"  - {{from: {a}, to: {b}}}" for a, b in itertools.pairwise(stops))
    return "\n".join(lines)


STRAIGHT = light("begin -> work -> end", begin="start", work="transform", end="endpoint")
ASKING = light(
    "begin -> gate -> end", begin="start", gate="barrier, prompt: 'Go on?'", end="endpoint"
)


@dataclass
class Live:
    """A server that is running."""

    url: str
    services: ApiServices
    http: httpx.AsyncClient

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    async def answer(self, query: str, **variables: Any) -> dict[str, Any]:
        """The whole answer to an operation."""
        response = await self.http.post(self.url, json={"query": query, "variables": variables})
        found: dict[str, Any] = response.json()
        return found

    async def data(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer that has no errors."""
        answer = await self.answer(query, **variables)
        assert "errors" not in answer, answer["errors"]
        found: dict[str, Any] = answer["data"]
        return found

    async def run(self, content: str, *, key: str | None = None, **options: Any) -> dict[str, Any]:
        """The payload of runDiagram for a light document."""
        source = {"inline": {"name": "test", "content": content, "format": "LIGHT"}}
        wish = {"source": source, **options}
        payload: dict[str, Any] = (await self.data(RUN, input=wish, key=key))["runDiagram"]
        return payload

    async def started(self, content: str, **options: Any) -> str:
        """The id of a new run."""
        payload = await self.run(content, **options)
        assert payload["errors"] == [], payload["errors"]
        found: str = payload["execution"]["id"]
        return found

    async def follow(self, execution_id: str, **variables: Any) -> list[dict[str, Any]]:
        """Every event of a run until the subscription completes."""
        async with self.socket() as client:
            return await client.items(EVENTS, id=execution_id, **variables)

    async def ended(self, content: str, **options: Any) -> str:
        """The id of a new run, once it has ended."""
        execution_id = await self.started(content, **options)
        await self.follow(execution_id)
        return execution_id

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[Socket]:
        """A WebSocket behind its handshake."""
        async with self.raw_socket() as connection:
            client = Socket(connection)
            await client.send({"type": "connection_init"})
            assert await client.receive() == {"type": "connection_ack"}
            yield client

    def raw_socket(self, **options: Any) -> websockets.connect:
        """A WebSocket that has said nothing."""
        return websockets.connect(self.socket_url, subprotocols=[PROTOCOL], **options)


class Socket:
    """The client's side of graphql-transport-ws."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._ids = itertools.count(1)

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        text = await asyncio.wait_for(self.connection.recv(), 10)
        assert isinstance(text, str)
        found: dict[str, Any] = json.loads(text)
        return found

    async def subscribe(self, query: str, **variables: Any) -> str:
        """Begin an operation; gives its id."""
        id_ = str(next(self._ids))
        payload = {"query": query, "variables": variables}
        await self.send({"id": id_, "type": "subscribe", "payload": payload})
        return id_

    async def next(self, id_: str) -> dict[str, Any]:
        """The next item of an operation."""
        message = await self.receive()
        assert (message["type"], message["id"]) == ("next", id_), message
        [item] = message["payload"]["data"].values()
        found: dict[str, Any] = item
        return found

    async def items(self, query: str, **variables: Any) -> list[dict[str, Any]]:
        """All items of an operation, until it completes."""
        id_ = await self.subscribe(query, **variables)
        found: list[dict[str, Any]] = []
        while (message := await self.receive())["type"] == "next":
            [item] = message["payload"]["data"].values()
            found.append(item)
        assert message == {"id": id_, "type": "complete"}, message
        return found


class _Server(uvicorn.Server):
    """uvicorn, which says when it accepts."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepts = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepts.set()


@asynccontextmanager
async def serving(
    base_dir: Path,
    *,
    store: str = "memory:",
    limits: ApiLimits | None = None,
    registry: HandlerRegistry | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    **options: Any,
) -> AsyncIterator[Live]:
    """Serve on a free port, as `dipeo-server serve` does; `options` are further settings."""
    settings = Settings(base_dir=base_dir, store=store, **options)
    async with backend(settings, registry) as services, httpx.AsyncClient() as client:
        services = replace(services, limits=limits or services.limits, monotonic=monotonic)
        with listen("127.0.0.1", 0) as listening:
            port = listening.getsockname()[1]
            app = Starlette(routes=create_routes(services))
            told = services.limits
            server = _Server(config_for(app, told.socket_ping_seconds, told.head_seconds))
            serve = asyncio.create_task(server.serve(sockets=[listening]))
            try:
                await server.accepts.wait()
                yield Live(f"http://127.0.0.1:{port}/graphql", services, client)
            finally:
                await client.aclose()
                services.closing.set()
                server.should_exit = True
                await serve
