"""SIGTERM: nothing new, what was asked for is answered, sockets are told where to go on."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.api.serving import ASKING, EVENTS, RUN, light
from tests.api.wire import RawSocket, frame
from tests.cli.processes import Running, started

STOP_SECONDS_MAX = 10
PROTOCOLS = [Subprotocol("graphql-transport-ws")]
LARGE = light("begin -> gate", begin="start", gate="barrier")


@contextmanager
def serving(base_dir: Path, **env: str) -> Iterator[tuple[Running, str]]:
    """A server with a store in memory, and its endpoint."""
    arguments = ("--port", "0", "--store", "memory:", "--base-dir", base_dir)
    with started("serve", *arguments, env=env) as server:
        ready, _, url = server.line().partition(" ")
        assert ready == "ready", server.ended().err
        yield server, url


def run(url: str, content: str = ASKING, **variables: Any) -> str:
    """The id of a new run."""
    source = {"inline": {"name": "n", "content": content, "format": "LIGHT"}}
    body = {"query": RUN, "variables": {"input": {"source": source, "variables": variables}}}
    answer = httpx.post(url, json=body, trust_env=False).json()
    found: str = answer["data"]["runDiagram"]["execution"]["id"]
    return found


def ends(server: Running) -> None:
    """Ask it to stop, and hold that it does."""
    server.interrupt(signal.SIGTERM)
    done = server.ended()
    assert done.code == 0, done.err


def ends_in_time(server: Running) -> None:
    """The same, and in the time that is promised."""
    began = time.monotonic()
    ends(server)
    assert time.monotonic() - began < STOP_SECONDS_MAX


async def following(url: str, *executions: str) -> ClientConnection:
    """A socket that follows runs, and has heard something of each."""
    connection = await connect(
        url.replace("http", "ws", 1), subprotocols=PROTOCOLS, proxy=None, max_queue=None
    )
    await connection.send('{"type": "connection_init"}')
    await connection.recv()
    for execution in executions:
        payload = {"query": EVENTS, "variables": {"id": execution}}
        await connection.send(
            json.dumps({"id": execution, "type": "subscribe", "payload": payload})
        )
    return connection


async def heard(connection: ClientConnection) -> tuple[dict[str, int], int, str]:
    """The last sequence of each run, and the code and reason of the close."""
    last: dict[str, int] = {}
    try:
        async with asyncio.timeout(50):
            while True:
                message = json.loads(await connection.recv())
                told = message["payload"]["data"]["executionEvents"]
                last[told["executionId"]] = int(told["sequence"])
    except ConnectionClosed:
        pass
    close = connection.protocol.close_rcvd
    assert close is not None
    return last, close.code, close.reason


async def until_gate(connection: ClientConnection) -> int:
    """Read up to the barrier of a run; gives its sequence."""
    while True:
        told = json.loads(await connection.recv())["payload"]["data"]["executionEvents"]
        if told["__typename"] == "BarrierWaiting":
            return int(told["sequence"])


async def test_a_follower_is_told_where_to_go_on(base_dir: Path) -> None:
    with serving(base_dir) as (server, url):
        connection = await following(url, await asyncio.to_thread(run, url))
        gate = await until_gate(connection)
        ending = asyncio.to_thread(ends, server)
        (last, code, reason), _ = await asyncio.gather(heard(connection), ending)
    [sequence] = last.values() or [gate]
    assert (code, reason) == (1012, f"service restart; lastSequence={sequence}")


@pytest.mark.slow
async def test_a_follower_of_several_runs_is_told_of_each(base_dir: Path) -> None:
    with serving(base_dir) as (server, url):
        runs = [await asyncio.to_thread(run, url) for _ in range(2)]
        connection = await following(url, *runs)
        places = {}
        for _ in runs:
            while True:
                told = json.loads(await connection.recv())["payload"]["data"]["executionEvents"]
                places[told["executionId"]] = int(told["sequence"])
                if told["__typename"] == "BarrierWaiting":
                    break
        ending = asyncio.to_thread(ends_in_time, server)
        (last, code, reason), _ = await asyncio.gather(heard(connection), ending)
    where = ",".join(f"{each}:{(places | last)[each]}" for each in runs)
    assert (code, reason) == (1012, f"service restart; lastSequence={where}")


@pytest.mark.slow
async def test_a_socket_that_follows_nothing_is_told_to_come_again(base_dir: Path) -> None:
    with serving(base_dir) as (server, url):
        connection = await following(url)
        ending = asyncio.to_thread(ends_in_time, server)
        (_, code, reason), _ = await asyncio.gather(heard(connection), ending)
    assert (code, reason) == (1012, "service restart")


@pytest.mark.slow
def test_neither_half_a_body_nor_half_a_message_holds_it_up(base_dir: Path) -> None:
    with serving(base_dir) as (server, url):
        host, port = urlsplit(url).hostname, urlsplit(url).port
        with (
            socket.create_connection((host, port)) as head,
            socket.create_connection((host, port)) as body,
        ):
            head.sendall(b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-")
            body.sendall(
                b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b'Content-Length: 100\r\n\r\n{"query": '
            )
            silent, half = RawSocket.open(url), RawSocket.open(url)
            with silent.connection, half.connection:
                half.connection.sendall(frame(0x1, b'{"type": "connection_init"}')[:-5])
                ends_in_time(server)


@pytest.mark.slow
def test_a_reader_that_has_stopped_does_not_hold_it_up(base_dir: Path) -> None:
    with serving(base_dir) as (server, url):
        execution = run(url, LARGE, text="#" * 200_000)
        raw = RawSocket.open(url, receive_bytes=4_096)
        with raw.connection:
            raw.send({"type": "connection_init"})
            for number in range(10):
                query = "query ($id: ID!) { execution(id: $id) { variables } }"
                payload = {"query": query, "variables": {"id": execution}}
                raw.send({"id": str(number), "type": "subscribe", "payload": payload})
            assert raw.next_frame() is not None
            ends_in_time(server)


@pytest.mark.slow
async def test_what_was_asked_for_before_is_answered(base_dir: Path) -> None:
    with serving(base_dir) as (server, url):
        async with httpx.AsyncClient(trust_env=False) as http:
            source = {"inline": {"name": "n", "content": ASKING, "format": "LIGHT"}}
            body = {"query": RUN, "variables": {"input": {"source": source}}}
            asked = [asyncio.create_task(http.post(url, json=body)) for _ in range(20)]
            first, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.to_thread(ends_in_time, server)
            results = await asyncio.gather(*asked, return_exceptions=True)
    answers = [each for each in results if isinstance(each, httpx.Response)]
    assert len(answers) >= len(first)
    for answer in answers:
        assert answer.json()["data"]["runDiagram"]["errors"] == []
    # Whoever was not let in any more got nothing at all, and may ask somebody else.
    assert all(isinstance(each, httpx.Response | httpx.TransportError) for each in results)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_the_second_signal_waits_for_nobody(base_dir: Path, number: signal.Signals) -> None:
    with serving(base_dir) as (server, url):
        host, port = urlsplit(url).hostname, urlsplit(url).port
        with socket.create_connection((host, port)) as body:
            body.sendall(
                b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b'Content-Length: 100\r\n\r\n{"query": '
            )
            raw = RawSocket.open(url)
            with raw.connection:
                server.interrupt(number)
                assert raw.closed() == (1012, "service restart")
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((host, port))
                server.interrupt(number)
                done = server.ended()
    assert done.code == -number


@pytest.mark.slow
async def test_what_a_socket_has_asked_for_is_answered_before_it_is_closed(base_dir: Path) -> None:
    source = {"inline": {"name": "n", "content": ASKING, "format": "LIGHT"}}
    payload = {"query": RUN, "variables": {"input": {"source": source}}}
    ids = {str(number) for number in range(20)}
    with serving(base_dir) as (server, url):
        connection = await following(url)
        for id_ in ids:
            await connection.send(json.dumps({"id": id_, "type": "subscribe", "payload": payload}))
        await connection.send('{"type": "ping"}')
        ended: set[str] = set()
        ending: asyncio.Future[None] | None = None
        with suppress(ConnectionClosed):
            async with asyncio.timeout(50):
                while True:
                    message = json.loads(await connection.recv())
                    if message["type"] == "pong":  # it has begun with all of them
                        ending = asyncio.ensure_future(asyncio.to_thread(ends_in_time, server))
                    elif message["type"] == "next":
                        assert message["payload"]["data"]["runDiagram"]["errors"] == []
                    else:
                        assert message["type"] == "complete"
                        ended.add(message["id"])
        assert ending is not None
        await ending
    close = connection.protocol.close_rcvd
    assert close is not None
    assert (close.code, ended) == (1012, ids)
