"""What a server tells as it happens, each item once, however often the connection is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.cli.client import ConnectionLost, GraphQLClient, ServerUnreachable
from dipeo_server.cli.operations import ACTIVE, EVENTS
from dipeo_server.cli.telling import Event

RECONNECT_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Waits before each attempt in a row that brings nothing; after the last one it is given up."""
LASTING_SECONDS: Final = 10.0
"""A connection that has lasted so long was a good one, even if there was nothing to tell."""
TERMINAL: Final = {"ExecutionCompleted", "ExecutionFailed", "ExecutionAborted"}


@dataclass(frozen=True, slots=True)
class Feed:
    """A subscription: its document, its field, and what tells that the server has no more.

    `place` gives the variables to go on with behind an item; `lost` is the message of the error
    where the server does not come back.
    """

    document: str
    field: str
    place: Callable[[Event], Mapping[str, Any]]
    is_over: Callable[[], Awaitable[bool]]
    lost: str


async def events(
    client: GraphQLClient, execution_id: str, after: str = "0", document: str = EVENTS
) -> AsyncGenerator[Event, None]:
    """All events behind `after` to the last. Raises Unavailable, RequestRefused."""
    feed = Feed(
        document,
        "executionEvents",
        _behind_event,
        lambda: _has_ended(client, execution_id),
        f"The server went away while {execution_id} was running.",
    )
    async with aclosing(_items(client, feed, {"id": execution_id, "after": after})) as stream:
        async for event in stream:
            yield event
            if event["__typename"] in TERMINAL:
                return


async def log_lines(
    client: GraphQLClient, document: str, variables: Mapping[str, Any]
) -> AsyncGenerator[Event, None]:
    """Lines of the run `id` of `variables`, as its nodes print them, until it has ended.

    Raises Unavailable, RequestRefused.
    """
    execution_id = variables["id"]
    feed = Feed(
        document,
        "executionLogs",
        lambda line: {"after": line["cursor"]},
        lambda: _has_ended(client, execution_id),
        f"The server went away while {execution_id} was running.",
    )
    async with aclosing(_items(client, feed, variables)) as stream:
        async for line in stream:
            yield line


async def barriers_as_they_come(
    client: GraphQLClient, document: str, execution_id: str | None
) -> AsyncGenerator[Event, None]:
    """Every barrier that waits or comes to wait, each once; of one run until it has ended.

    Raises Unavailable, RequestRefused.
    """

    async def is_over() -> bool:
        return execution_id is not None and await _has_ended(client, execution_id)

    feed = Feed(document, "barrierWaiting", lambda _: {}, is_over, "The server went away.")
    seen: set[str] = set()
    async with aclosing(_items(client, feed, {"id": execution_id})) as stream:
        async for barrier in stream:
            if barrier["id"] not in seen:
                seen.add(barrier["id"])
                yield barrier


async def _items(
    client: GraphQLClient, feed: Feed, first: Mapping[str, Any]
) -> AsyncGenerator[Event, None]:
    variables = dict(first)
    is_known = False
    delays = iter(RECONNECT_SECONDS)
    while True:
        is_good = False
        began = time.monotonic()
        try:
            async with aclosing(client.subscribe(feed.document, variables)) as stream:
                async for data in stream:
                    item = data[feed.field]
                    is_good = True
                    variables.update(feed.place(item))
                    yield item
            if await feed.is_over():
                return
        except (ConnectionLost, ServerUnreachable) as error:
            if isinstance(error, ServerUnreachable) and not (is_known or is_good):
                raise
        is_known = True
        if is_good or time.monotonic() - began > LASTING_SECONDS:
            delays = iter(RECONNECT_SECONDS)
        await _pause(next(delays, None), feed.lost)


def _behind_event(event: Event) -> Mapping[str, Any]:
    """Where to go on: behind an event, or behind the snapshot that stands in for lost ones."""
    snapshot = event.get("snapshot")
    sequence = snapshot["lastSequence"] if snapshot else event.get("sequence")
    return {"after": str(sequence)} if sequence else {}


async def _has_ended(client: GraphQLClient, execution_id: str) -> bool:
    execution = (await client.execute(ACTIVE, {"id": execution_id}))["execution"]
    return not (execution and execution["isActive"])


async def _pause(seconds: float | None, lost: str) -> None:
    if seconds is None:
        raise ServerUnreachable(lost, hint="Runs go on when the server is back.")
    await asyncio.sleep(seconds)
