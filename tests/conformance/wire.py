"""HTTP/1.1 byte by byte, as a client without any library writes and reads it."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.api.serving import Live

SECONDS_MAX: Final = 20
JSON: Final = "application/json"


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of its only error."""
        [error] = self.json["errors"]
        found: str = error["extensions"]["code"]
        return found


class Wire:
    """One connection."""

    def __init__(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.host = host
        self.reader = reader
        self._writer = writer

    def send(self, *lines: str, body: bytes = b"", host: bool = True) -> None:
        """A head of these lines (a Host is added), and a body as it is."""
        named = [lines[0], f"Host: {self.host}", *lines[1:]] if host else [*lines]
        self._writer.write("\r\n".join([*named, "", ""]).encode() + body)

    def send_raw(self, data: bytes) -> None:
        self._writer.write(data)

    async def flushed(self) -> None:
        await self._writer.drain()

    def post(self, body: bytes, *more: str, content_type: str | None = JSON) -> None:
        """A whole request."""
        typed = [] if content_type is None else [f"Content-Type: {content_type}"]
        lines = ["POST /graphql HTTP/1.1", *typed, f"Content-Length: {len(body)}", *more]
        self.send(*lines, body=body)

    async def answer(self, *, has_body: bool = True) -> Answer:
        """The next response."""
        async with asyncio.timeout(SECONDS_MAX):
            status, headers = await self.head()
            if not has_body or status < 200:
                return Answer(status, headers, b"")
            if headers.get("transfer-encoding") == "chunked":
                return Answer(status, headers, b"".join([part async for part in self.chunks()]))
            length = headers.get("content-length")
            read = self.reader.read() if length is None else self.reader.readexactly(int(length))
            return Answer(status, headers, await read)

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers of the next response, their names in lower case."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text.strip().split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        return int(first.split(" ")[1]), {name.lower(): value.strip() for name, value in pairs}

    async def chunks(self) -> AsyncIterator[bytes]:
        """The parts of a chunked body, until it ends."""
        async with asyncio.timeout(SECONDS_MAX):
            while size := int(await self.reader.readline(), 16):
                yield await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)

    async def is_closed(self) -> bool:
        """Does the other side say no more?"""
        async with asyncio.timeout(SECONDS_MAX):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True

    def hang_up(self) -> None:
        """Close as if the process were gone."""
        self._writer.transport.abort()


@asynccontextmanager
async def wire(live: Live) -> AsyncIterator[Wire]:
    """A connection to a server."""
    url = httpx.URL(live.url)
    assert url.port is not None
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=4 * 1024 * 1024)
    try:
        yield Wire(f"{url.host}:{url.port}", reader, writer)
    finally:
        writer.close()


async def posted(live: Live, body: bytes, *more: str, content_type: str | None = JSON) -> Answer:
    """The answer to one request."""
    async with wire(live) as line:
        line.post(body, *more, content_type=content_type)
        return await line.answer()


async def got(live: Live, target: str, *more: str, method: str = "GET") -> Answer:
    """The answer to a request without a body."""
    async with wire(live) as line:
        line.send(f"{method} {target} HTTP/1.1", *more)
        return await line.answer(has_body=method != "HEAD")


def assert_said_with_care(answer: Answer) -> None:
    """What holds of every answer of the endpoint."""
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["vary"] == "Accept"
    assert "server" not in answer.headers
    assert answer.headers["content-type"].endswith("; charset=utf-8")
