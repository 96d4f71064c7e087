"""The frames of one socket: JSON in and out, one at a time, and no longer than its reader reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, TypeAlias

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.async_base_view import AsyncBaseHTTPView
from strawberry.http.exceptions import (
    NonJsonMessageReceived,
    NonTextMessageReceived,
    WebSocketDisconnected,
)
from typing_extensions import override

from dipeo_server.api.context import Connection
from dipeo_server.api.json_dialect import dumps, loads
from dipeo_server.api.socket_protocol import LINK, Link

REASON_BYTES_MAX: Final = 123
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013
GLANCES: Final = 5
"""A reader is looked at so often, each time in vain, before it is given up."""

View: TypeAlias = AsyncBaseHTTPView[Any, Any, Any, Any, Any, Any, Any]

log = structlog.get_logger(__name__)


class SocketAdapter(ASGIWebSocketAdapter):
    """Messages in and out; a reader that takes no byte for too long is closed."""

    def __init__(self, view: View, request: WebSocket, response: WebSocket) -> None:
        super().__init__(view, request, response)
        self.connection: Connection | None = None
        self.link: Link | None = response.scope.get("extensions", {}).get(LINK)
        # One message at a time goes out: many operations would fill the buffer with one each.
        self._sending = asyncio.Lock()
        self._reading: asyncio.Timeout | None = None
        self._is_given_up = False

    @override
    async def iter_json(
        self, *, ignore_parsing_errors: bool = False
    ) -> AsyncGenerator[object, None]:
        """Every message, until somebody closes."""
        try:
            while not self._is_closed:
                yield loads(await self._receive())
        except KeyError as problem:
            raise NonTextMessageReceived from problem
        except ValueError as problem:
            raise NonJsonMessageReceived from problem
        except (WebSocketDisconnect, TimeoutError):
            return

    @override
    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send one message; waits while the reader is slow, but not for one that has stopped.

        Raises WebSocketDisconnected when the socket is closed, or is closed meanwhile.
        """
        async with self._sending:
            text = dumps(message).decode()
            in_vain, unsent = 0, self._unsent
            while not self._is_given_up:
                try:
                    async with asyncio.timeout(self._glance):
                        await self.ws.send_text(text)
                except TimeoutError:
                    in_vain = 0 if self._unsent < unsent else in_vain + 1
                    unsent = self._unsent
                    if in_vain == GLANCES:
                        await self._give_up()
                except (WebSocketDisconnect, RuntimeError) as problem:
                    raise WebSocketDisconnected from problem
                else:
                    return
        raise WebSocketDisconnected

    @override
    async def close(self, code: int, reason: str) -> None:
        """Close, if it is still open; a reason may have 123 bytes."""
        if self.ws.application_state is WebSocketState.DISCONNECTED:
            return
        short = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
        try:
            await self.ws.close(code=code, reason=short)
        except (WebSocketDisconnect, RuntimeError) as problem:
            raise WebSocketDisconnected from problem

    def reason(self, why: str) -> str:
        """Why it is closed, and where whoever comes back goes on."""
        room = REASON_BYTES_MAX - len(why) - 2
        where = self.connection.places.told(room) if self.connection else ""
        return f"{why}; {where}" if where else why

    @property
    def _is_closed(self) -> bool:
        return self._is_given_up or self.ws.application_state is WebSocketState.DISCONNECTED

    @property
    def _seconds(self) -> float | None:
        return self.connection.services.limits.socket_send_seconds if self.connection else None

    @property
    def _glance(self) -> float | None:
        """How long to wait until looking at the reader again.

        Several times before it is given up: one long wait may have been our own, not the reader's.
        """
        return None if self._seconds is None else self._seconds / GLANCES

    @property
    def _unsent(self) -> int:
        """Bytes that wait for the reader; 0 where the server below does not tell."""
        return self.link.unsent() if self.link else 0

    async def _receive(self) -> bytes:
        """The next text. Raises TimeoutError when the reader is given up meanwhile."""
        try:
            async with asyncio.timeout(None) as self._reading:
                return (await self.ws.receive_text()).encode()
        finally:
            self._reading = None

    async def _give_up(self) -> None:
        """Say where to go on, for a reader that reads again; nothing else is sent."""
        self._is_given_up = True
        reason = self.reason("slow reader")
        log.warning("slow_reader_closed", reason=reason)
        if self.connection:
            self.connection.services.metrics.stalled_readers.labels("websocket").inc()
        try:
            async with asyncio.timeout(self._seconds):
                await self.close(TRY_AGAIN_LATER, reason)
        except TimeoutError:
            pass  # Other servers wait even with this; ours does not.
        finally:
            if self._reading is not None:
                self._reading.reschedule(asyncio.get_running_loop().time())
