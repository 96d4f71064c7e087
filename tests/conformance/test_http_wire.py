"""GraphQL over HTTP, written on plain sockets: what libraries would never send is sent here too."""

import json
from urllib.parse import quote

import pytest

from tests.api.serving import STRAIGHT, Live
from tests.conformance.wire import assert_said_with_care, got, posted, wire

QUERY = "{ serverInfo { version } }"
BODY = json.dumps({"query": QUERY}).encode()
NEW = "application/graphql-response+json"
OLD = "application/json"
STREAM = "text/event-stream"
MUTATION = 'mutation { abortExecution(id: "x") { errors { code } } }'

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def live(shared: Live) -> Live:
    """Nothing here leaves anything behind, so one server is enough."""
    return shared


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
        BODY[:-1] + b', "variables": {"a": ' + b"[" * 200 + b"]" * 200 + b"}}",
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
