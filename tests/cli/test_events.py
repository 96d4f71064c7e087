"""Following a run over connections that are lost: each event once, in order, or a clear error.

The other side is a small server that speaks just enough of the protocol to end connections at will.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from dipeo_server.cli.client import SUBPROTOCOL, GraphQLClient, RequestRefused, ServerUnreachable
from dipeo_server.cli.events import barriers_as_they_come, events
from dipeo_server.cli.telling import Event

LAST = 9


def event(sequence: int) -> dict[str, Any]:
    kind = "ExecutionCompleted" if sequence == LAST else "CheckpointSaved"
    return {"__typename": kind, "sequence": str(sequence)}


class Flaky:
    """Serves a log of nine events; each connection ends as the next entry of `plan` says.

    `(count, code)`: after so many events with that close code; code 0 = cut without a word,
    code 1 = the subscription is completed, code 2 = it is answered with an error.
    """

    def __init__(self, plan: Sequence[tuple[int, int]]) -> None:
        self._plan = list(plan)
        self.asked: list[str] = []

    async def speak(self, socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send('{"type": "connection_ack"}')
        await socket.send('{"type": "ping"}')
        message = json.loads(await socket.recv())
        if message["type"] == "pong":
            message = json.loads(await socket.recv())
        after = message["payload"]["variables"]["after"]
        self.asked.append(after)
        count, code = self._plan.pop(0) if self._plan else (LAST, 1)
        for sequence in range(int(after) + 1, min(int(after) + count, LAST) + 1):
            await self._next(socket, event(sequence))
        await self._end(socket, code)

    async def _next(self, socket: ServerConnection, told: dict[str, Any]) -> None:
        payload = {"data": {"executionEvents": told}}
        await socket.send(json.dumps({"id": "1", "type": "next", "payload": payload}))

    async def _end(self, socket: ServerConnection, code: int) -> None:
        match code:
            case 0:
                socket.transport.abort()
            case 1:
                await socket.send('{"id": "1", "type": "complete"}')
            case 2:
                extensions = {"code": "NOT_FOUND", "hint": "look at the list"}
                error = {"message": "no such run", "extensions": extensions}
                await socket.send(json.dumps({"id": "1", "type": "error", "payload": [error]}))
            case _:
                await socket.close(code, "planned")


@asynccontextmanager
async def flaky(*plan: tuple[int, int]) -> AsyncIterator[tuple[GraphQLClient, Flaky]]:
    server = Flaky(plan)
    async with serve(server.speak, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        async with GraphQLClient(f"http://127.0.0.1:{port}") as client:
            yield client, server


async def followed(client: GraphQLClient) -> list[Event]:
    return [each async for each in events(client, "exec_0_x")]


async def test_a_lost_connection_loses_and_repeats_nothing() -> None:
    async with flaky((2, 1012), (3, 0), (1, 1013)) as (client, server):
        found = await followed(client)
    assert [each["sequence"] for each in found] == [str(n + 1) for n in range(LAST)]
    assert server.asked == ["0", "2", "5", "6"]


@pytest.mark.parametrize("code", [4400, 4401, 4499])
async def test_a_refusal_is_not_tried_again(code: int) -> None:
    async with flaky((0, code)) as (client, server):
        with pytest.raises(RequestRefused, match=str(code)):
            await followed(client)
    assert server.asked == ["0"]


async def test_an_error_has_the_code_and_the_hint_of_the_server() -> None:
    async with flaky((0, 2)) as (client, _):
        with pytest.raises(RequestRefused, match="no such run") as caught:
            await followed(client)
    assert (caught.value.code, caught.value.hint) == ("NOT_FOUND", "look at the list")


async def test_a_server_that_is_not_there_is_told_at_once() -> None:
    async with flaky() as (client, _):
        pass
    async with GraphQLClient(client.url) as late:
        with pytest.raises(ServerUnreachable, match="No GraphQL server answers"):
            await followed(late)


async def test_barriers_are_told_once_over_all_connections() -> None:
    waiting = iter([["a", "b"], ["b", "c"], []])

    async def speak(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send('{"type": "connection_ack"}')
        await socket.recv()
        found = next(waiting)
        for barrier_id in found:
            payload = {"data": {"barrierWaiting": {"id": barrier_id}}}
            await socket.send(json.dumps({"id": "1", "type": "next", "payload": payload}))
        await socket.close(1012 if found else 4401, "planned")

    seen: list[str] = []
    async with serve(speak, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        async with GraphQLClient(f"http://127.0.0.1:{port}") as client:
            coming = barriers_as_they_come(client, "subscription", None)
            seen += [(await anext(coming))["id"] for _ in range(3)]
            with pytest.raises(RequestRefused, match="4401"):
                await anext(coming)
    assert seen == ["a", "b", "c"]
