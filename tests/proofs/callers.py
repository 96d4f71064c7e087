"""Clients that ask over HTTP, or many things at once over one socket; no answer is None."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

SECONDS_MAX = 30
PROTOCOL = Subprotocol("graphql-transport-ws")

Answer = dict[str, Any] | None
"""What was asked for, or None where the server died over it."""


class Caller(Protocol):
    """Somebody who asks a server."""

    async def ask(self, query: str, **variables: Any) -> Answer:
        """The one field of the answer's `data`."""
        ...


def _field(result: dict[str, Any]) -> dict[str, Any]:
    assert "errors" not in result, result
    (found,) = result["data"].values()
    assert isinstance(found, dict), result
    return found


class HttpCaller:
    """Asks over HTTP, over several connections where it asks several things at once."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._url = url
        self._http = http

    async def ask(self, query: str, **variables: Any) -> Answer:
        """The one field of the answer's `data`."""
        try:
            answer = await self._http.post(self._url, json={"query": query, "variables": variables})
        except httpx.HTTPError:
            return None
        return _field(answer.json())


class SocketCaller:
    """Asks over one WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._open: dict[str, asyncio.Future[Answer]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    @asynccontextmanager
    async def at(cls, url: str) -> AsyncIterator[Self]:
        """A socket as long as the block lasts. Raises OSError, InvalidHandshake."""
        async with connect(
            url.replace("http", "ws", 1), subprotocols=[PROTOCOL], max_queue=None
        ) as socket:
            await socket.send(json.dumps({"type": "connection_init"}))
            caller = cls(socket)
            try:
                yield caller
            finally:
                await socket.close()
                await caller._reading

    async def ask(self, query: str, **variables: Any) -> Answer:
        """The one field of the answer's `data`."""
        number = str(next(self._numbers))
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        payload = {"query": query, "variables": variables}
        try:
            await self._socket.send(
                json.dumps({"id": number, "type": "subscribe", "payload": payload})
            )
        except ConnectionClosed:
            return None
        async with asyncio.timeout(SECONDS_MAX):
            return await answer

    async def _read(self) -> None:
        try:
            while True:
                self._take(json.loads(await self._socket.recv()))
        except ConnectionClosed:
            for answer in self._open.values():
                if not answer.done():
                    answer.set_result(None)

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "next":
                answer = self._open.pop(message["id"])
                answer.set_result(_field(message["payload"]))
            case "connection_ack" | "complete":
                pass
            case _:
                raise AssertionError(message)


UNREACHABLE = (OSError, InvalidHandshake, ConnectionClosed)
"""What happens to a socket whose server has died."""
