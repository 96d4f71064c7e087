"""uvicorn's WebSocket protocol, bounded: no peer keeps a connection, or memory, for ever."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import TimerHandle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from typing_extensions import override
from uvicorn._types import ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame

LINK: Final = "dipeo_server.link"
"""Under this name the scope's extensions hold the Link of a connection."""
LEAVING_SECONDS: Final = 3.0
"""The application has so long to end what it does when the server stops."""
STOPPED_SECONDS: Final = 1.0
"""A peer has so long to take the last bytes of a server that stops."""
NOT_UTF8: Final = 1007
_AT_ONCE: Final = struct.pack("ii", 1, 0)
_BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True)
class Link:
    """What the application may know of the connection below it, and what it is told by it.

    `unsent` gives the bytes that the peer has not taken yet, as far as this process holds them.
    `leave` is called when the server stops; it is to close the socket soon.
    """

    unsent: Callable[[], int]
    leave: Callable[[], None] | None = None


class SocketProtocol(WebSocketsSansIOProtocol):
    """Closes for good: whoever takes nothing is cut off, however much is left to send.

    A peer has `ws_ping_timeout` seconds to answer a ping, and to take what is left behind a close.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._link = Link(self._unsent)
        self._patience = config.ws_ping_timeout or 20.0
        self._cutting: TimerHandle | None = None
        self._leaving: TimerHandle | None = None
        self._has_heard = self._is_doubtful = False
        self._unsent_at_ping = 0

    # --- the connection -------------------------------------------------------------------------

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._cutting, self._leaving):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    @override
    async def run_asgi(self) -> None:
        extensions = cast("dict[str, object]", self.scope["extensions"])
        extensions[LINK] = self._link
        await super().run_asgi()
        self._cut_off_within(self._patience)

    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def _cut_off_within(self, seconds: float) -> None:
        """A transport that is closed waits for its last byte to be taken: not longer than this."""
        due = self.loop.time() + seconds
        if self.disconnected or (self._cutting is not None and self._cutting.when() <= due):
            return
        if self._cutting is not None:
            self._cutting.cancel()
        self._cutting = self.loop.call_at(due, self._cut_off)

    def _cut_off(self) -> None:
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            # Or else the kernel would go on trying to deliver what it holds.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()

    # --- closing --------------------------------------------------------------------------------

    @override
    async def send(self, message: ASGISendEvent) -> None:
        """Send it; a close does not wait for a reader that takes nothing."""
        if message["type"] != "websocket.close" or not self.handshake_complete:
            await super().send(message)
            # A refusal is an answer as well: nothing is left to be said, or to be complained about.
            self.handshake_complete = self.handshake_complete or self.close_sent
            return
        self.writable.set()
        await super().send(message)
        self.writable.set()
        self._cut_off_within(self._patience if self._leaving is None else STOPPED_SECONDS)

    @override
    def shutdown(self) -> None:
        """Let the application say goodbye, or else say it."""
        is_open = self.handshake_complete and not self.close_sent
        if not is_open or self.transport.is_closing() or self._link.leave is None:
            self._leave()
            return
        self._leaving = self.loop.call_later(LEAVING_SECONDS, self._leave)
        self._link.leave()

    def _leave(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()
        self._cut_off_within(STOPPED_SECONDS)

    @override
    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self._cut_off_within(self._patience)

    @override
    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._cut_off_within(self._patience)

    # --- what comes -----------------------------------------------------------------------------

    @override
    def data_received(self, data: bytes) -> None:
        self._has_heard = True
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse_head()

    def _refuse_head(self) -> None:
        """Answer a request to open a socket that cannot be read: with a body, or too long a head.

        No event tells of it, and so nothing else would ever close the connection.
        """
        if not self.transport.is_closing():
            self.handshake_complete = self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()) or _BAD_REQUEST)
            self.transport.close()
            self._cut_off_within(self._patience)

    @override
    def send_receive_event_to_app(self) -> None:
        """Hand a whole message over; one that is no UTF-8 ends the connection, without a noise."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            data = b"".join(self.frames)
            self.frames = [data]
            try:
                data.decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.send_close(NOT_UTF8)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    @override
    def handle_ping(self) -> None:
        """Answer, unless the answers before have not been taken: they would only pile up."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    @override
    def send_keepalive_ping(self) -> None:
        self._has_heard = self._is_doubtful = False
        super().send_keepalive_ping()
        self._unsent_at_ping = self._unsent()

    @override
    def keepalive_timeout(self) -> None:
        """Give the peer up, unless something came from it or it took something: it is only slow.

        It is looked at twice: where this process itself stood still, its answer waits to be read.
        """
        if self._has_heard or self._unsent() < self._unsent_at_ping:
            self.pong_timer = None
            self.pending_ping_payload = None
            self.schedule_ping()
        elif not self._is_doubtful:
            self._is_doubtful = True
            self.pong_timer = self.loop.call_later(self._patience / 5, self.keepalive_timeout)
        else:
            super().keepalive_timeout()
            self._cut_off_within(STOPPED_SECONDS)
