"""Sockets of clients that send anything: the server goes on, and nothing in it breaks."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs
from websockets.frames import Opcode

from dipeo_server.api.context import ApiLimits
from tests.api.serving import ASKING, EVENTS, RUN, Live, serving
from tests.api.wire import VERSION, frame, ready

AT_ONCE: Final = 16
OPCODES: Final = [Opcode.CONT, Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE, Opcode.PING, Opcode.PONG]
DOCUMENTS: Final = [
    VERSION,
    EVENTS,
    RUN,
    "{",
    "",
    "{ nonsense }",
    "subscription { barrierWaiting { id } }",
    "subscription { executionsChanged { id status } }",
    "subscription A { barrierWaiting { id } } query B { serverInfo { version } }",
    "{ " + "a" * 5_000 + " }",
    "{ executions(first: 1) { nodes { id } } }",
]


class Vandal:
    """Makes the bytes that one client sends behind its handshake."""

    def __init__(self, seed: int, run: str) -> None:
        self.chance = random.Random(seed)
        self._run = run
        self._kinds: list[Callable[[], bytes]] = [
            self._message,
            self._message,
            self._message,
            self._broken_message,
            self._any_json,
            self._any_frame,
            self._fragments,
            self._bytes,
            self._unmasked,
        ]

    def stream(self) -> bytes:
        """A few good or bad frames, most of the time behind a good beginning."""
        parts = [frame(Opcode.TEXT, b'{"type": "connection_init"}')] * (self.chance.random() < 0.8)
        parts += [self.chance.choice(self._kinds)() for _ in range(self.chance.randint(0, 12))]
        return b"".join(parts)

    def _message(self) -> bytes:
        return frame(Opcode.TEXT, json.dumps(self._member()).encode())

    def _member(self) -> dict[str, Any]:
        chance = self.chance
        type_ = chance.choice(
            ["subscribe"] * 5 + ["complete", "complete", "ping", "pong", "connection_init", "stop"]
        )
        message: dict[str, Any] = {"type": type_, "id": chance.choice(["1", "2", "3", "x" * 300])}
        if type_ == "subscribe":
            variables = chance.choice(
                [{"id": self._run}, {"id": self._run, "after": "3"}, {"id": "none"}, None, {}]
            )
            message["payload"] = {"query": chance.choice(DOCUMENTS), "variables": variables}
        elif chance.random() < 0.3:
            message["payload"] = self._value(2)
        return message

    def _broken_message(self) -> bytes:
        message = self._member()
        message[self.chance.choice(["type", "id", "payload", "more"])] = self._value(3)
        return frame(Opcode.TEXT, json.dumps(message).encode())

    def _any_json(self) -> bytes:
        return frame(Opcode.TEXT, json.dumps(self._value(4)).encode())

    def _value(self, depth: int) -> Any:
        chance = self.chance
        plain = [None, True, 0, -1.5, 2**70, "", "ping", "\N{SNOWMAN}" * 50, "\ud800", 1e308]
        if depth == 0 or chance.random() < 0.5:
            return chance.choice(plain)
        if chance.random() < 0.5:
            return [self._value(depth - 1) for _ in range(chance.randint(0, 3))]
        names = ["type", "id", "payload", "query", "variables", ""]
        return {chance.choice(names): self._value(depth - 1) for _ in range(chance.randint(0, 3))}

    def _any_frame(self) -> bytes:
        opcode = self.chance.choice([*OPCODES, self.chance.randrange(16)])
        size = self.chance.choice([0, 1, 2, 125, 126, 70_000])
        return frame(opcode, self.chance.randbytes(size), is_last=self.chance.random() < 0.8)

    def _fragments(self) -> bytes:
        text = json.dumps(self._member()).encode()
        cuts = sorted(self.chance.randint(0, len(text)) for _ in range(3))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        found = frame(Opcode.TEXT, pieces[0], is_last=False)
        for number, piece in enumerate(pieces[1:], 2):
            if self.chance.random() < 0.2:
                found += frame(Opcode.PING, b"between")
            found += frame(Opcode.CONT, piece, is_last=number == len(pieces))
        return found

    def _bytes(self) -> bytes:
        return self.chance.randbytes(self.chance.randint(1, 200))

    def _unmasked(self) -> bytes:
        return b"\x81\x02{}"


async def vandalise(live: Live, seed: int, run: str) -> None:
    """One client's life: it sends its stream in pieces, and leaves in one of three ways."""
    vandal = Vandal(seed, run)
    port = int(live.url.split(":")[2].partition("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError):
        writer.write(
            b"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        stream = vandal.stream()
        cut = vandal.chance.randint(0, len(stream))
        for piece in (stream[:cut], stream[cut:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        how = vandal.chance.choice(["close", "reset", "leave"])
        if how == "close":
            writer.write(frame(Opcode.CLOSE, b"\x03\xe8"))
            await asyncio.wait_for(reader.read(2_000_000), 50)
        elif how == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def vandalise_all(live: Live, seeds: range) -> None:
    """Many clients, some at a time."""
    run = await live.started(ASKING)
    room = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int) -> None:
        async with room:
            await vandalise(live, seed, run)

    await asyncio.gather(*(one(seed) for seed in seeds))


@pytest.mark.parametrize(
    "count",
    [300, pytest.param(10_000, marks=[pytest.mark.prove, pytest.mark.timeout(900)])],
)
async def test_whatever_clients_send_the_server_goes_on(
    base_dir: Path, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    broken: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: broken.append(context))
    limits = ApiLimits(socket_init_seconds=1, socket_ping_seconds=1)
    with caplog.at_level(logging.WARNING), capture_logs() as logs:
        async with serving(base_dir, limits=limits) as live:
            await vandalise_all(live, range(count))
            async with ready(live) as wire:
                await wire.still_works()
            assert (await live.data("{ serverInfo { version } }"))["serverInfo"]
    assert broken == []
    faults = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert faults == []
    assert [each for each in logs if each["log_level"] == "error"] == []
