"""Connections on plain sockets: sizes, times, half requests, what is no HTTP, and who may ask."""

import asyncio
import json
import select
import socket
from pathlib import Path

import httpx
import pytest

from dipeo_server.api.context import ApiLimits
from tests.api.serving import RUN, STRAIGHT, Live, serving
from tests.conformance.wire import SECONDS_MAX, assert_said_with_care, posted, wire

BODY = json.dumps({"query": "{ serverInfo { version } }"}).encode()
OLD = "application/json"
STREAM = "text/event-stream"
LARGEST = 1024 * 1024

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def live(shared: Live) -> Live:
    """Nothing here leaves anything behind, so one server is enough."""
    return shared


# --- sizes and times --------------------------------------------------------------------------


async def test_a_body_one_byte_too_large_is_413_and_the_end(live: Live) -> None:
    async with wire(live) as line:
        line.post(BODY.ljust(LARGEST))
        assert (await line.answer()).status == 200
        line.post(BODY.ljust(LARGEST + 1))
        answer = await line.answer()
        assert (answer.status, answer.code) == (413, "PAYLOAD_TOO_LARGE")
        assert answer.headers["connection"] == "close"
        assert await line.is_closed()


async def test_who_asks_first_need_not_send_what_is_too_large(live: Live) -> None:
    async with wire(live) as line:
        length = f"Content-Length: {LARGEST + 1}"
        head = ["POST /graphql HTTP/1.1", f"Content-Type: {OLD}", "Expect: 100-continue"]
        line.send(*head, length)
        assert (await line.answer()).status == 413
    async with wire(live) as line:
        line.send(*head, f"Content-Length: {len(BODY)}")
        assert (await line.answer()).status == 100
        line.send_raw(BODY)
        assert (await line.answer()).status == 200


async def test_what_is_announced_as_huge_is_not_read(live: Live) -> None:
    async with wire(live) as line:
        line.send("POST /graphql HTTP/1.1", f"Content-Type: {OLD}", f"Content-Length: {10**15}")
        assert (await line.answer()).status == 413
        assert await line.is_closed()


async def test_a_body_may_come_in_small_pieces(live: Live) -> None:
    async with wire(live) as line:
        head = ["POST /graphql HTTP/1.1", f"Content-Type: {OLD}"]
        line.send(*head, "Transfer-Encoding: chunked")
        for byte in BODY:
            line.send_raw(b"1\r\n%c\r\n" % byte)
            await line.flushed()
        line.send_raw(b"0\r\n\r\n")
        assert (await line.answer()).status == 200
        line.send(*head, f"Content-Length: {len(BODY)}")
        for byte in BODY:
            line.send_raw(b"%c" % byte)
            await line.flushed()
        assert (await line.answer()).status == 200


async def test_a_body_that_does_not_come_is_408_and_the_end(base_dir: Path) -> None:
    async with serving(base_dir, limits=ApiLimits(body_seconds=0.1)) as live, wire(live) as line:
        line.send("POST /graphql HTTP/1.1", f"Content-Type: {OLD}", "Content-Length: 10")
        line.send_raw(b"{")
        answer = await line.answer()
        assert (answer.status, answer.code) == (408, "TIMEOUT")
        assert answer.headers["connection"] == "close"
        assert await line.is_closed()


@pytest.mark.parametrize("sent", [b"", b"POST", b"POST /graphql HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_come_is_the_end(base_dir: Path, sent: bytes) -> None:
    async with serving(base_dir, limits=ApiLimits(head_seconds=0)) as live, wire(live) as line:
        line.send_raw(sent)
        assert await line.is_closed()


async def test_an_answer_that_nobody_takes_is_not_kept(base_dir: Path) -> None:
    async with serving(base_dir, limits=ApiLimits(head_seconds=1)) as live:
        source = {"inline": {"name": "x", "content": STRAIGHT, "format": "LIGHT"}}
        large = {"source": source, "variables": {"text": "x" * 400_000}}
        run = (await live.data(RUN, input=large))["runDiagram"]["execution"]
        fields = " ".join(f"a{number}: variables" for number in range(10))
        query = f'{{ execution(id: "{run["id"]}") {{ {fields} }} }}'
        body = json.dumps({"query": query}).encode()
        url = httpx.URL(live.url)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect((url.host, url.port))
            head = f"POST /graphql HTTP/1.1\r\nHost: {url.host}\r\nContent-Type: {OLD}\r\n"
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            hung_up = select.poll()
            hung_up.register(client, 0)  # errors and the end are told in any case
            [(_, what)] = await asyncio.to_thread(hung_up.poll, SECONDS_MAX * 1_000)
            assert what & (select.POLLERR | select.POLLHUP)


async def test_an_operation_that_takes_too_long_is_504(base_dir: Path) -> None:
    async with serving(base_dir, limits=ApiLimits(operation_seconds=0)) as live:
        body = json.dumps({"query": '{ execution(id: "x") { id } }'}).encode()
        answer = await posted(live, body)
        assert (answer.status, answer.code) == (504, "TIMEOUT")
        assert_said_with_care(answer)


# --- connections ------------------------------------------------------------------------------


async def test_a_connection_serves_many_requests_also_ahead_of_their_answers(live: Live) -> None:
    async with wire(live) as line:
        for body in (BODY, b"nope", BODY):
            line.post(body)
        assert [(await line.answer()).status for _ in range(3)] == [200, 400, 200]


async def test_a_client_that_goes_away_disturbs_nobody(live: Live) -> None:
    async with wire(live) as line:
        line.send("POST /graphql HTTP/1.1", f"Content-Type: {OLD}", "Content-Length: 100")
        line.send_raw(b'{"query": ')
        await line.flushed()
        line.hang_up()
    async with wire(live) as line:
        line.post(BODY)
        await line.flushed()
        line.hang_up()
    assert (await posted(live, BODY)).status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nope\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
        b"POST /graphql HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /graphql HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_and_the_end(live: Live, head: bytes) -> None:
    async with wire(live) as line:
        line.send_raw(head)
        answer = await line.answer()
        assert 400 <= answer.status < 500
        assert answer.code in {"BAD_REQUEST", "MISDIRECTED"}
        assert_said_with_care(answer)
        assert await line.is_closed()


async def test_a_length_and_chunks_at_once_smuggle_nothing(live: Live) -> None:
    async with wire(live) as line:
        both = ["Content-Length: 4", "Transfer-Encoding: chunked"]
        hidden = b"5\r\n{}   \r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        line.send("POST /graphql HTTP/1.1", f"Content-Type: {OLD}", *both, body=hidden)
        assert (await line.answer()).status == 400


async def test_an_old_client_gets_an_answer_and_the_end(live: Live) -> None:
    async with wire(live) as line:
        head = ["POST /graphql HTTP/1.0", f"Content-Type: {OLD}", f"Content-Length: {len(BODY)}"]
        line.send(*head, body=BODY)
        async with asyncio.timeout(10):
            status, _ = await line.head()
            assert status == 200
            assert b'"version"' in await line.reader.read()


# --- who may ask ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host, status", [("localhost", 200), ("127.0.0.1:1", 200), ("evil.example", 421), ("", 421)]
)
async def test_the_server_answers_to_its_own_names_only(live: Live, host: str, status: int) -> None:
    async with wire(live) as line:
        head = ["POST /graphql HTTP/1.1", f"Host: {host}", f"Content-Type: {OLD}"]
        line.send(*head, f"Content-Length: {len(BODY)}", body=BODY, host=False)
        answer = await line.answer()
        assert answer.status == status
        assert_said_with_care(answer)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
@pytest.mark.parametrize("accept", [OLD, STREAM])
async def test_pages_of_other_origins_may_not_ask(live: Live, origin: str, accept: str) -> None:
    answer = await posted(live, BODY, f"Origin: {origin}", f"Accept: {accept}")
    assert (answer.status, answer.code) == (403, "FORBIDDEN")
    assert "access-control-allow-origin" not in answer.headers
