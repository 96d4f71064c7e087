"""What the nodes of a run print, on standard error while the run is followed (`run --log`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.events import log_lines
from dipeo_server.cli.log_text import LogText
from dipeo_server.cli.operations import LOGS, STORED_LOGS
from dipeo_server.cli.outcome import tell_text
from dipeo_server.cli.pages import stored
from dipeo_server.cli.telling import Event


@asynccontextmanager
async def tailed(client: GraphQLClient, execution_id: str) -> AsyncIterator[None]:
    """Tell every line that is printed until the block ends, each once.

    Raises Unavailable, RequestRefused.
    """
    tail = _Tail(client, execution_id)
    following = asyncio.create_task(tail.follow(), name="logs")
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    await tail.rest()


class _Tail:
    """Knows the place of the last line that was told."""

    def __init__(self, client: GraphQLClient, execution_id: str) -> None:
        self._client = client
        self._id = execution_id
        self._after: str | None = None
        self._text = LogText()

    async def follow(self) -> None:
        async with aclosing(log_lines(self._client, LOGS, self._place())) as stream:
            async for line in stream:
                self._tell(line)

    async def rest(self) -> None:
        """What was printed and not delivered yet."""
        lines = stored(self._client, STORED_LOGS, "logs", self._place())
        async with aclosing(lines) as stream:
            async for line in stream:
                self._tell(line)
        tell_text(self._text.end())

    def _place(self) -> dict[str, str | None]:
        return {"id": self._id, "node": None, "after": self._after}

    def _tell(self, line: Event) -> None:
        self._after = line["cursor"]
        tell_text(self._text.of(line))
