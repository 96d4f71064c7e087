"""graphql-transport-ws: one socket, many operations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter, GraphQL
from strawberry.http.exceptions import (
    NonJsonMessageReceived,
    NonTextMessageReceived,
    WebSocketDisconnected,
)
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
)
from typing_extensions import override

from dipeo_server.api.auth import Authenticator, authorization_of
from dipeo_server.api.context import ApiServices, Connection
from dipeo_server.api.guard import is_host_allowed, is_origin_allowed
from dipeo_server.api.json_dialect import dumps, loads
from dipeo_server.api.schema import Schema
from dipeo_server.errors import RateLimited, Unauthenticated

REASON_BYTES_MAX: Final = 123
UNAUTHORIZED: Final = 4401
FORBIDDEN: Final = 4403
TRY_AGAIN_LATER: Final = 1013

log = structlog.get_logger(__name__)


class SocketAdapter(ASGIWebSocketAdapter):
    """Frames in and out; a reader that takes nothing for too long is closed."""

    connection: Connection | None = None
    _reading: asyncio.Timeout | None = None
    _is_given_up = False
    _is_over = False

    @override
    async def iter_json(
        self, *, ignore_parsing_errors: bool = False
    ) -> AsyncGenerator[object, None]:
        """Every message, until somebody closes."""
        try:
            while (
                not self._is_over and self.ws.application_state is not WebSocketState.DISCONNECTED
            ):
                yield loads(await self._receive())
        except KeyError as problem:
            raise NonTextMessageReceived from problem
        except ValueError as problem:
            raise NonJsonMessageReceived from problem
        except (WebSocketDisconnect, TimeoutError):
            return

    @property
    def _is_closed(self) -> bool:
        return self._is_over or self.ws.application_state is WebSocketState.DISCONNECTED

    @property
    def _seconds(self) -> float | None:
        return self.connection.services.limits.socket_send_seconds if self.connection else None

    async def _receive(self) -> bytes:
        """The next text. Raises TimeoutError when the reader is given up meanwhile."""
        try:
            async with asyncio.timeout(None) as self._reading:
                return (await self.ws.receive_text()).encode()
        finally:
            self._reading = None

    @override
    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send one message; waits while the reader is slow, but not for ever."""
        if self._is_given_up:
            raise WebSocketDisconnected
        text = dumps(message).decode()
        try:
            async with asyncio.timeout(self._seconds):
                await self.ws.send_text(text)
        except TimeoutError:
            await self._give_up()
            raise WebSocketDisconnected from None
        except (WebSocketDisconnect, RuntimeError) as problem:
            raise WebSocketDisconnected from problem

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

    async def _give_up(self) -> None:
        """Say where to go on as soon as the reader reads again, or else hang up."""
        if self._is_given_up:
            return
        self._is_given_up = True
        last = self.connection.last_sequence if self.connection else 0
        try:
            async with asyncio.timeout(self._seconds):
                await self.close(TRY_AGAIN_LATER, f"slow reader; lastSequence={last}")
        except TimeoutError:
            log.warning("slow_reader_dropped", last_sequence=last)
        finally:
            self._is_over = True
            if self._reading is not None:
                self._reading.reschedule(asyncio.get_running_loop().time())


class SocketHandler(BaseGraphQLTransportWSHandler[Connection, None]):
    """The protocol's state machine, strict about what it takes.

    A document that is wrong is an `error` for its operation; the socket stays open.
    """

    @override
    async def handle(self) -> None:
        """Serve the socket until it closes."""
        assert isinstance(self.websocket, SocketAdapter)
        self.websocket.connection = self.context
        await super().handle()

    @override
    async def handle_message(self, message: Message) -> None:
        """Take one message, if it has the form that the protocol gives it."""
        fault = fault_of(message)
        if fault is not None:
            await self.handle_invalid_message(fault)
            return
        await super().handle_message(message)

    @override
    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        """Take the first message; a payload of null is none."""
        payload = message.get("payload") or {}
        if not await self._is_known(payload):
            return
        await super().handle_connection_init({"type": "connection_init", "payload": payload})

    async def _is_known(self, payload: Mapping[str, Any]) -> bool:
        """Has the client proved who it is? Closes the socket where it has not."""
        if self.connection_init_received:
            return True  # Once is enough; the protocol refuses a second time.
        assert isinstance(self.view, SocketView)
        assert isinstance(self.websocket, SocketAdapter)
        connection, socket = self.context, self.websocket.ws
        shown = authorization_of(payload) or socket.headers.get("authorization")
        address = None if socket.client is None else socket.client.host
        try:
            connection.identity = await self.view.authenticator.principal(
                shown, address, connection.request_id
            )
        except Unauthenticated as error:
            await self.websocket.close(UNAUTHORIZED, f"Unauthorized: {error.message}")
        except RateLimited as error:
            await self.websocket.close(FORBIDDEN, f"{error.message} {error.hint}")
        return connection.identity is not None

    @override
    async def handle_task_exception(self, error: Exception) -> None:
        """Tell the log about what ended an operation, unless it was the reader leaving."""
        if not isinstance(error, WebSocketDisconnected):
            log.error("socket_operation_failed", exc_info=error)

    @staticmethod
    @override
    def _get_pre_execution_close_reason(error: object) -> str | None:
        return None


class SocketView(GraphQL[Connection, None]):
    """The ASGI application behind the WebSocket at /graphql."""

    websocket_adapter_class = SocketAdapter
    graphql_transport_ws_handler_class = SocketHandler

    def __init__(
        self, schema: Schema, services: ApiServices, authenticator: Authenticator | None = None
    ) -> None:
        limits = services.limits
        super().__init__(
            schema,
            graphql_ide=None,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=timedelta(seconds=limits.socket_init_seconds),
            max_subscriptions_per_connection=limits.socket_operations,
        )
        self.authenticator = authenticator or Authenticator(services)
        self._services = services

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket, if it comes from where it may."""
        socket = WebSocket(scope, receive=receive, send=send)
        if not is_host_allowed(socket.headers, self._services.allowed_hosts):
            await _deny(socket, 421, "This server does not answer to that host name.")
        elif not is_origin_allowed(socket.headers, self._services.allowed_origins):
            await _deny(socket, 403, "Pages of other origins may not talk to this server.")
        else:
            await self.run(socket)

    @override
    async def get_context(
        self, request: Request | WebSocket, response: Response | WebSocket
    ) -> Connection:
        """What lasts as long as the socket."""
        return Connection(self._services)


async def _deny(socket: WebSocket, status: int, message: str) -> None:
    await socket.send_denial_response(PlainTextResponse(message, status_code=status))


def fault_of(message: object) -> str | None:
    """What is wrong with the form of a client's message, or None."""
    if not isinstance(message, dict):
        return "A message must be an object"
    payload = message.get("payload")
    match message.get("type"):
        case "connection_init" | "ping" | "pong":
            return None if isinstance(payload, dict | None) else "`payload` must be an object"
        case "subscribe":
            return _id_fault(message) or _request_fault(payload)
        case "complete":
            return _id_fault(message)
        case str() as name:
            return f"Unknown message type: {name}"
        case _:
            return "A message must have a `type`"


def _id_fault(message: Mapping[str, object]) -> str | None:
    id_ = message.get("id")
    return None if isinstance(id_, str) and id_ else "`id` must be a string that is not empty"


def _request_fault(payload: object) -> str | None:
    if not isinstance(payload, dict) or not isinstance(payload.get("query"), str):
        return "`payload` must be an object with a `query`"
    if not isinstance(payload.get("operationName"), str | None):
        return "`operationName` must be a string"
    for name in ("variables", "extensions"):
        if not isinstance(payload.get(name), dict | None):
            return f"`{name}` must be an object"
    return None
