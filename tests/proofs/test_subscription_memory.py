"""A subscription costs the server no memory that grows with the number of its events."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.storage.opening import open_store
from tests.api.serving import PROTOCOL, Socket
from tests.builders import Story
from tests.cli.processes import Running, started

websockets = pytest.importorskip("websockets")

GROWTH_BYTES_MAX = 5_000_000
WARM_AFTER = 4_000
LONG = [pytest.mark.prove, pytest.mark.timeout(600)]
EVENTS = """subscription ($id: ID!) {
  executionEvents(executionId: $id) {
    __typename
    ... on ExecutionEvent { sequence }
    ... on NodeCompleted { output { body } tokenUsage { total } }
  }
}"""

Follow = Callable[[str, str], AsyncGenerator[int, None]]


def long_story(events: int) -> Story:
    """A run that went round a loop until it had so many events."""
    often = {"max_iteration": 1_000_000}
    text = "s -> a -> c; c.t -> e; c.f -> a"
    story = Story(text, props={"a": often, "c": often}, max_steps=events)
    story.returns("s", 1)
    while len(story.log) < events - 5:
        story.returns("a", {"turn": len(story.log), "text": "x" * 20})
        story.returns("c", port="condfalse")
    story.returns("a", 1)
    story.returns("c", port="condtrue")
    story.returns("e", 1)
    assert story.state.status.is_terminal
    return story


async def keep(story: Story, path: Path) -> str:
    """Put its log into a store; gives the id of the run."""
    summary = summary_of(story.state)
    store = await open_store(f"sqlite:{path}")
    try:
        await store.append(summary.id, story.log, after=Seq(0), summary=summary)
    finally:
        await store.close()
    return summary.id


async def over_event_stream(url: str, execution_id: str) -> AsyncGenerator[int, None]:
    """How many events have come, one after the other."""
    count = 0
    body = {"query": EVENTS, "variables": {"id": execution_id}}
    async with (
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
        client.stream("POST", url, json=body, headers={"accept": "text/event-stream"}) as response,
    ):
        async for chunk in response.aiter_bytes():
            for _ in range(chunk.count(b"\nevent: next") + chunk.startswith(b"event: next")):
                count += 1
                yield count


async def over_socket(url: str, execution_id: str) -> AsyncGenerator[int, None]:
    """How many events have come, one after the other."""
    count = 0
    async with websockets.connect(
        url.replace("http", "ws", 1), subprotocols=[PROTOCOL], max_size=None
    ) as connection:
        client = Socket(connection)
        await client.send({"type": "connection_init"})
        assert (await client.receive())["type"] == "connection_ack"
        await client.subscribe(EVENTS, id=execution_id)
        while '"next"' in str(await connection.recv())[:60]:
            count += 1
            yield count


def memory_of(server: Running) -> int:
    """What the process has in memory, in bytes."""
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="there is no /proc here")
@pytest.mark.parametrize(
    "follow, events",
    [
        pytest.param(over_event_stream, 16_000, marks=pytest.mark.timeout(240)),
        pytest.param(over_event_stream, 160_000, marks=LONG),
        pytest.param(over_socket, 160_000, marks=LONG),
    ],
)
async def test_memory_does_not_grow_with_the_events_of_a_subscription(
    base_dir: Path, follow: Follow, events: int
) -> None:
    story = long_story(events)
    execution_id = await keep(story, base_dir / "runs.db")
    env = {"DIPEO_AUTH": "none", "DIPEO_BASE_DIR": str(base_dir)}
    with started("serve", "--port", "0", "--store", base_dir / "runs.db", env=env) as server:
        url = await asyncio.to_thread(server.line)
        warm = count = 0
        async with aclosing(follow(url.removeprefix("ready "), execution_id)) as counted:
            async for count in counted:
                if count == WARM_AFTER:
                    warm = memory_of(server)
        growth = memory_of(server) - warm
    print(json.dumps({"events": count, "warm": warm, "growth": growth}))
    assert count == len(story.log)
    assert growth < GROWTH_BYTES_MAX
