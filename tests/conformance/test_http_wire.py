"""GraphQL over HTTP, written on plain sockets: what libraries would never send is sent here too."""

import asyncio
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from dipeo_server.api.context import ApiLimits
from tests.api.serving import STRAIGHT, Live, serving
from tests.conformance.wire import Answer, got, posted, wire

QUERY = "{ serverInfo { version } }"
BODY = json.dumps({"query": QUERY}).encode()
NEW = "application/graphql-response+json"
OLD = "application/json"
STREAM = "text/event-stream"
MUTATION = 'mutation { abortExecution(id: "x") { errors { code } } }'
LARGEST = 1024 * 1024

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def live(shared: Live) -> Live:
    """Nothing here leaves anything behind, so one server is enough."""
    return shared


def assert_said_with_care(answer: Answer) -> None:
    """What holds of every answer of the endpoint."""
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["vary"] == "Accept"
    assert "server" not in answer.headers
    assert answer.headers["content-type"].endswith("; charset=utf-8")


# --- which media type an answer has -----------------------------------------------------------


@pytest.mark.parametrize(
    "accept, media_type",
    [
        (None, OLD),
        ("*/*", OLD),
        ("application/*", OLD),
        (OLD, OLD),
        (NEW, NEW),
        (f"{NEW};q=0.5, {OLD};q=0.9", OLD),
        (f"{NEW}; charset=utf-8, {OLD}; charset=utf-8", NEW),
        (f"text/html, {NEW};q=0.9, */*;q=0.1", NEW),
        (f" {NEW} ,{OLD}", NEW),
        (STREAM, STREAM),
        (f"{OLD}, {STREAM}", OLD),
        (f"{STREAM}, {OLD}", STREAM),
    ],
)
async def test_the_client_chooses_the_media_type(
    live: Live, accept: str | None, media_type: str
) -> None:
    answer = await posted(live, BODY, *([] if accept is None else [f"Accept: {accept}"]))
    assert answer.status == 200
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert_said_with_care(answer)


@pytest.mark.parametrize(
    "accept", ["text/html", "image/*", f"{OLD};q=0", f"{NEW};charset=latin-1", "nonsense", ",,"]
)
async def test_media_types_that_are_not_spoken_are_406(live: Live, accept: str) -> None:
    answer = await posted(live, BODY, f"Accept: {accept}")
    assert (answer.status, answer.code) == (406, "NOT_ACCEPTABLE")
    assert_said_with_care(answer)


# --- which requests are taken -----------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_other_methods_are_405_and_told_which_there_are(live: Live, method: str) -> None:
    answer = await got(live, "/graphql", method=method)
    assert (answer.status, answer.code) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, POST"
    assert_said_with_care(answer)


async def test_head_is_405_and_has_no_body(live: Live) -> None:
    async with wire(live) as line:
        line.send("HEAD /graphql HTTP/1.1")
        answer = await line.answer(has_body=False)
        assert answer.status == 405
        line.post(BODY)
        assert (await line.answer()).status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        f"{OLD}; charset=utf-16",
        f"{OLD}, {OLD}",
        "application",
        ";",
    ],
)
async def test_bodies_of_other_media_types_are_415(live: Live, content_type: str | None) -> None:
    answer = await posted(live, BODY, content_type=content_type)
    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert_said_with_care(answer)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd"])
async def test_compressed_bodies_are_415(live: Live, encoding: str) -> None:
    answer = await posted(live, BODY, f"Content-Encoding: {encoding}")
    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "content_type", [f"{OLD}; charset=utf-8", f'{OLD};charset="UTF-8"', "APPLICATION/JSON"]
)
async def test_json_in_utf_8_is_taken_however_it_is_spelled(live: Live, content_type: str) -> None:
    assert (await posted(live, BODY, content_type=content_type)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b'"x"',
        b"1",
        b"[]",
        b"[{}]",
        BODY[:-1],
        BODY + b"}",
        BODY + BODY,
        b"\xef\xbb\xbf" + BODY,
        b"\xff" + BODY,
        BODY.replace(b"version", b"\xc3\x28"),
        '{"query": "{ serverInfo { version } }"}'.encode("utf-16"),
        b'{"query": "\\ud800"}',
        b'{"query": "{ a }", "variables": {"a": NaN}}',
        b'{"query": "{ a }", "variables": {"a": 1e999}}',
        b'{"query": "{ a }", "variables": {"a": 123456789012345678901234567890}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"{}",
        b'{"query": null}',
        b'{"query": ""}',
        b'{"query": {}}',
        b'{"query": ["{ a }"]}',
        b'{"query": "{ a }", "variables": "{}"}',
        b'{"query": "{ a }", "variables": 1}',
        b'{"query": "{ a }", "operationName": {}}',
        b'{"query": "{ a }", "extensions": []}',
        b'{"documentId": 1}',
        b'[{"query": "{ a }"}, {"query": "{ a }"}]',
    ],
)
@pytest.mark.parametrize("accept", [OLD, NEW, STREAM])
async def test_what_is_no_request_is_400(live: Live, body: bytes, accept: str) -> None:
    answer = await posted(live, body, f"Accept: {accept}")
    assert (answer.status, answer.code) == (400, "BAD_REQUEST")
    spoken = OLD if accept == STREAM else accept
    assert answer.headers["content-type"] == f"{spoken}; charset=utf-8"
    assert_said_with_care(answer)


async def test_several_operations_at_once_are_refused_with_the_reason(live: Live) -> None:
    answer = await posted(live, b"[" + BODY + b"," + BODY + b"]")
    assert (answer.status, answer.code) == (400, "BAD_REQUEST")
    assert "one by one" in answer.json["errors"][0]["message"]


# --- GET --------------------------------------------------------------------------------------


async def test_a_query_in_the_address_is_answered(live: Live) -> None:
    answer = await got(live, f"/graphql?query={quote(QUERY)}")
    assert answer.status == 200
    assert answer.json["data"]["serverInfo"]
    assert_said_with_care(answer)


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "query=",
        "query",
        "query=%ff",
        "query=%C3%28",
        f"query={quote(QUERY)}&query={quote(QUERY)}",
        f"query={quote(QUERY)}&variables=nope",
        f"query={quote(QUERY)}&variables=%5B%5D",
        f"query={quote(QUERY)}&variables=1",
        f"query={quote(QUERY)}&variables=",
        f"query={quote(QUERY)}&extensions=%22x%22",
        "&".join(f"a{number}=1" for number in range(100)),
    ],
)
async def test_an_address_that_is_no_request_is_400(live: Live, parameters: str) -> None:
    answer = await got(live, f"/graphql?{parameters}")
    assert (answer.status, answer.code) == (400, "BAD_REQUEST")
    assert_said_with_care(answer)


@pytest.mark.parametrize("accept", [OLD, NEW, STREAM])
async def test_a_mutation_in_the_address_is_405(live: Live, accept: str) -> None:
    answer = await got(live, f"/graphql?query={quote(MUTATION)}", f"Accept: {accept}")
    assert (answer.status, answer.code) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("target", ["/", "/graphq", "/graphql/x", "/GRAPHQL", "/..%2fgraphql"])
async def test_there_is_nothing_elsewhere(live: Live, target: str) -> None:
    assert (await got(live, target)).status == 404


# --- what is wrong with an operation ----------------------------------------------------------


@pytest.mark.parametrize(
    "query, code",
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ __schema { types { name } } }" + " x", "GRAPHQL_PARSE_FAILED"),
        ("query ($id: ID!) { execution(id: $id) { id } }", "BAD_USER_INPUT"),
        ("{ " + "a " * 25 + "}", "LIMIT_EXCEEDED"),
        ("{ a } " + "#" * 100_000, "LIMIT_EXCEEDED"),
        ("{ serverInfo { " + "version " * 400 + "} }", "LIMIT_EXCEEDED"),
    ],
)
async def test_an_operation_that_cannot_begin_is_400_in_the_new_way_and_200_in_the_old(
    live: Live, query: str, code: str
) -> None:
    body = json.dumps({"query": query}).encode()
    old, new = await posted(live, body), await posted(live, body, f"Accept: {NEW}")
    assert (old.status, new.status) == (200, 400)
    assert old.json == new.json
    assert new.code == code
    assert "data" not in new.json


async def test_an_operation_that_has_begun_is_200_whatever_comes_of_it(live: Live) -> None:
    body = json.dumps(
        {"query": '{ nodes(ids: "x") { id } a: executions(first: -1) { nodes { id } } }'}
    )
    answer = await posted(live, body.encode(), f"Accept: {NEW}")
    assert answer.status == 200
    assert answer.json["data"] is None
    assert answer.json["errors"]


# --- streams ----------------------------------------------------------------------------------


async def test_events_come_one_by_one_in_chunks(live: Live) -> None:
    execution_id = await live.ended(STRAIGHT)
    query = "subscription ($id: ID!) { executionEvents(executionId: $id) { __typename } }"
    body = json.dumps({"query": query, "variables": {"id": execution_id}}).encode()
    async with wire(live) as line:
        line.post(body, f"Accept: {STREAM}")
        status, headers = await line.head()
        assert (status, headers["content-type"]) == (200, f"{STREAM}; charset=utf-8")
        assert headers["transfer-encoding"] == "chunked"
        first, second, *_, last = [chunk async for chunk in line.chunks()]
        assert first == b":\n\n"
        assert second == (
            b'event: next\nid: 1\ndata: {"data":{"executionEvents":'
            b'{"__typename":"ExecutionStarted"}}}\n\n'
        )
        assert last == b"event: complete\ndata: \n\n"
        line.post(BODY)
        assert (await line.answer()).status == 200


@pytest.mark.parametrize("accept", [OLD, NEW, "*/*"])
async def test_a_subscription_without_a_stream_is_told_where_streams_are(
    live: Live, accept: str
) -> None:
    body = json.dumps({"query": "subscription { executionEvents(executionId: 1) { __typename } }"})
    answer = await posted(live, body.encode(), f"Accept: {accept}")
    assert (answer.status, answer.code) == (400, "GRAPHQL_VALIDATION_FAILED")
    assert STREAM in answer.json["errors"][0]["message"]
    assert "graphql-transport-ws" in answer.json["errors"][0]["message"]


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
