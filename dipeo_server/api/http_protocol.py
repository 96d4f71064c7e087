"""uvicorn's HTTP/1.1 protocol, bounded: no peer keeps a connection, or memory, for ever."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import TimerHandle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import h11
from starlette.types import Receive, Scope, Send
from typing_extensions import override
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from dipeo_server.api.answer import HEADERS
from dipeo_server.api.json_dialect import dumps
from dipeo_server.api.negotiation import JSON

LINK: Final = "dipeo_server.http_link"
"""Under this name the scope's extensions hold the HttpLink of a connection."""
STOPPED_SECONDS: Final = 1.0
"""What is half sent, to or from a server that stops, has so long to come to its end."""
_AT_ONCE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class HttpLink:
    """What the application may know of the connection below it, and do with it.

    `unsent` gives the bytes that the peer has not taken yet, as far as this process holds them;
    `hang_up` ends the connection at once, whatever is left.
    """

    unsent: Callable[[], int]
    hang_up: Callable[[], None]


class HttpProtocol(H11Protocol):
    """Waits neither for heads that do not come nor for readers that do not read.

    A head has `timeout_keep_alive` seconds to come, behind an answer that did not wait for the body
    with all that is left of that; and so has each part of what a peer takes once the connection is
    closed.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._link = HttpLink(self._unsent, self._hang_up)
        self._application = self.app
        self.app = self._linked
        self._head: TimerHandle | None = None
        self._cutting: TimerHandle | None = None

    async def _linked(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"] = {**scope.get("extensions", {}), LINK: self._link}
        await self._application(scope, receive, send)

    # --- the connection -------------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        super().connection_made(transport)
        self._expect_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timers()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_protocol() is not self:
            return
        if self.conn.their_state is not h11.IDLE:
            if not self._is_answered:
                self._forget_head()
        elif self.conn.trailing_data[0]:
            self._expect_head()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        # What still comes of the body is thrown away; uvicorn's timer would stop at its next byte.
        if self._is_answered and not self.transport.is_closing():
            self._expect_head()

    @property
    def _is_answered(self) -> bool:
        """Is the answer complete, though the request is not?"""
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY

    @override
    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._forget_timers()
        super().handle_websocket_upgrade(event)

    @override
    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._cut_off_unless_taken(self.timeout_keep_alive)

    @override
    def shutdown(self) -> None:
        """Finish what is being answered; a request that is still being sent is not waited for."""
        super().shutdown()
        cycle = self.cycle
        is_asking = cycle is not None and cycle.more_body and not cycle.response_started
        if is_asking:
            self._cutting = self.loop.call_later(STOPPED_SECONDS, self._hang_up)
        else:
            self._cut_off_unless_taken(STOPPED_SECONDS)

    # --- waiting --------------------------------------------------------------------------------

    def _expect_head(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(self.timeout_keep_alive, self._close)

    def _close(self) -> None:
        self.transport.close()
        self._cut_off_unless_taken(self.timeout_keep_alive)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _forget_timers(self) -> None:
        self._forget_head()
        if self._cutting is not None:
            self._cutting.cancel()

    def _cut_off_unless_taken(self, seconds: float, left: int | None = None) -> None:
        """A transport that is closed waits for its last byte to be taken; not if none is."""
        unsent = self._unsent()
        if not self.transport.is_closing() or not unsent:
            return
        if left is not None and unsent >= left:
            self._hang_up()
            return
        again = self._cut_off_unless_taken
        self._cutting = self.loop.call_later(seconds, again, seconds, unsent)

    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def _hang_up(self) -> None:
        connection = self.transport.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0:
            # Or else the kernel would go on trying to deliver what it holds.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()

    # --- what is no HTTP ------------------------------------------------------------------------

    @override
    def send_400_response(self, msg: str) -> None:
        """Refuse it as everything else is refused, if there is still room for an answer."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
            return
        body = dumps({"errors": [{"message": msg, "extensions": {"code": "BAD_REQUEST"}}]})
        named = {**HEADERS, "Content-Type": f"{JSON}; charset=utf-8", "Connection": "close"}
        headers = [(name.encode(), text.encode()) for name, text in named.items()]
        headers.append((b"Content-Length", str(len(body)).encode()))
        response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
