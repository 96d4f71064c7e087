"""Whatever is valid for the schema is answered: with data, or with an error that is meant."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from graphql import GraphQLSchema, build_schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.types import ASGIApp

from dipeo_server.api.http import create_routes
from dipeo_server.api.schema import print_schema_sdl
from tests.api.asgi import Asking
from tests.api.serving import ASKING, STRAIGHT, Live
from tests.api.valid_operations import Writer

CREATE = """mutation ($input: DiagramInput!) {
  createDiagram(input: $input) { diagram { id head { id } } errors { message } }
}"""
CHECKED = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
PROVED = settings(CHECKED, max_examples=5_000)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class World:
    """A server in which there is something to ask for."""

    app: ASGIApp
    schema: GraphQLSchema
    ids: list[str]

    async def check(self, data: st.DataObject) -> None:
        """Ask something by chance."""
        texts = ["", "work", "gate", "é\u2028", "0" * 300, STRAIGHT, ASKING]
        operation = Writer(self.schema, data.draw, self.ids, texts).operation()
        accept = b"text/event-stream" if operation.startswith("sub") else b"application/json"
        headers = {b"content-type": b"application/json", b"accept": accept}
        reply = await Asking(headers=headers, body=json.dumps({"query": operation}).encode()).of(
            self.app
        )
        told = f"{operation}: {reply.status} {reply.body!r}"
        assert reply.status == 200, told
        assert b'"INTERNAL"' not in reply.body, told
        assert b'"GRAPHQL_VALIDATION_FAILED"' not in reply.body, told
        assert b'"GRAPHQL_PARSE_FAILED"' not in reply.body, told


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(shared: Live) -> AsyncIterator[World]:
    """A run that has ended, one that waits, a stored diagram, and ids of nothing."""
    document = {"name": "kept", "content": STRAIGHT, "format": "LIGHT"}
    created = await shared.data(CREATE, input=document)
    diagram: dict[str, Any] = created["createDiagram"]["diagram"]
    ended, waiting = await shared.ended(STRAIGHT), await shared.started(ASKING)
    barriers = "query ($id: ID!) { execution(id: $id) { barriers { id } } }"
    await shared.data(barriers, id=waiting)
    yield World(
        Starlette(routes=create_routes(shared.services)),
        build_schema(print_schema_sdl(shared.services.specs)),
        [ended, ended, waiting, diagram["id"], diagram["head"]["id"], "x", "", "exec_0_none"],
    )


@pytest.mark.timeout(240)
@CHECKED
@given(data=st.data())
async def test_what_is_valid_is_answered(world: World, data: st.DataObject) -> None:
    await world.check(data)


@pytest.mark.prove
@pytest.mark.timeout(1_200)
@PROVED
@given(data=st.data())
async def test_whatever_is_valid_is_answered(world: World, data: st.DataObject) -> None:
    await world.check(data)
