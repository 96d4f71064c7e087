"""The events of one execution, each once and in order, however often the connection is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from dipeo_server.cli.client import ConnectionLost, GraphQLClient, ServerUnreachable
from dipeo_server.cli.operations import ACTIVE, EVENTS
from dipeo_server.cli.telling import Event

RECONNECT_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Waits before each attempt in a row that brings nothing; after the last one it is given up."""
TERMINAL: Final = {"ExecutionCompleted", "ExecutionFailed", "ExecutionAborted"}


async def events(client: GraphQLClient, execution_id: str) -> AsyncGenerator[Event, None]:
    """All events to the last. Raises Unavailable, RequestRefused."""
    after = "0"
    is_known = False
    delays = iter(RECONNECT_SECONDS)
    while True:
        seen = after
        try:
            variables = {"id": execution_id, "after": after}
            async with aclosing(client.subscribe(EVENTS, variables)) as stream:
                async for data in stream:
                    event = data["executionEvents"]
                    after = _place(event, after)
                    yield event
                    if event["__typename"] in TERMINAL:
                        return
            if not await _is_active(client, execution_id):
                return
        except (ConnectionLost, ServerUnreachable) as error:
            if isinstance(error, ServerUnreachable) and not is_known:
                raise
        is_known = True
        delays = iter(RECONNECT_SECONDS) if after != seen else delays
        await _pause(next(delays, None), execution_id)


def _place(event: Event, before: str) -> str:
    """Where to go on: behind an event, or behind the snapshot that stands in for lost ones."""
    snapshot = event.get("snapshot")
    return str(snapshot["lastSequence"] if snapshot else event.get("sequence") or before)


async def _is_active(client: GraphQLClient, execution_id: str) -> bool:
    execution = (await client.execute(ACTIVE, {"id": execution_id}))["execution"]
    return bool(execution and execution["isActive"])


async def _pause(seconds: float | None, execution_id: str) -> None:
    if seconds is None:
        message = f"The server went away while {execution_id} was running."
        raise ServerUnreachable(message, hint="The run goes on when the server is back.")
    await asyncio.sleep(seconds)
