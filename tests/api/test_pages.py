"""The pages beside the API: how they are served, and that GraphiQL's example operations work."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import graphql
import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from dipeo_server.api.web import CONTENT_SECURITY_POLICY, page_routes
from tests.api.serving import Live

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "frontend-stub" / "src" / "graphiql" / "examples"
NAMES = [path.stem for path in sorted(EXAMPLES.glob("*.graphql"))]
SCHEMA = graphql.build_schema((ROOT / "schema.graphql").read_text())


def example(name: str) -> tuple[str, dict[str, Any]]:
    """The operation of a tab, and the variables that it opens with."""
    variables = EXAMPLES / f"{name}.json"
    given = json.loads(variables.read_text()) if variables.is_file() else {}
    return (EXAMPLES / f"{name}.graphql").read_text(), given


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A folder as `make frontend` leaves it, beside a file that is nobody's business."""
    folder = tmp_path / "web"
    (folder / "assets").mkdir(parents=True)
    (folder / "graphiql.html").write_text("<!doctype html>")
    (folder / "assets" / "page-B1x_9.js").write_text("export {}")
    (folder / "assets" / ".hidden").write_text("hidden")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest_asyncio.fixture
async def pages(web: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the pages alone."""
    transport = httpx.ASGITransport(Starlette(routes=page_routes(web)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_the_page_may_load_nothing_from_elsewhere(pages: httpx.AsyncClient) -> None:
    answer = await pages.get("/graphiql")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"


async def test_assets_are_kept_by_browsers_for_good(pages: httpx.AsyncClient) -> None:
    answer = await pages.get("/assets/page-B1x_9.js")
    assert answer.status_code == 200
    assert "javascript" in answer.headers["content-type"]
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    [
        "other.js",
        ".hidden",
        "..%2f..%2fsecret.txt",
        "%2e%2e%2fgraphiql.html",
        "..",
        "%00",
        "x" * 5_000,
        "page-B1x_9.js%0a",
    ],
)
async def test_no_other_file_can_be_had(pages: httpx.AsyncClient, name: str) -> None:
    answer = await pages.get(f"/assets/{name}")
    assert answer.status_code == 404
    assert "secret" not in answer.text


async def test_without_built_pages_it_says_how_to_build_them(
    pages: httpx.AsyncClient, web: Path
) -> None:
    (web / "graphiql.html").unlink()
    answer = await pages.get("/graphiql")
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/plain")
    assert "make frontend" in answer.text


async def test_a_server_has_the_page_beside_its_api(live: Live) -> None:
    answer = await live.http.get(live.url.replace("/graphql", "/graphiql"))
    assert answer.status_code in {200, 503}
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert (await live.data("{ serverInfo { version } }"))["serverInfo"]["version"]


@pytest.mark.parametrize("name", NAMES)
def test_each_example_fits_the_schema(name: str) -> None:
    text, variables = example(name)
    document = graphql.parse(text)
    assert graphql.validate(SCHEMA, document) == []
    [operation] = document.definitions
    assert isinstance(operation, graphql.OperationDefinitionNode)
    assert operation.name is not None
    definitions = operation.variable_definitions or ()
    found = graphql.get_variable_values(SCHEMA, definitions, variables)
    assert not isinstance(found, list), found
    declared = {each.variable.name.value for each in definitions}
    assert set(variables) <= declared


async def test_the_examples_lead_through_a_run(live: Live) -> None:
    run, follow, waiting, approve, state, fork, *others = (example(name) for name in NAMES)
    started = (await live.data(run[0]))["runDiagram"]
    assert started["errors"] == []
    execution_id = started["execution"]["id"]
    async with live.socket() as client:
        operation = await client.subscribe(follow[0], **{**follow[1], "id": execution_id})
        while (await client.next(operation)).get("to") != "WAITING":
            pass
        [barrier] = (await live.data(waiting[0]))["waitingBarriers"]
        assert barrier["prompt"] == "May this go out? Spring sale begins on Monday!"
        approved = await live.data(approve[0], **{**approve[1], "id": barrier["id"]})
        assert approved["approveBarrier"]["barrier"]["status"] == "APPROVED"
        while (await client.next(operation))["__typename"] != "ExecutionCompleted":
            pass
    now = await live.data(state[0], id=execution_id)
    assert now["execution"]["status"] == "COMPLETED"
    forked = (await live.data(fork[0], **{**fork[1], "id": execution_id}))["forkExecution"]
    assert (forked["errors"], forked["execution"]["parent"]) == ([], {"id": execution_id})
    for query, variables in others:
        await live.data(query, **variables)
