"""What the packages of the protocols say: the audits of GraphQL over HTTP, and real clients."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.serving import STRAIGHT, serving
from tests.conformance.node import node

AUDITS = 61
SOURCE = {"inline": {"name": "conformance", "content": STRAIGHT, "format": "LIGHT"}}

pytestmark = pytest.mark.conformance


async def test_every_audit_of_graphql_over_http_is_passed(base_dir: Path) -> None:
    async with serving(base_dir) as live:
        results = await node("audits.mjs", live.url)
    assert [result for result in results if result["status"] != "ok"] == []
    assert len(results) == AUDITS


@pytest.mark.parametrize("transport", ["ws", "sse"])
async def test_a_client_asks_runs_and_goes_on_where_it_was(base_dir: Path, transport: str) -> None:
    async with serving(base_dir) as live:
        argument = json.dumps({"source": SOURCE})
        [told] = await node("clients.mjs", transport, live.url, argument)
        expected = await live.follow(told["ran"]["execution"]["id"])
    assert told["version"] == live.services.facts.version
    assert told["invalid"] == "GRAPHQL_VALIDATION_FAILED"
    assert told["ran"]["errors"] == []
    assert sequences(told["seen"]) == ["1", "2"]
    assert told["seen"] + told["rest"] == told["again"]
    assert sequences(told["again"]) == sequences(expected)


def sequences(events: list[dict[str, Any]]) -> list[str]:
    return [event["sequence"] for event in events]
