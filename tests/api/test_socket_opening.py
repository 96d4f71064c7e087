"""graphql-transport-ws on the wire: how a socket is opened, and how it is not."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from dipeo_server.api.context import ApiLimits
from tests.api.serving import PROTOCOL, Live, serving
from tests.api.wire import ACK, INIT, VERSION, ready, wired

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEGACY = Subprotocol("graphql-ws")

# --- the sub-protocol ---------------------------------------------------------------------------


async def test_the_protocol_is_agreed_upon(shared: Live) -> None:
    async with wired(shared) as wire:
        assert wire.connection.subprotocol == PROTOCOL


@pytest.mark.parametrize("offered", [[PROTOCOL, LEGACY], [LEGACY, PROTOCOL]])
async def test_it_is_found_among_others(shared: Live, offered: list[Subprotocol]) -> None:
    async with connect(shared.socket_url, subprotocols=offered, proxy=None) as connection:
        assert connection.subprotocol == PROTOCOL


@pytest.mark.parametrize("offered", [[LEGACY], [Subprotocol("mqtt")], None])
async def test_other_protocols_are_closed_with_4406(
    shared: Live, offered: list[Subprotocol] | None
) -> None:
    async with connect(shared.socket_url, subprotocols=offered, proxy=None) as connection:
        assert connection.subprotocol is None
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4406


async def test_the_legacy_protocol_starts_nothing(shared: Live) -> None:
    start = '{"type": "start", "id": "1", "payload": {"query": "{ serverInfo { version } }"}}'
    async with connect(shared.socket_url, subprotocols=[LEGACY], proxy=None) as connection:
        with contextlib.suppress(ConnectionClosed):
            await connection.send(INIT)
            await connection.send(start)
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4406


async def test_no_compression_is_agreed_upon(shared: Live) -> None:
    async with wired(shared, compression="deflate") as wire:
        assert wire.connection.protocol.extensions == []


# --- who may open one ---------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
async def test_pages_of_other_origins_are_refused_before_the_handshake(
    shared: Live, origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with wired(shared, additional_headers={"Origin": origin}):
            pass
    assert refused.value.response.status_code == 403
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_pages_of_this_host_are_let_in(shared: Live) -> None:
    own = shared.url.removesuffix("/graphql")
    async with ready(shared, additional_headers={"Origin": own}) as wire:
        await wire.still_works()


async def test_other_host_names_are_refused_before_the_handshake(shared: Live) -> None:
    port = int(shared.url.rpartition(":")[2].removesuffix("/graphql"))
    evil = f"ws://evil.example:{port}/graphql"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(evil, host="127.0.0.1", port=port, proxy=None):
            pass
    assert refused.value.response.status_code == 421


async def test_elsewhere_there_is_no_socket(shared: Live) -> None:
    with pytest.raises(InvalidStatus):
        async with connect(shared.socket_url.replace("/graphql", "/nowhere"), proxy=None):
            pass


async def test_more_sockets_than_allowed_are_refused(base_dir: Path) -> None:
    async with (
        serving(base_dir, limits=ApiLimits(sockets=2)) as live,
        ready(live) as first,
        ready(live) as second,
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with wired(live):
                pass
        assert refused.value.response.status_code == 503
        await first.still_works()
        await second.connection.close()
        async with ready(live) as third:
            await third.still_works()


# --- connection_init ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "init",
    [
        INIT,
        '{"type": "connection_init", "payload": null}',
        '{"type": "connection_init", "payload": {}}',
        '{"type": "connection_init", "payload": {"any": ["thing", 1]}}',
        ' { "payload" : { } , "type" : "connection_init", "more": 1 } ',
    ],
)
async def test_an_init_is_acknowledged_once(shared: Live, init: str) -> None:
    async with wired(shared) as wire:
        await wire.send(init)
        assert await wire.receive() == ACK
        await wire.still_works()


@pytest.mark.parametrize("payload", ['"text"', "1", "true", "[]", "[{}]"])
async def test_an_init_with_a_wrong_payload_is_invalid(shared: Live, payload: str) -> None:
    async with wired(shared) as wire:
        await wire.send(f'{{"type": "connection_init", "payload": {payload}}}')
        code, reason = await wire.closed()
    assert (code, reason) == (4400, "`payload` must be an object")


async def test_a_second_init_is_one_too_many(shared: Live) -> None:
    async with ready(shared) as wire:
        await wire.send(INIT)
        assert await wire.closed() == (4429, "Too many initialisation requests")


async def test_two_inits_at_once_are_one_too_many(shared: Live) -> None:
    async with wired(shared) as wire:
        await wire.send(INIT)
        await wire.send(INIT)
        assert await wire.receive() == ACK
        assert await wire.closed() == (4429, "Too many initialisation requests")


async def test_nothing_is_done_before_the_init(shared: Live) -> None:
    async with wired(shared) as wire:
        await wire.subscribe("1", VERSION)
        assert await wire.closed() == (4401, "Unauthorized")


async def test_whoever_says_nothing_is_closed(base_dir: Path) -> None:
    async with (
        serving(base_dir, limits=ApiLimits(socket_init_seconds=0.05)) as live,
        wired(live) as wire,
    ):
        assert await wire.closed() == (4408, "Connection initialisation timeout")


async def test_pings_do_not_stand_for_an_init(base_dir: Path) -> None:
    async with (
        serving(base_dir, limits=ApiLimits(socket_init_seconds=0.2)) as live,
        wired(live) as wire,
    ):
        await wire.send({"type": "ping"})
        assert (await wire.closed())[0] == 4408


async def test_whoever_has_said_it_stays(base_dir: Path) -> None:
    async with (
        serving(base_dir, limits=ApiLimits(socket_init_seconds=1)) as live,
        ready(live) as early,
        wired(live) as silent,
    ):
        assert (await silent.closed())[0] == 4408  # the time of the first one is over, too
        await early.still_works()
