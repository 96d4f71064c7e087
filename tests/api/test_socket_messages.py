"""graphql-transport-ws on the wire: messages of every form, and frames of every kind."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Opcode

from dipeo_server.api.context import ApiLimits
from tests.api.serving import Live, serving
from tests.api.wire import ACK, INIT, SECONDS_MAX, VERSION, RawSocket, ready, wired

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIBE: dict[str, Any] = {"id": "1", "type": "subscribe", "payload": {"query": VERSION}}
MEBIBYTE = 1024 * 1024


def subscribe(**changes: Any) -> str:
    """A subscribe message, changed: `...` leaves a member out."""
    return json.dumps({k: v for k, v in {**SUBSCRIBE, **changes}.items() if v is not ...})


def with_payload(**changes: Any) -> str:
    """A subscribe message with another payload."""
    payload = {**SUBSCRIBE["payload"], **changes}
    return subscribe(payload={k: v for k, v in payload.items() if v is not ...})


# --- what is no message -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nonsense",
        '{"type": "ping",}',
        '{"type": "ping", "payload": {"n": NaN}}',
        '{"type": "ping", "payload": {"n": 99999999999999999999999}}',
        "[" * 50_000,
        '{"type": "ping", "payload": {"a": "\\ud800"}}',
    ],
    ids=["empty", "open", "bare", "comma", "nan", "huge", "deep", "surrogate"],
)
async def test_what_is_no_json_is_invalid(shared: Live, text: str) -> None:
    async with ready(shared) as wire:
        await wire.send(text)
        assert (await wire.closed())[0] == 4400


@pytest.mark.parametrize("value", ["null", "true", "1", '"ping"', "[]", '[{"type": "ping"}]'])
async def test_json_that_is_no_object_is_invalid(shared: Live, value: str) -> None:
    async with ready(shared) as wire:
        await wire.send(value)
        assert await wire.closed() == (4400, "A message must be an object")


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": None},
        {"type": 1},
        {"type": ["ping"]},
        {"type": ""},
        {"type": "PING"},
        {"type": "start", "id": "1", "payload": {"query": VERSION}},
        {"type": "stop", "id": "1"},
        {"type": "connection_terminate"},
        {"type": "connection_ack"},
        {"type": "next", "id": "1", "payload": {"data": None}},
        {"type": "error", "id": "1", "payload": []},
    ],
    ids=str,
)
async def test_a_type_that_clients_do_not_send_is_invalid(
    shared: Live, message: dict[str, Any]
) -> None:
    async with ready(shared) as wire:
        await wire.send(message)
        assert (await wire.closed())[0] == 4400


@pytest.mark.parametrize(
    "message",
    [
        subscribe(id=...),
        subscribe(id=None),
        subscribe(id=1),
        subscribe(id=""),
        subscribe(id=["1"]),
        '{"type": "complete"}',
        '{"type": "complete", "id": null}',
        '{"type": "complete", "id": 7}',
        '{"type": "complete", "id": ""}',
    ],
)
async def test_an_operation_without_an_id_is_invalid(shared: Live, message: str) -> None:
    async with ready(shared) as wire:
        await wire.send(message)
        assert await wire.closed() == (4400, "`id` must be a string that is not empty")


@pytest.mark.parametrize(
    "message",
    [
        subscribe(payload=...),
        subscribe(payload=None),
        subscribe(payload=VERSION),
        subscribe(payload=[]),
        with_payload(query=...),
        with_payload(query=None),
        with_payload(query=1),
        with_payload(query=[VERSION]),
        with_payload(operationName=1),
        with_payload(operationName=["a"]),
        with_payload(variables="{}"),
        with_payload(variables=[]),
        with_payload(extensions="{}"),
        with_payload(extensions=1),
    ],
)
async def test_a_request_of_the_wrong_form_is_invalid(shared: Live, message: str) -> None:
    async with ready(shared) as wire:
        await wire.send(message)
        code, reason = await wire.closed()
    assert code == 4400
    assert "must be" in reason


async def test_null_stands_for_what_is_optional(shared: Live) -> None:
    async with ready(shared) as wire:
        await wire.send(with_payload(operationName=None, variables=None, extensions=None))
        assert (await wire.receive())["type"] == "next"
        assert await wire.receive() == {"id": "1", "type": "complete"}


@pytest.mark.parametrize("name", ["x" * 400, "\N{SNOWMAN}" * 200, "\N{PILE OF POO}" * 99])
async def test_a_reason_is_cut_to_what_a_close_can_hold(shared: Live, name: str) -> None:
    async with ready(shared) as wire:
        await wire.send({"type": name})
        code, reason = await wire.closed()
    assert code == 4400
    assert reason.startswith("Unknown message type: ")
    assert 118 <= len(reason.encode()) <= 123


async def test_other_sockets_do_not_mind(shared: Live) -> None:
    async with ready(shared) as other:
        async with ready(shared) as wire:
            await wire.send("nonsense")
            assert (await wire.closed())[0] == 4400
        await other.still_works()


# --- ping and pong ------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [{"time": 1.5}, {"a": {"b": [None, "c"]}}])
async def test_a_ping_is_answered_with_what_it_brought(shared: Live, payload: Any) -> None:
    async with ready(shared) as wire:
        await wire.send({"type": "ping", "payload": payload})
        assert await wire.receive() == {"type": "pong", "payload": payload}


@pytest.mark.parametrize("message", ['{"type": "ping"}', '{"type": "ping", "payload": null}'])
async def test_a_ping_without_a_payload_is_answered_without_one(shared: Live, message: str) -> None:
    async with wired(shared) as wire:
        await wire.send(message)
        assert await wire.receive() == {"type": "pong"}


@pytest.mark.parametrize(
    "message",
    [
        '{"type": "pong"}',
        '{"type": "pong", "payload": null}',
        '{"type": "pong", "payload": {"a": 1}}',
    ],
)
async def test_a_pong_that_nobody_asked_for_is_taken(shared: Live, message: str) -> None:
    async with wired(shared) as wire:
        await wire.send(message)
        await wire.send(INIT)
        assert await wire.receive() == ACK
        await wire.send(message)
        await wire.still_works()


@pytest.mark.parametrize("type_", ["ping", "pong"])
@pytest.mark.parametrize("payload", ["text", 1, [], False])
async def test_a_ping_or_pong_with_a_wrong_payload_is_invalid(
    shared: Live, type_: str, payload: Any
) -> None:
    async with ready(shared) as wire:
        await wire.send({"type": type_, "payload": payload})
        assert (await wire.closed())[0] == 4400


async def test_pings_are_answered_in_their_order(shared: Live) -> None:
    async with ready(shared) as wire:
        for number in range(200):
            await wire.send({"type": "ping", "payload": {"number": number}})
        found = [(await wire.receive())["payload"]["number"] for _ in range(200)]
    assert found == list(range(200))


# --- frames -------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [b"", b"\x00\x01", INIT.encode()])
async def test_a_binary_message_is_invalid(shared: Live, message: bytes) -> None:
    async with wired(shared) as wire:
        await wire.send(message)
        assert await wire.closed() == (4400, "WebSocket message type must be text")


async def test_a_message_may_come_in_fragments(shared: Live) -> None:
    async with ready(shared) as wire:
        text = subscribe()
        await wire.connection.send(text[i : i + 1] for i in range(len(text)))
        assert (await wire.receive())["type"] == "next"
        assert (await wire.receive())["type"] == "complete"


async def test_a_character_may_be_cut_by_a_fragment(shared: Live) -> None:
    def talk() -> list[tuple[int, bytes]]:
        raw = RawSocket.open(shared.url)
        with raw.connection:
            text = '{"type": "ping", "payload": {"text": "\N{SNOWMAN}"}}'.encode()
            middle = text.index("\N{SNOWMAN}".encode()) + 1
            raw.send_frame(Opcode.TEXT, text[:middle], is_last=False)
            raw.send_frame(Opcode.PING, b"between")
            raw.send_frame(Opcode.CONT, text[middle:])
            return [found for found in (raw.next_frame(), raw.next_frame()) if found]

    first, second = await asyncio.to_thread(talk)
    assert first == (Opcode.PONG, b"between")
    assert second[0] == Opcode.TEXT
    assert json.loads(second[1]) == {"type": "pong", "payload": {"text": "\N{SNOWMAN}"}}


async def test_a_ping_of_the_socket_is_answered(shared: Live) -> None:
    async with wired(shared) as wire:
        pong = await wire.connection.ping(b"hello")
        await asyncio.wait_for(pong, SECONDS_MAX)


async def test_a_message_of_nearly_a_mebibyte_is_taken(shared: Live) -> None:
    async with ready(shared) as wire:
        padding = "#" * (MEBIBYTE - 1_000)
        answer = await wire.answer("1", VERSION, variables={"padding": padding})
    assert "errors" not in answer


@pytest.mark.parametrize("pieces", [1, 16])
async def test_a_larger_message_is_too_big(shared: Live, pieces: int) -> None:
    async with ready(shared) as wire:
        text = subscribe(id="#" * MEBIBYTE)
        size = len(text) // pieces + 1
        await wire.connection.send(text[i * size : (i + 1) * size] for i in range(pieces))
        assert (await wire.closed())[0] == 1009


@pytest.mark.parametrize(
    "opcode, data, code",
    [
        (0x1, b"\xff\xfe", 1007),
        (0x3, b"", 1002),
        (0xB, b"", 1002),
        (0x0, b"goes on from nothing", 1002),
        (0x9, b"#" * 126, 1002),
        (0x8, b"\x03", 1002),
        (0x8, b"\x03\xed", 1002),
    ],
    ids=["utf-8", "data opcode", "control opcode", "continuation", "long ping", "short", "1005"],
)
async def test_a_frame_that_breaks_websocket_ends_it(
    shared: Live, opcode: int, data: bytes, code: int
) -> None:
    def talk() -> tuple[int, str] | None:
        raw = RawSocket.open(shared.url)
        with raw.connection:
            raw.send_frame(opcode, data)
            return raw.closed()

    closed = await asyncio.to_thread(talk)
    assert closed is not None
    assert closed[0] == code


async def test_a_frame_without_a_mask_ends_it(shared: Live) -> None:
    def talk() -> tuple[int, str] | None:
        raw = RawSocket.open(shared.url)
        with raw.connection:
            raw.connection.sendall(b"\x81\x02{}")
            return raw.closed()

    closed = await asyncio.to_thread(talk)
    assert closed is not None
    assert closed[0] == 1002


@pytest.mark.parametrize("data", [b"", b"\x03\xe8", b"\x03\xe8done", b"\x11\x94mine"])
async def test_a_close_is_answered_with_the_same_code(shared: Live, data: bytes) -> None:
    def talk() -> list[tuple[int, bytes]]:
        raw = RawSocket.open(shared.url)
        with raw.connection:
            raw.send({"type": "connection_init"})
            raw.send(SUBSCRIBE)
            raw.send_frame(Opcode.CLOSE, data)
            return raw.frames()

    frames = await asyncio.to_thread(talk)
    assert frames[-1] == (Opcode.CLOSE, data)


# --- pings of the server ------------------------------------------------------------------------


async def test_a_peer_that_answers_pings_stays_with_nothing_to_do(base_dir: Path) -> None:
    limits = ApiLimits(socket_ping_seconds=0.3)
    async with serving(base_dir, limits=limits) as live, ready(live) as idle, wired(live) as mute:
        dead = await asyncio.to_thread(RawSocket.open, live.url)
        with dead.connection:
            # It answers no ping, so it is closed; by then the others have answered some.
            closed = await asyncio.to_thread(dead.closed)
        assert closed == (1011, "keepalive ping timeout")
        await idle.still_works()
        await mute.send(INIT)
        assert await mute.receive() == ACK
