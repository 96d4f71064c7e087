"""Readers of every speed: one that has stopped is cut off, and nobody else feels it."""

from __future__ import annotations

import asyncio
import json
import select
import time
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from starlette.websockets import WebSocket
from strawberry.http.exceptions import WebSocketDisconnected
from websockets.frames import Opcode

from dipeo_server.api.context import ApiLimits, Connection
from dipeo_server.api.frames import SocketAdapter
from dipeo_server.api.places import Places
from dipeo_server.api.schema import build_schema
from dipeo_server.api.socket_protocol import LINK, Link
from dipeo_server.api.ws import SocketView
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from tests.api.serving import Live, light, serving
from tests.api.steering import done
from tests.api.wire import SECONDS_MAX, RawSocket, Wire, readers_of, ready

FOLLOW = """subscription ($id: ID!, $after: Sequence) {
  executionEvents(executionId: $id, after: $after) {
    ... on ExecutionEvent { sequence }
    ... on NodeCompleted { output { body } }
    ... on ExecutionCompleted { duration } } }"""
TALKATIVE = light(
    "begin -> turn -> check",
    "'check[condfalse]' -> turn",
    "'check[condtrue]' -> end",
    begin="start",
    turn="template_job, template: '{{ text }}'",
    check="condition, expression: 'i >= 28', expose_index_as: i, max_iteration: 500",
    end="endpoint",
)
TEXT = "#" * 8_000
"""Twenty-eight of these are more than all the buffers between a server and a reader hold."""


@pytest_asyncio.fixture
async def impatient(base_dir: Path) -> AsyncIterator[Live]:
    """A server that waits half a second for a reader, and long for what it is to be told then."""
    limits = ApiLimits(socket_send_seconds=0.5, socket_ping_seconds=300)
    async with serving(base_dir, limits=limits) as live:
        yield live


async def paused(live: Live) -> str:
    """A run that has much to tell as soon as it is let go."""
    return await live.started(TALKATIVE, variables={"i": 0, "text": TEXT}, startPaused=True)


def stalled(live: Live, run: str, after: int = 0) -> RawSocket:
    """A socket that follows a run, and reads nothing but the first answer."""
    raw = RawSocket.open(live.url, receive_bytes=4_096)
    raw.send({"type": "connection_init"})
    assert raw.next_frame() is not None
    payload = {"query": FOLLOW, "variables": {"id": run, "after": after}}
    raw.send({"id": "1", "type": "subscribe", "payload": payload})
    return raw


async def sequences(wire: Wire, run: str, after: int = 0) -> list[int]:
    """What a reader that reads is told."""
    await wire.subscribe("1", FOLLOW, variables={"id": run, "after": after})
    *items, end = await wire.until_end("1")
    assert end["type"] == "complete"
    return [int(item["payload"]["data"]["executionEvents"]["sequence"]) for item in items]


def told(frames: list[tuple[int, bytes]]) -> tuple[list[int], tuple[int, str]]:
    """The sequences that were in the frames, and code and reason of the close behind them."""
    *texts, (opcode, data) = frames
    assert opcode == Opcode.CLOSE
    assert {each for each, _ in texts} <= {Opcode.TEXT, Opcode.PING}
    messages = [json.loads(text) for each, text in texts if each == Opcode.TEXT]
    items = [message["payload"]["data"]["executionEvents"] for message in messages]
    return [int(item["sequence"]) for item in items], (int.from_bytes(data[:2]), data[2:].decode())


# --- one that has stopped -----------------------------------------------------------------------


async def test_whoever_reads_again_finds_where_to_go_on(impatient: Live) -> None:
    run = await paused(impatient)
    raw = await asyncio.to_thread(stalled, impatient, run)
    with raw.connection:
        async with ready(impatient) as wire:
            following = asyncio.create_task(sequences(wire, run))
            await done(impatient, "resumeExecution", id=run)
            everything = await following
        await closed_for_slowness(impatient, run)
        found, (code, reason) = told(await asyncio.to_thread(raw.frames))
    assert found == list(range(1, len(found) + 1))
    assert (code, reason) == (1013, f"slow reader; lastSequence={len(found)}")
    assert len(found) < len(everything)
    counted = impatient.services.metrics.registry.get_sample_value
    assert counted("dipeo_stalled_readers_closed_total", {"transport": "websocket"})
    async with ready(impatient) as wire:
        assert found + await sequences(wire, run, after=len(found)) == everything


async def closed_for_slowness(live: Live, run: str) -> None:
    """Wait until nobody reads the run any more."""
    async with ready(live) as wire, asyncio.timeout(SECONDS_MAX):
        while readers_of(live, run):
            await wire.still_works()


async def test_whoever_never_reads_again_is_cut_off(base_dir: Path) -> None:
    limits = ApiLimits(socket_send_seconds=0.2, socket_ping_seconds=0.5)
    async with serving(base_dir, limits=limits) as live:
        run = await live.started(TALKATIVE, variables={"i": 0, "text": TEXT})
        raw = await asyncio.to_thread(stalled, live, run)
        with raw.connection:
            poll = select.poll()
            poll.register(raw.connection, 0)  # tells of nothing but the end
            found = await asyncio.to_thread(poll.poll, SECONDS_MAX * 1_000)
    [(_, what)] = found
    assert what & select.POLLHUP


async def test_pongs_do_not_pile_up_for_whoever_takes_none(impatient: Live) -> None:
    def flood() -> int:
        raw = RawSocket.open(impatient.url, receive_bytes=4_096)
        with raw.connection:
            for _ in range(40_000):
                raw.send_frame(Opcode.PING, b"#" * 100)
            raw.send_frame(Opcode.CLOSE, b"\x03\xe8")
            return sum(len(data) for opcode, data in raw.frames() if opcode == Opcode.PONG)

    assert await asyncio.to_thread(flood) < 1_000_000


# --- one that is only slow ----------------------------------------------------------------------


class Peer:
    """The far end of an ASGI socket: it takes what is sent in so many steps."""

    def __init__(self, steps: int) -> None:
        self.unsent = steps * 100
        self.has_taken_all = asyncio.Event()
        self.messages: list[MutableMapping[str, Any]] = []

    def left(self) -> int:
        """Bytes that are not taken yet; whoever asks sees them become less, to the last."""
        self.unsent = max(0, self.unsent - 100)
        if not self.unsent:
            self.has_taken_all.set()
        return self.unsent

    async def receive(self) -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "websocket.send":
            await self.has_taken_all.wait()
        self.messages.append(message)


async def adapted(live: Live, peer: Peer, *, is_honest: bool = True) -> SocketAdapter:
    """A socket to that peer; whether it takes anything is told only where it is honest."""
    services = replace(live.services, limits=ApiLimits(socket_send_seconds=0.01))
    link = Link(peer.left if is_honest else lambda: 1)
    scope = {"type": "websocket", "headers": [], "extensions": {LINK: link}}
    socket = WebSocket(scope, receive=peer.receive, send=peer.send)
    await socket.accept()
    adapter = SocketAdapter(SocketView(build_schema(services.specs), services), socket, socket)
    adapter.connection = Connection(services)
    return adapter


async def test_whoever_takes_a_little_now_and_then_is_waited_for(live: Live) -> None:
    peer = Peer(steps=20)
    adapter = await adapted(live, peer)
    await adapter.send_json({"type": "pong"})
    assert [each["type"] for each in peer.messages] == ["websocket.accept", "websocket.send"]


async def test_whoever_takes_nothing_is_told_so_once(live: Live) -> None:
    peer = Peer(steps=1)
    adapter = await adapted(live, peer, is_honest=False)
    assert adapter.connection is not None
    with adapter.connection.places.following(ExecutionID("exec_a"), Seq(7)):
        sending = [asyncio.create_task(adapter.send_json({"type": "pong"})) for _ in range(5)]
        found = await asyncio.gather(*sending, return_exceptions=True)
    assert [type(each) for each in found] == [WebSocketDisconnected] * 5
    [close] = [each for each in peer.messages if each["type"] == "websocket.close"]
    assert (close["code"], close["reason"]) == (1013, "slow reader; lastSequence=7")


async def test_messages_go_out_one_at_a_time_and_in_order(live: Live) -> None:
    peer = Peer(steps=3)
    adapter = await adapted(live, peer)
    numbers = range(50)
    await asyncio.gather(*(adapter.send_json({"number": number}) for number in numbers))
    sent = [json.loads(each["text"]) for each in peer.messages[1:]]
    assert sent == [{"number": number} for number in numbers]


def test_the_places_are_told_as_far_as_there_is_room() -> None:
    places = Places()
    assert places.told(100) == ""
    with places.following(ExecutionID("a"), Seq(3)) as first:
        assert places.told(100) == "lastSequence=3"
        with places.following(ExecutionID("a"), Seq(2)):
            assert places.told(100) == "lastSequence=2"
            with places.following(ExecutionID("b"), Seq(9)):
                assert places.told(100) == "lastSequence=a:2,b:9"
                assert places.told(len("lastSequence=a:2,b:9") - 1) == "lastSequence=a:2"
                assert places.told(3) == ""
        first.sequence = Seq(4)
        assert places.told(100) == "lastSequence=4"
    assert places.told(100) == ""


@pytest.mark.slow
async def test_whoever_says_something_is_not_taken_for_dead(base_dir: Path) -> None:
    def talk(url: str) -> tuple[int, str] | None:
        raw = RawSocket.open(url)
        with raw.connection:
            for _ in range(60):
                raw.send({"type": "pong"})
                time.sleep(0.05)
            raw.send_frame(Opcode.CLOSE, b"\x03\xe8")
            return raw.closed()

    async with serving(base_dir, limits=ApiLimits(socket_ping_seconds=1)) as live:
        assert await asyncio.to_thread(talk, live.url) == (1000, "")


# --- many ---------------------------------------------------------------------------------------


async def test_those_that_read_miss_nothing_beside_those_that_do_not(impatient: Live) -> None:
    run = await paused(impatient)
    async with AsyncExitStack() as stack:
        raws = [await asyncio.to_thread(stalled, impatient, run) for _ in range(3)]
        for raw in raws:
            stack.enter_context(raw.connection)
        wires = [await stack.enter_async_context(ready(impatient)) for _ in range(47)]
        following = [asyncio.create_task(sequences(wire, run)) for wire in wires]
        for wire in wires:
            await wire.connection.ping()
        await done(impatient, "resumeExecution", id=run)
        found = await asyncio.gather(*following)
        await closed_for_slowness(impatient, run)
        ends = [told(await asyncio.to_thread(raw.frames)) for raw in raws]
    length = len(found[0])
    assert found == [list(range(1, length + 1))] * len(wires)
    for seen, (code, reason) in ends:
        assert seen == list(range(1, len(seen) + 1))
        assert (code, reason) == (1013, f"slow reader; lastSequence={len(seen)}")
