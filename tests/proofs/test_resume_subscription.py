"""A subscription that is cut and resumed a hundred times tells every event exactly once."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.cli.processes import served

CUTS = 100
LOOP = """
version: light
nodes:
  - {label: start, type: start}
  - {label: h, type: transform}
  - {label: pause, type: delay, seconds: 0.01}
  - {label: c, type: condition, expression: "i >= 90", expose_index_as: i, max_iteration: 500}
  - {label: end, type: endpoint}
connections:
  - {from: start, to: h}
  - {from: h, to: pause}
  - {from: pause, to: c}
  - {from: "c[condfalse]", to: h}
  - {from: "c[condtrue]", to: end}
"""
RUN = """mutation($input: RunDiagramInput!) {
  runDiagram(input: $input) { execution { id } errors { message } } }"""
FOLLOW = """subscription($id: ID!, $after: Sequence) {
  executionEvents(executionId: $id, after: $after) {
    __typename ... on ExecutionEvent { sequence } } }"""
ALL = """query($id: ID!) { execution(id: $id) { lastSequence status } }"""


async def follow(url: str, execution_id: str, after: int | None) -> ClientConnection:
    """A socket that is subscribed behind that sequence."""
    # No limit on what is read ahead: else a full queue holds back the answer to our goodbye.
    socket = await connect(
        url.replace("http", "ws", 1),
        subprotocols=[Subprotocol("graphql-transport-ws")],
        max_queue=None,
    )
    await socket.send(json.dumps({"type": "connection_init"}))
    assert json.loads(await socket.recv())["type"] == "connection_ack"
    variables: dict[str, Any] = {"id": execution_id}
    if after is not None:
        variables["after"] = str(after)
    payload = {"query": FOLLOW, "variables": variables}
    await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
    return socket


async def read(socket: ClientConnection, count: int) -> tuple[list[int], bool]:
    """Up to `count` sequences, and whether the subscription completed."""
    found: list[int] = []
    while len(found) < count:
        message = json.loads(await socket.recv())
        if message["type"] == "complete":
            return found, True
        assert message["type"] == "next", message
        found.append(int(message["payload"]["data"]["executionEvents"]["sequence"]))
    return found, False


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(2))
async def test_a_hundred_cuts_lose_and_repeat_no_event(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with served("--store", f"sqlite:{tmp_path / 's.db'}", "--base-dir", str(tmp_path)) as url:
        async with httpx.AsyncClient(timeout=20) as http:
            source = {"inline": {"name": "loop", "content": LOOP, "format": "LIGHT"}}
            variables = {"input": {"source": source, "variables": {"i": 0}}}
            answer = await http.post(url, json={"query": RUN, "variables": variables})
            assert "data" in answer.json(), answer.text
            payload = answer.json()["data"]["runDiagram"]
            assert payload["errors"] == []
            identity = payload["execution"]["id"]
            seen: list[int] = []
            cuts, is_complete = 0, False
            while not is_complete:
                socket = await follow(url, identity, seen[-1] if seen else None)
                count = rng.randint(1, 12) if cuts < CUTS else 1_000_000
                found, is_complete = await read(socket, count)
                seen.extend(found)
                if rng.random() < 0.5:
                    socket.transport.abort()  # As a network does, without a goodbye.
                    await socket.wait_closed()
                else:
                    await socket.close()
                cuts += 1
            answer = await http.post(url, json={"query": ALL, "variables": {"id": identity}})
    execution = answer.json()["data"]["execution"]
    assert execution["status"] == "COMPLETED"
    assert cuts > CUTS
    assert seen == list(range(1, int(execution["lastSequence"]) + 1))
