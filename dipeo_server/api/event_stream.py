"""Server-sent events: one operation, its results one by one, until it completes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

import structlog
from starlette.types import Receive, Scope, Send

from dipeo_server.api.answer import HEADERS
from dipeo_server.api.context import ApiServices
from dipeo_server.api.http_protocol import LINK, STOPPED_SECONDS, HttpLink
from dipeo_server.api.json_dialect import dumps
from dipeo_server.api.negotiation import EVENT_STREAM

log = structlog.get_logger(__name__)

COMPLETE: Final = b"event: complete\ndata: \n\n"
_COMMENT: Final = b":\n\n"
_STOPPING: Final = b": the server stops; come again and go on where this ended\n\n"
_HEADERS: Final = {
    **HEADERS,
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "X-Accel-Buffering": "no",  # or else nginx would keep the events until there are enough
}
_RAW_HEADERS: Final = [(name.lower().encode(), text.encode()) for name, text in _HEADERS.items()]


def next_event(body: object, id_: int = 0) -> bytes:
    """A result; a browser that comes again tells the id of the last one it has got (0 = none)."""
    id_line = b"id: %d\n" % id_ if id_ else b""
    return b"event: next\n" + id_line + b"data: " + dumps(body) + b"\n\n"


@dataclass(eq=False, slots=True)
class EventStream:
    """The ASGI application of one stream: tells events until they end or their reader is gone.

    A reader that takes nothing for too long is hung up on; it may come again and go on. `places`
    are left when the stream has ended. One that `is_lasting` (a subscription) ends when the server
    stops or it is `over` for its reader; others come to their end.
    """

    events: AsyncGenerator[bytes, None]
    services: ApiServices
    places: ExitStack
    is_lasting: bool = field(kw_only=True)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _send: Send = field(init=False)
    _link: HttpLink | None = field(init=False, default=None)
    _is_quiet: bool = field(init=False, default=True)
    _is_over: bool = field(init=False, default=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        self._send = send
        self._link = scope.get("extensions", {}).get(LINK)
        try:
            with self.places:
                await send({"type": "http.response.start", "status": 200, "headers": _RAW_HEADERS})
                await self._until_somebody_ends(receive)
        except TimeoutError:
            log.warning("slow_reader_dropped")
            self.services.metrics.stalled_readers.labels("sse").inc()
            if self._link is not None:
                self._link.hang_up()
                await _gone(receive)

    async def _until_somebody_ends(self, receive: Receive) -> None:
        tasks = [asyncio.create_task(self._tell()), asyncio.create_task(self._keep_alive())]
        tasks.append(asyncio.create_task(_gone(receive)))
        if self.is_lasting:
            tasks.append(asyncio.create_task(self._stopped()))
            tasks.append(asyncio.create_task(self._ended_for_its_reader()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self.events.aclose()
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _tell(self) -> None:
        await self._write(_COMMENT)
        async for event in self.events:
            self._is_quiet = False
            await self._write(event)
        await self._write(COMPLETE)
        await self._end()

    async def _keep_alive(self) -> None:
        """Say something now and then, or whoever is between would take the silence for the end."""
        while True:
            await asyncio.sleep(self.services.limits.event_stream_keep_alive_seconds)
            if self._is_quiet:
                await self._write(_COMMENT)
            self._is_quiet = True

    async def _stopped(self) -> None:
        await self.services.closing.wait()
        async with asyncio.timeout(STOPPED_SECONDS):
            await self._write(_STOPPING)
            await self._end()

    async def _ended_for_its_reader(self) -> None:
        await self.over.wait()
        await self._end()

    async def _write(self, data: bytes) -> None:
        """Send it; waits as long as the reader reads. Raises TimeoutError when it does not."""
        is_sent = False
        while not (is_sent or self._is_over):
            unsent = 0 if self._link is None else self._link.unsent()
            try:
                async with asyncio.timeout(self.services.limits.socket_send_seconds):
                    await self._send(
                        {"type": "http.response.body", "body": data, "more_body": True}
                    )
                is_sent = True
            except TimeoutError:
                # Nothing of it was handed over: it still waited for what was there before it.
                if self._link is None or self._link.unsent() >= unsent:
                    raise

    async def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
