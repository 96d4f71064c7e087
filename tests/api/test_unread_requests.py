"""Requests that are answered before they have come, or that nobody can read: they end, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from dipeo_server.api.context import ApiLimits
from tests.api.serving import Live, serving

PATIENT = 20
"""Seconds; whoever holds a connection for good would hold it longer."""


@asynccontextmanager
async def connected(live: Live) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    port = int(live.url.removesuffix("/graphql").rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def upgrade(method: str = "GET", *more: str) -> bytes:
    head = [f"{method} /graphql HTTP/1.1", "Host: 127.0.0.1", "Connection: Upgrade"]
    return "\r\n".join([*head, "Upgrade: websocket", *more, "", ""]).encode()


@pytest.mark.parametrize("rest", [b"x", b"x" * 100], ids=["a piece", "all"])
async def test_a_body_that_nobody_waits_for_does_not_keep_the_connection(
    base_dir: Path, rest: bytes
) -> None:
    head = b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n"
    async with (
        serving(base_dir, auth="token", limits=ApiLimits(head_seconds=1)) as live,
        connected(live) as (reader, writer),
    ):
        writer.write(head)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 401 ")
        writer.write(rest)
        await asyncio.wait_for(reader.read(), PATIENT)


async def test_behind_a_body_that_nobody_waited_for_the_next_request_is_answered(
    base_dir: Path,
) -> None:
    head = b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n"
    async with (
        serving(base_dir, auth="token") as live,
        connected(live) as (reader, writer),
    ):
        for _ in range(3):
            writer.write(head)
            answer = await reader.readuntil(b"}]}")
            assert answer.startswith(b"HTTP/1.1 401 ")
            writer.write(b"x" * 100)


@pytest.mark.parametrize(
    "request_, status",
    [
        (upgrade("GET", "Content-Length: 3") + b"abc", b"400"),
        (upgrade("POST", "Content-Length: 3") + b"abc", b"400"),
        (upgrade("GET", "Transfer-Encoding: chunked") + b"0\r\n\r\n", b"400"),
        (upgrade("GET", "X-Long: " + "x" * 10_000), b"431"),
        (upgrade("GET", *(f"X-{each}: x" for each in range(200))), b"431"),
    ],
    ids=["a body", "a body and POST", "chunks", "a long line", "many lines"],
)
async def test_a_socket_that_cannot_be_opened_is_refused_and_closed(
    base_dir: Path, request_: bytes, status: bytes
) -> None:
    async with serving(base_dir) as live, connected(live) as (reader, writer):
        writer.write(request_)
        answer = await asyncio.wait_for(reader.read(), PATIENT)
    assert answer.startswith(b"HTTP/1.1 " + status)
