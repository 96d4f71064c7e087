"""The `gql` package as a client: over HTTP, and over a WebSocket that it opens a second time."""

from contextlib import aclosing
from typing import Any

import pytest
from gql import Client, GraphQLRequest
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

from tests.api.serving import EVENTS, RUN, STRAIGHT, Live

VERSION = "{ serverInfo { version } }"
SOURCE = {"inline": {"name": "conformance", "content": STRAIGHT, "format": "LIGHT"}}


def over_http(live: Live) -> Client:
    return Client(transport=HTTPXAsyncTransport(url=live.url), fetch_schema_from_transport=True)


def over_socket(live: Live) -> Client:
    return Client(transport=WebsocketsTransport(url=live.socket_url))


async def events(live: Live, most: int | None = None, **variables: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    request = GraphQLRequest(EVENTS, variable_values=variables)
    async with over_socket(live) as session, aclosing(session.subscribe(request)) as results:
        async for result in results:
            found.append(result["executionEvents"])
            if len(found) == most:
                break
    return found


@pytest.mark.parametrize("client_of", [over_http, over_socket])
async def test_a_query_and_a_mutation_are_answered(live: Live, client_of: Any) -> None:
    async with client_of(live) as session:
        found = await session.execute(GraphQLRequest(VERSION))
        run = GraphQLRequest(RUN, variable_values={"input": {"source": SOURCE}})
        ran = await session.execute(run)
    assert found["serverInfo"]["version"] == live.services.facts.version
    assert ran["runDiagram"]["errors"] == []


async def test_a_subscription_goes_on_where_it_was(live: Live) -> None:
    execution_id = await live.started(STRAIGHT)
    seen = await events(live, 2, id=execution_id)
    rest = await events(live, id=execution_id, after=seen[-1]["sequence"])
    assert seen + rest == await live.follow(execution_id)
