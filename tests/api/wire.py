"""graphql-transport-ws as it is on the wire: messages as text, closes with code and reason."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.runtime.local import LocalRunner
from tests.api.serving import Live

SECONDS_MAX: Final = 50
INIT: Final = '{"type": "connection_init"}'
ACK: Final = {"type": "connection_ack"}
VERSION: Final = "{ serverInfo { version } }"


class Wire:
    """A client that sends whatever it is told to."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, message: object) -> None:
        """Send a text as it is, bytes as a binary message, anything else as JSON."""
        raw = message if isinstance(message, str | bytes) else json.dumps(message)
        await self.connection.send(raw)

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        text = await asyncio.wait_for(self.connection.recv(), SECONDS_MAX)
        found: dict[str, Any] = json.loads(text)
        return found

    async def subscribe(self, id_: str, query: str, **payload: Any) -> None:
        """Begin an operation."""
        await self.send({"id": id_, "type": "subscribe", "payload": {"query": query, **payload}})

    async def until_end(self, id_: str) -> list[dict[str, Any]]:
        """The messages of one operation, the last one included; those of others are dropped."""
        found: list[dict[str, Any]] = []
        while not found or found[-1]["type"] == "next":
            message = await self.receive()
            if message.get("id") == id_:
                found.append(message)
        return found

    async def answer(self, id_: str, query: str, **payload: Any) -> dict[str, Any]:
        """The one result of an operation that completes."""
        await self.subscribe(id_, query, **payload)
        only, end = await self.until_end(id_)
        assert end == {"id": id_, "type": "complete"}
        found: dict[str, Any] = only["payload"]
        return found

    async def error(self, id_: str, query: str, **payload: Any) -> dict[str, Any]:
        """The first error of an operation that comes to nothing."""
        await self.subscribe(id_, query, **payload)
        [only] = await self.until_end(id_)
        assert only["type"] == "error", only
        found: dict[str, Any] = only["payload"][0]
        return found

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the server's close; what comes before it is dropped."""
        with suppress(ConnectionClosed):
            async with asyncio.timeout(SECONDS_MAX):
                while True:
                    await self.connection.recv()
        close = self.connection.protocol.close_rcvd
        assert close is not None, "cut off without a close"
        return close.code, close.reason

    async def still_works(self) -> None:
        """Hold that the socket answers, and that nothing else is underway."""
        found = await self.answer("still works", VERSION)
        assert "errors" not in found


@asynccontextmanager
async def wired(live: Live, **options: Any) -> AsyncIterator[Wire]:
    """A socket that has said nothing."""
    # A full queue of what is unread would hold back the answer to a close.
    async with live.raw_socket(proxy=None, max_queue=None, **options) as connection:
        yield Wire(connection)


@asynccontextmanager
async def ready(live: Live, **options: Any) -> AsyncIterator[Wire]:
    """A socket that is acknowledged."""
    async with wired(live, **options) as wire:
        await wire.send(INIT)
        assert await wire.receive() == ACK
        yield wire


def readers_of(live: Live, run: str) -> int:
    """How many subscriptions read the log of a run right now."""
    runner = live.services.runner
    assert isinstance(runner, LocalRunner)
    feed = runner._feeds.get(ExecutionID(run))  # noqa: SLF001 - nothing else tells who reads
    return feed.readers if feed else 0


# --- below WebSocket ----------------------------------------------------------------------------


class RawSocket:
    """A TCP connection with a WebSocket handshake behind it; reads only when it is told to."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._received = b""

    @classmethod
    def open(cls, url: str, receive_bytes: int | None = None) -> RawSocket:
        """Shake hands; `receive_bytes` bounds what the kernel reads ahead."""
        host, port = urlsplit(url).hostname, urlsplit(url).port
        assert host is not None
        connection = socket.socket()
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(SECONDS_MAX)
        connection.connect((host, port))
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(
            f"GET /graphql HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )
        raw = cls(connection)
        head = raw._until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return raw

    def send(self, message: object) -> None:
        """A JSON message in one text frame."""
        self.send_frame(0x1, json.dumps(message).encode())

    def send_frame(self, opcode: int, data: bytes, *, is_last: bool = True) -> None:
        """One masked frame."""
        self.connection.sendall(frame(opcode, data, is_last=is_last))

    def frames(self) -> list[tuple[int, bytes]]:
        """Every frame until the server closes or hangs up: opcode and data."""
        found: list[tuple[int, bytes]] = []
        while (one := self.next_frame()) is not None:
            found.append(one)
            if one[0] == Opcode.CLOSE:
                break
        return found

    def next_frame(self) -> tuple[int, bytes] | None:
        """The next frame; None when the server has hung up."""
        head = self._exactly(2)
        if head is None:
            return None
        size: int | None = head[1] & 0x7F
        if size is not None and size >= 126:
            more = self._exactly(2 if size == 126 else 8)
            size = None if more is None else int.from_bytes(more)
        data = None if size is None else self._exactly(size)
        return None if data is None else (head[0] & 0x0F, data)

    def closed(self) -> tuple[int, str] | None:
        """Code and reason of the server's close, everything before it read; None without one."""
        for opcode, data in self.frames():
            if opcode == Opcode.CLOSE:
                return struct.unpack("!H", data[:2])[0], data[2:].decode()
        return None

    def _until(self, end: bytes) -> bytes:
        while end not in self._received:
            more = self.connection.recv(4096)
            assert more, self._received
            self._received += more
        head, _, self._received = self._received.partition(end)
        return head

    def _exactly(self, size: int) -> bytes | None:
        """So many bytes; None at the end."""
        while len(self._received) < size:
            try:
                more = self.connection.recv(65_536)
            except ConnectionResetError:
                return None
            if not more:
                return None
            self._received += more
        data, self._received = self._received[:size], self._received[size:]
        return data


def frame(opcode: int, data: bytes, *, is_last: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    first = opcode | (0x80 if is_last else 0)
    if len(data) < 126:
        head = struct.pack("!BB", first, 0x80 | len(data))
    elif len(data) < 65_536:
        head = struct.pack("!BBH", first, 0x80 | 126, len(data))
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, len(data))
    return head + bytes(4) + data
