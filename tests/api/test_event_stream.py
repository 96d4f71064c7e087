"""Server-sent events: one operation a request, its results until it completes."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Message

from dipeo_server.api.context import ApiLimits
from dipeo_server.api.event_stream import EventStream
from dipeo_server.api.http import create_routes
from dipeo_server.api.http_protocol import LINK, HttpLink
from tests.api import streaming
from tests.api.serving import ASKING, EVENTS, RUN, STRAIGHT, Live, serving
from tests.api.streaming import EVENT_STREAM, events_of, messages, streamed, told
from tests.cli.processes import started

VERSION = "{ serverInfo { version } }"
FOLLOW = "subscription ($id: ID!) { executionEvents(executionId: $id) { __typename } }"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_run_is_told_from_its_beginning_to_its_end(live: Live, method: str) -> None:
    execution_id = await live.started(STRAIGHT)
    *items, end = await events_of(live, execution_id, method=method)
    assert [message.item["sequence"] for message in items] == [
        str(number) for number in range(1, len(items) + 1)
    ]
    assert items[-1].item["__typename"] == "ExecutionCompleted"
    assert end == streaming.Message("complete", "")


async def test_a_stream_is_named_and_kept_by_nobody(live: Live) -> None:
    execution_id = await live.ended(STRAIGHT)
    async with streamed(live, EVENTS, id=execution_id) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["vary"] == "Accept"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_what_was_seen_is_not_told_again(live: Live) -> None:
    execution_id = await live.ended(STRAIGHT)
    everything = await events_of(live, execution_id)
    assert await events_of(live, execution_id, after="3") == everything[3:]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_browser_that_comes_again_goes_on_behind_its_last_event(
    live: Live, method: str
) -> None:
    execution_id = await live.ended(STRAIGHT)
    everything = await events_of(live, execution_id)
    assert [message.id for message in everything[:3]] == ["1", "2", "3"]
    assert await events_of(live, execution_id, method=method, last=3) == everything[3:]
    nothing_new = await events_of(live, execution_id, last=len(everything) - 1)
    assert nothing_new == [streaming.Message("complete", "")]


async def test_the_later_of_two_places_counts(live: Live) -> None:
    execution_id = await live.ended(STRAIGHT)
    everything = await events_of(live, execution_id)
    assert await events_of(live, execution_id, last=2, after="4") == everything[4:]
    assert await events_of(live, execution_id, last=4, after="2") == everything[4:]


async def test_a_query_is_one_result(live: Live) -> None:
    result, end = await told(live, VERSION)
    assert result.item == {"version": live.services.facts.version}
    assert end == streaming.Message("complete", "")


async def test_a_mutation_is_one_result_but_not_with_get(live: Live) -> None:
    source = {"inline": {"name": "x", "content": STRAIGHT, "format": "LIGHT"}}
    result, end = await told(live, RUN, input={"source": source})
    assert result.item["errors"] == []
    assert end == streaming.Message("complete", "")
    async with streamed(live, RUN, method="GET", input={"source": source}) as response:
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "query, code",
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { nope }", "GRAPHQL_VALIDATION_FAILED"),
        ('subscription { executionEvents(executionId: "x") { __typename } }', "NOT_FOUND"),
        ("subscription ($id: ID!) { executionLogs(executionId: $id) { text } }", "BAD_USER_INPUT"),
        ("{ " + "a " * 25 + "}", "LIMIT_EXCEEDED"),
    ],
)
async def test_what_is_wrong_with_an_operation_is_its_only_result(
    live: Live, query: str, code: str
) -> None:
    result, end = await told(live, query)
    [error] = result.body["errors"]
    assert error["extensions"]["code"] == code
    assert result.event == "next"
    assert end == streaming.Message("complete", "")


@pytest.mark.parametrize(
    "content, headers, status",
    [
        (b"nope", {}, 400),
        (b"[]", {}, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"origin": "http://evil.example"}, 403),
        (b" " * 1_048_577, {}, 413),
    ],
)
async def test_what_is_no_request_gets_no_stream(
    live: Live, content: bytes, headers: dict[str, str], status: int
) -> None:
    sent = {"accept": EVENT_STREAM, "content-type": "application/json"} | headers
    response = await live.http.post(live.url, content=content, headers=sent)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.json()["errors"]


async def test_a_subscription_is_streamed_to_whoever_takes_streams_at_all(live: Live) -> None:
    execution_id = await live.ended(STRAIGHT)
    accept = f"application/json, {EVENT_STREAM};q=0.1"
    body = {"query": FOLLOW, "variables": {"id": execution_id}}
    response = await live.http.post(live.url, json=body, headers={"accept": accept})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.text.endswith("event: complete\ndata: \n\n")
    query = await live.http.post(live.url, json={"query": VERSION}, headers={"accept": accept})
    assert query.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/event-stream;q=0, */*"])
async def test_without_a_stream_a_subscription_is_told_where_streams_are(
    live: Live, accept: str
) -> None:
    body = {"query": FOLLOW, "variables": {"id": "x"}}
    response = await live.http.post(live.url, json=body, headers={"accept": accept})
    assert response.status_code == 400
    assert EVENT_STREAM in response.text
    assert "graphql-transport-ws" in response.text


async def test_silence_is_broken_by_comments(base_dir: Path) -> None:
    limits = ApiLimits(event_stream_keep_alive_seconds=0.01)
    async with serving(base_dir, limits=limits) as live:
        execution_id = await live.started(ASKING)
        async with streamed(live, EVENTS, id=execution_id) as response:
            quiet = 0
            async for message in messages(response):
                quiet = quiet + 1 if message.event == "comment" else 0
                if quiet == 5:
                    break


async def test_a_client_that_goes_away_ends_its_stream(base_dir: Path) -> None:
    async with serving(base_dir, limits=ApiLimits(event_streams=1)) as live:
        execution_id = await live.started(ASKING)
        async with streamed(live, EVENTS, id=execution_id) as response:
            async for message in messages(response):
                assert message.event == "comment" or message.item["sequence"] == "1"
                if message.event == "next":
                    break
            async with streamed(live, EVENTS, id=execution_id) as second:
                assert second.status_code == 429
                assert second.headers["retry-after"] == "5"
        async with asyncio.timeout(20):
            while True:
                async with streamed(live, EVENTS, id=execution_id) as third:
                    if third.status_code == 200:
                        break


async def test_a_stream_of_a_waiting_run_ends_when_the_server_stops(base_dir: Path) -> None:
    async with serving(base_dir) as live:
        execution_id = await live.started(ASKING)
        async with streamed(live, EVENTS, id=execution_id) as response:
            told_last: list[streaming.Message] = []
            async for message in messages(response):
                told_last.append(message)
                if message.event == "next" and message.item["__typename"] == "BarrierWaiting":
                    live.services.closing.set()
            assert told_last[-1].event == "comment"
            assert "the server stops" in told_last[-1].data
            assert not [message for message in told_last if message.event == "complete"]


async def test_a_reader_that_takes_nothing_is_hung_up_on(base_dir: Path) -> None:
    limits = ApiLimits(socket_send_seconds=0.2, event_streams=1)
    async with serving(base_dir, limits=limits) as live:
        source = {"inline": {"name": "x", "content": ASKING, "format": "LIGHT"}}
        large = {"source": source, "variables": {"text": "x" * 200_000}}
        run = (await live.data(RUN, input=large))["runDiagram"]["execution"]
        query = """subscription ($id: ID!) { executionEvents(executionId: $id) {
            ... on ExecutionStarted { a: variables b: variables c: variables d: variables
                                      e: variables f: variables g: variables h: variables } } }"""
        body = json.dumps({"query": query, "variables": {"id": run["id"]}})
        port = httpx.URL(live.url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        head = f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {EVENT_STREAM}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        async with asyncio.timeout(20):
            while True:
                async with streamed(live, VERSION) as other:
                    if other.status_code == 200:
                        break
            with suppress(ConnectionResetError):
                while await reader.read(65_536):
                    pass
        writer.close()


async def nothing_more() -> Message:
    """What a client says that stays."""
    await asyncio.Event().wait()
    raise AssertionError


async def one_event() -> AsyncGenerator[bytes, None]:
    yield b"event: next\n\n"


@pytest.mark.parametrize("taken", [1, 0])
async def test_a_reader_is_slow_only_if_it_takes_no_byte(live: Live, taken: int) -> None:
    left, sent, hung_up, refused = 5, list[bytes](), asyncio.Event(), 0

    def unsent() -> int:
        return left

    async def send(message: Message) -> None:
        nonlocal left, refused
        if left and message["type"] == "http.response.body":
            refused += 1
            left -= taken
            await asyncio.Event().wait()
        sent.append(message.get("body", b""))

    async def receive() -> Message:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    services = replace(live.services, limits=ApiLimits(socket_send_seconds=0.01))
    stream = EventStream(one_event(), services, ExitStack(), is_lasting=True)
    scope = {"type": "http", "extensions": {LINK: HttpLink(unsent, hung_up.set)}}
    async with asyncio.timeout(20):
        await stream(scope, receive, send)
    assert hung_up.is_set() is not bool(taken)
    assert refused == (5 if taken else 1)
    assert (b"event: next\n\n" in sent) is bool(taken)


async def test_a_stream_ends_when_it_is_over_for_its_reader(live: Live) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        stream.over.set()

    async def waiting() -> AsyncGenerator[bytes, None]:
        await asyncio.Event().wait()
        yield b""

    left: list[str] = []
    places = ExitStack()
    places.callback(left.append, "left")
    stream = EventStream(waiting(), live.services, places, is_lasting=True)
    async with asyncio.timeout(20):
        await stream({"type": "http"}, nothing_more, send)
    assert not sent[-1]["more_body"]
    assert left == ["left"]


async def test_streams_are_counted_over_all_operations(base_dir: Path) -> None:
    async with serving(base_dir, limits=ApiLimits(event_streams=0)) as live:
        async with streamed(live, VERSION) as response:
            assert response.status_code == 429
            await response.aread()
            assert response.json()["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
        assert (await live.answer(VERSION))["data"]


async def test_an_operation_that_takes_too_long_says_so_in_its_stream(base_dir: Path) -> None:
    async with serving(base_dir, limits=ApiLimits(operation_seconds=0)) as live:
        result, end = await told(live, '{ execution(id: "x") { id } }')
        assert result.body["errors"][0]["extensions"]["code"] == "TIMEOUT"
        assert end.event == "complete"


async def test_a_subscription_may_take_longer_than_an_operation(live: Live) -> None:
    execution_id = await live.ended(STRAIGHT)
    services = replace(live.services, limits=ApiLimits(operation_seconds=0))
    transport = httpx.ASGITransport(Starlette(routes=create_routes(services)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        impatient = Live("http://localhost/graphql", services, client)
        *items, end = await events_of(impatient, execution_id)
    assert items[-1].item["__typename"] == "ExecutionCompleted"
    assert end.event == "complete"


def test_half_a_request_does_not_keep_a_server_from_stopping(base_dir: Path) -> None:
    env = {"DIPEO_AUTH": "none", "DIPEO_STORE": "memory:", "DIPEO_BASE_DIR": str(base_dir)}
    with started("serve", "--port", "0", env=env) as server:
        url = httpx.URL(server.line().removeprefix("ready "))
        assert url.port is not None
        with socket.create_connection((url.host, url.port)) as client:
            head = f"POST /graphql HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n"
            head += "Content-Type: application/json\r\nExpect: 100-continue\r\n"
            client.sendall(f"{head}Content-Length: 100\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 100 ")
            client.sendall(b"{")
            server.interrupt(signal.SIGTERM)
            done = server.ended()
    assert (done.code, done.out) == (0, "")
    assert "Traceback" not in done.err


def test_a_signal_ends_streams_and_then_the_server(base_dir: Path) -> None:
    env = {"DIPEO_AUTH": "none", "DIPEO_STORE": "memory:", "DIPEO_BASE_DIR": str(base_dir)}
    with started("serve", "--port", "0", env=env) as server:
        url = server.line().removeprefix("ready ")
        with httpx.Client(trust_env=False, timeout=30) as client:
            source = {"inline": {"name": "x", "content": ASKING, "format": "LIGHT"}}
            ran = client.post(url, json={"query": RUN, "variables": {"input": {"source": source}}})
            body = {
                "query": FOLLOW,
                "variables": {"id": ran.json()["data"]["runDiagram"]["execution"]["id"]},
            }
            with client.stream("POST", url, json=body, headers={"accept": EVENT_STREAM}) as stream:
                lines = stream.iter_lines()
                while "event: next" not in next(lines):
                    pass
                server.interrupt(signal.SIGTERM)
                rest = list(lines)
        assert "the server stops" in "".join(rest)
        assert "event: complete" not in rest
        done = server.ended()
    assert (done.code, done.out) == (0, "")
