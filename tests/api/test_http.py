"""GraphQL over HTTP: what is taken, what is refused, and how it is said."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from gql import Client, gql
from gql.transport.httpx import HTTPXAsyncTransport
from starlette.applications import Starlette
from structlog.testing import capture_logs

from dipeo_server.api.auth import Authenticator
from dipeo_server.api.context import ApiLimits
from dipeo_server.api.http import HttpEndpoint, create_routes
from dipeo_server.api.schema import build_schema
from dipeo_server.api.traffic import Traffic
from dipeo_server.domains.access.principal import Principal
from dipeo_server.domains.diagram.spec import NodeProps
from tests.api.asgi import Asking
from tests.api.serving import Live, serving

VERSION = "{ serverInfo { version } }"
NEW = "application/graphql-response+json"
OLD = "application/json"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def live(shared: Live) -> Live:
    """Nothing here leaves anything behind, so one server is enough."""
    return shared


async def post(live: Live, body: object, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await live.http.post(live.url, content=content, headers={"content-type": OLD} | named)


def code_of(response: httpx.Response) -> str:
    assert response.headers["content-type"].endswith("+json; charset=utf-8") or (
        response.headers["content-type"] == f"{OLD}; charset=utf-8"
    )
    [error] = response.json()["errors"]
    found: str = error["extensions"]["code"]
    return found


async def test_an_answer_is_json_that_nobody_keeps(live: Live) -> None:
    response = await post(live, {"query": VERSION})
    assert response.status_code == 200
    assert response.json() == {"data": {"serverInfo": {"version": live.services.facts.version}}}
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.headers["vary"] == "Accept"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_the_new_media_type_is_given_to_whom_asks_for_it(live: Live) -> None:
    response = await post(live, {"query": VERSION}, accept=f"{NEW}, {OLD}")
    assert response.headers["content-type"] == f"{NEW}; charset=utf-8"


@pytest.mark.parametrize(
    "query, variables, code",
    [
        ("{", {}, "GRAPHQL_PARSE_FAILED"),
        ("{ nope }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("query ($id: ID!) { execution(id: $id) { id } }", {}, "BAD_USER_INPUT"),
        ("{ " + "b " * 25 + "}", {}, "LIMIT_EXCEEDED"),
        ("{ " * 900, {}, "GRAPHQL_PARSE_FAILED"),
        ("{ x" + " { x" * 100 + " }" * 101, {}, "LIMIT_EXCEEDED"),
        ("{ x" + " { x" * 600 + " }" * 601, {}, "GRAPHQL_PARSE_FAILED"),
        ("{ node(id: " + "[" * 900 + "]" * 900 + ") { id } }", {}, "GRAPHQL_PARSE_FAILED"),
        ("{ a " + "# b \n" * 10 + "a " * 2_100 + "}", {}, "GRAPHQL_PARSE_FAILED"),
        (
            "query A { nodeTypes { type } } query B { nodeTypes { type } }",
            {},
            "GRAPHQL_VALIDATION_FAILED",
        ),
    ],
)
async def test_what_is_wrong_with_an_operation_is_said_in_the_old_and_the_new_way(
    live: Live, query: str, variables: dict[str, Any], code: str
) -> None:
    old = await post(live, {"query": query, "variables": variables}, accept=OLD)
    new = await post(live, {"query": query, "variables": variables}, accept=NEW)
    assert (old.status_code, new.status_code) == (200, 400)
    assert old.json() == new.json()
    assert "data" not in new.json()
    assert code_of(new) == code


async def test_one_of_several_operations_must_be_named(live: Live) -> None:
    query = "query A { serverInfo { version } } query B { nodeTypes { type } }"
    unnamed = await post(live, {"query": query}, accept=NEW)
    assert (unnamed.status_code, code_of(unnamed)) == (400, "GRAPHQL_VALIDATION_FAILED")
    named = await post(live, {"query": query, "operationName": "A"})
    assert list(named.json()["data"]) == ["serverInfo"]
    unknown = await post(live, {"query": query, "operationName": "C"})
    assert (unknown.status_code, code_of(unknown)) == (400, "GRAPHQL_VALIDATION_FAILED")
    assert unknown.json()["errors"][0]["message"] == "The document has no operation named 'C'."


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b'"x"',
        b"1",
        b"[]",
        b"{}",
        b"nope",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"query": "{ nodeTypes { type } }", "variables": {"a": NaN}}',
        b'{"query": 1}',
        b'{"query": null}',
        b'{"query": ""}',
        b'{"query": "{ nodeTypes { type } }", "variables": []}',
        b'{"query": "{ nodeTypes { type } }", "operationName": 1}',
        b'{"query": "{ nodeTypes { type } }", "extensions": "x"}',
        b'{"query": "{ nodeTypes { type } }", "variables": {"a": 99999999999999999999}}',
        b'[{"query": "{ nodeTypes { type } }"}]',
    ],
)
@pytest.mark.parametrize("accept", [OLD, NEW])
async def test_what_is_no_request_is_refused(live: Live, body: bytes, accept: str) -> None:
    response = await post(live, body, accept=accept)
    assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")


async def test_no_body_makes_the_server_fail(live: Live) -> None:
    chance = random.Random(8412)
    valid = json.dumps({"query": VERSION, "variables": {"a": [1, {"b": None}]}}).encode()
    for _ in range(400):
        body = bytearray(valid)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(body))
            match chance.randrange(3):
                case 0:
                    body[at] = chance.randrange(256)
                case 1:
                    del body[at : at + chance.randint(1, 20)]
                case _:
                    body[at:at] = chance.choice([b"null", b"{", b"\\ud800", b"1e999", b"\x00"])
            body = body or bytearray(b"x")
        response = await post(live, bytes(body))
        assert response.status_code in {200, 400}, bytes(body)
        assert "INTERNAL" not in response.text, bytes(body)


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 5_000_000])
async def test_a_body_that_is_too_large_is_refused_while_it_is_read(live: Live, size: int) -> None:
    announced = await post(live, b" " * size)
    assert (announced.status_code, code_of(announced)) == (413, "PAYLOAD_TOO_LARGE")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 65_536 + 1):
            yield b" " * 65_536

    streamed = await live.http.post(live.url, content=chunks(), headers={"content-type": OLD})
    assert (streamed.status_code, code_of(streamed)) == (413, "PAYLOAD_TOO_LARGE")
    assert (await post(live, {"query": VERSION})).status_code == 200


async def test_a_body_of_the_largest_size_is_taken(live: Live) -> None:
    body = json.dumps({"query": VERSION}).encode()
    response = await post(live, body + b" " * (1024 * 1024 - len(body)))
    assert response.status_code == 200


async def test_a_body_that_does_not_come_is_not_waited_for(base_dir: Path) -> None:
    async with serving(base_dir, limits=ApiLimits(body_seconds=0.1)) as live:
        port = httpx.URL(live.url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {OLD}\r\n"
        writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"TIMEOUT"' in answer


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "application/graphql",
        "",
    ],
)
async def test_only_json_is_taken(live: Live, content_type: str) -> None:
    response = await post(live, {"query": VERSION}, content_type=content_type)
    assert (response.status_code, code_of(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_an_answer_nobody_wants_is_not_made(live: Live) -> None:
    response = await post(live, {"query": VERSION}, accept="text/html")
    assert (response.status_code, code_of(response)) == (406, "NOT_ACCEPTABLE")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused(live: Live, method: str) -> None:
    response = await live.http.request(method, live.url)
    assert (response.status_code, code_of(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "GET, POST"


async def get(live: Live, **parameters: str) -> httpx.Response:
    return await live.http.get(live.url, params=parameters)


async def test_a_query_may_be_sent_with_get(live: Live) -> None:
    query = "query Q($id: ID!) { execution(id: $id) { id } }"
    response = await get(live, query=query, variables='{"id": "x"}', operationName="Q")
    assert response.json() == {"data": {"execution": None}}
    assert response.headers["cache-control"] == "no-store"


async def test_get_changes_nothing(live: Live) -> None:
    response = await get(live, query='mutation { abortExecution(id: "x") { errors { code } } }')
    assert (response.status_code, code_of(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"query": ""},
        {"query": VERSION, "variables": "x"},
        {"query": VERSION, "variables": "[]"},
    ],
)
async def test_a_get_that_is_no_request_is_refused(live: Live, parameters: dict[str, str]) -> None:
    response = await get(live, **parameters)
    assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_subscription_is_pointed_to_the_socket(live: Live, method: str) -> None:
    query = 'subscription { executionEvents(executionId: "x") { __typename } }'
    response = (
        await get(live, query=query) if method == "GET" else await post(live, {"query": query})
    )
    assert response.status_code == 400
    assert "graphql-transport-ws" in response.text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_pages_of_other_origins_are_kept_out(live: Live, method: str) -> None:
    async def status(**headers: str) -> int:
        response = await live.http.request(
            method,
            live.url,
            headers={"content-type": OLD} | headers,
            params={"query": VERSION} if method == "GET" else None,
            content=None if method == "GET" else json.dumps({"query": VERSION}),
        )
        return response.status_code

    own = live.url.removesuffix("/graphql")
    assert await status() == 200
    assert await status(origin=own) == 200
    assert await status(origin="http://evil.example") == 403
    assert await status(origin="http://127.0.0.1:1") == 403
    assert await status(origin="null") == 403
    assert await status(host="evil.example") == 421
    assert await status(host="evil.example", origin="http://evil.example") == 421
    assert await status(host="localhost:80") == 200


async def test_a_bug_is_told_as_a_number(live: Live, base_dir: Path) -> None:
    class Broken(NodeProps):
        """Props whose schema cannot be made."""

        @classmethod
        def model_json_schema(cls, *_args: Any, **_options: Any) -> dict[str, Any]:
            raise RuntimeError("secret path /srv/key sk-live-123")

    spec = replace(live.services.specs["start"], props=Broken)
    services = replace(live.services, specs={"start": spec})
    app = Starlette(routes=create_routes(services))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.post("/graphql", json={"query": "{ nodeTypes { propsSchema } }"})
    assert response.status_code == 200
    assert response.json()["data"] is None
    assert "sk-live" not in response.text
    assert code_of(response) == "INTERNAL"


async def test_a_bug_outside_of_any_operation_is_told_as_a_number_too(live: Live) -> None:
    class Broken(Authenticator):
        """Fails in a way that nobody has thought of."""

        async def principal(self, *_asked: Any, **_more: Any) -> Principal:
            raise RuntimeError("secret path /srv/key sk-live-123")

    schema, services = build_schema(live.services.specs), live.services
    endpoint = HttpEndpoint(schema, services, Broken(services), Traffic(services.limits))
    with capture_logs() as logs:
        reply = await Asking().of(endpoint)
    [error] = json.loads(reply.body)["errors"]
    assert (reply.status, error["extensions"]["code"]) == (500, "INTERNAL")
    assert b"sk-live" not in reply.body
    assert error["extensions"]["errorId"] in {entry.get("error_id") for entry in logs}


async def test_health_needs_nothing(base_dir: Path) -> None:
    async with serving(base_dir) as live:
        url = live.url.replace("/graphql", "/healthz")
        response = await live.http.get(url, headers={"host": "load-balancer"})
        assert response.status_code == 200
        assert response.json() == {"status": "ok", "version": live.services.facts.version}
        await live.services.runner.close()  # type: ignore[attr-defined] # the server's own runner
        assert (await live.http.get(url)).status_code == 503


async def test_an_operation_that_takes_too_long_is_given_up(base_dir: Path) -> None:
    async with serving(base_dir, limits=ApiLimits(operation_seconds=0)) as live:
        response = await post(live, {"query": '{ execution(id: "x") { id } }'})
    assert (response.status_code, code_of(response)) == (504, "TIMEOUT")


async def test_any_client_can_talk_to_it(live: Live) -> None:
    async with Client(
        transport=HTTPXAsyncTransport(url=live.url), fetch_schema_from_transport=True
    ) as session:
        found = await session.execute(gql(VERSION))
    assert found["serverInfo"]["version"] == live.services.facts.version
