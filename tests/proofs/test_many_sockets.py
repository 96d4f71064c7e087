"""A thousand sockets on one server: those that read miss nothing beside those that do not."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.api.serving import RUN, light
from tests.api.wire import RawSocket
from tests.cli.processes import Running, started

SOCKETS = 1_000
STALLED = 50
MEMORY_KIB_MAX = 160
"""What a socket may cost the server: 64 KiB of what is not sent, an operation, and its own page."""
TALKATIVE = light(
    "begin -> turn -> check",
    "'check[condfalse]' -> turn",
    "'check[condtrue]' -> end",
    begin="start",
    turn="template_job, template: '{{ text }}'",
    check="condition, expression: 'i >= 16', expose_index_as: i, max_iteration: 500",
    end="endpoint",
)
RESUME = "mutation ($id: ID!) { resumeExecution(id: $id) { errors { message } } }"
FOLLOW = """subscription ($id: ID!, $after: Sequence) {
  executionEvents(executionId: $id, after: $after) {
    ... on ExecutionEvent { sequence }
    ... on NodeCompleted { output { body } } } }"""


def memory_kib(server: Running) -> int:
    """What the server holds."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    [line] = [each for each in status.splitlines() if each.startswith("VmRSS:")]
    return int(line.split()[1])


async def ask(http: httpx.AsyncClient, url: str, query: str, **variables: Any) -> Any:
    """The payload of the only field of an answer."""
    answer = (await http.post(url, json={"query": query, "variables": variables})).json()
    [payload] = answer["data"].values()
    assert payload["errors"] == []
    return payload


def subscribe(execution: str, after: int) -> dict[str, Any]:
    """The message that follows a run."""
    payload = {"query": FOLLOW, "variables": {"id": execution, "after": after}}
    return {"id": "1", "type": "subscribe", "payload": payload}


async def reader(url: str) -> ClientConnection:
    """A socket that is acknowledged."""
    connection = await connect(
        url.replace("http", "ws", 1),
        subprotocols=[Subprotocol("graphql-transport-ws")],
        compression=None,
        proxy=None,
        max_queue=None,
        ping_interval=None,
        open_timeout=60,
    )
    await connection.send('{"type": "connection_init"}')
    await connection.recv()
    return connection


async def read(connection: ClientConnection, execution: str, after: int = 0) -> list[int]:
    """Everything the run has to tell, until it is complete."""
    await connection.send(json.dumps(subscribe(execution, after)))
    found: list[int] = []
    while (message := json.loads(await connection.recv()))["type"] == "next":
        found.append(int(message["payload"]["data"]["executionEvents"]["sequence"]))
    assert message == {"id": "1", "type": "complete"}
    return found


def stall(url: str, execution: str) -> RawSocket:
    """A socket that follows a run, and does not read what it is told."""
    raw = RawSocket.open(url, receive_bytes=4_096)
    raw.send({"type": "connection_init"})
    assert raw.next_frame() is not None
    raw.send(subscribe(execution, 0))
    return raw


def ended(raw: RawSocket) -> tuple[list[int], int, str]:
    """What it was told, and code and reason of the close behind it."""
    *frames, (_, data) = raw.frames()
    messages = [json.loads(text) for opcode, text in frames if opcode == 0x1]
    items = [each["payload"]["data"]["executionEvents"] for each in messages]
    return [int(item["sequence"]) for item in items], int.from_bytes(data[:2]), data[2:].decode()


@pytest.mark.prove
@pytest.mark.timeout(600)
async def test_a_thousand_sockets_with_some_that_do_not_read(base_dir: Path) -> None:
    arguments = ("--port", "0", "--store", "memory:", "--base-dir", base_dir)
    # Those that have stopped get long to take what is left: here they read when all others have.
    env = {"DIPEO_LIMITS__SOCKET_PING_SECONDS": "300"}
    with started("serve", *arguments, env=env) as server, ExitStack() as raws:
        url = server.line().removeprefix("ready ")
        async with httpx.AsyncClient(timeout=120, trust_env=False) as http:
            source = {"inline": {"name": "n", "content": TALKATIVE, "format": "LIGHT"}}
            variables = {"i": 0, "text": "#" * 20_000}
            wish = {"source": source, "variables": variables, "startPaused": True}
            execution = (await ask(http, url, RUN, input=wish))["execution"]["id"]
            before = memory_kib(server)
            stalled = [await asyncio.to_thread(stall, url, execution) for _ in range(STALLED)]
            for raw in stalled:
                raws.enter_context(raw.connection)
            readers = [await reader(url) for _ in range(SOCKETS - STALLED)]
            reading = [asyncio.create_task(read(each, execution)) for each in readers]
            await ask(http, url, RESUME, id=execution)
            found = await asyncio.gather(*reading)
            growth = (memory_kib(server) - before) / SOCKETS
            ends = await asyncio.to_thread(lambda: [ended(raw) for raw in stalled])
            again = await read(readers[0], execution, after=len(ends[0][0]))
            for each in readers:
                await each.close()
    everything = list(range(1, len(found[0]) + 1))
    print(f"{SOCKETS} sockets, {len(everything)} events each, {growth:.0f} KiB a socket")
    assert found == [everything] * len(readers)
    for seen, code, reason in ends:
        assert seen == everything[: len(seen)]
        assert len(seen) < len(everything)
        assert (code, reason) == (1013, f"slow reader; lastSequence={len(seen)}")
    assert ends[0][0] + again == everything
    assert growth < MEMORY_KIB_MAX
