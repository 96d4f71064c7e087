"""graphql-transport-ws: one socket, many operations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack, aclosing, suppress
from datetime import timedelta
from typing import Any, Final

import structlog
from graphql import GraphQLError
from graphql.error import GraphQLFormattedError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
    Operation,
)
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
    PingMessage,
    SubscribeMessage,
)
from strawberry.types.graphql import OperationType
from typing_extensions import override

from dipeo_server.api.auth import Authenticator, authorization_of
from dipeo_server.api.context import ApiServices, Connection
from dipeo_server.api.frames import SERVICE_RESTART, SocketAdapter
from dipeo_server.api.guard import is_host_allowed, is_origin_allowed
from dipeo_server.api.masking import public_error
from dipeo_server.api.messages import fault_of
from dipeo_server.api.schema import Schema
from dipeo_server.api.socket_protocol import LEAVING_SECONDS
from dipeo_server.api.traffic import Traffic
from dipeo_server.errors import (
    DipeoError,
    LimitExceeded,
    RateLimited,
    Unauthenticated,
    Unavailable,
)

UNAUTHORIZED: Final = 4401
FORBIDDEN: Final = 4403
ALREADY_EXISTS: Final = 4409

log = structlog.get_logger(__name__)


class SocketOperation(Operation[Connection, None]):
    """One operation of a socket; whoever sent it completes it, or the server does, once."""

    __slots__ = ("extensions",)

    def __init__(self, handler: SocketHandler, message: SubscribeMessage) -> None:
        payload = message["payload"]
        name = payload.get("operationName")
        super().__init__(handler, message["id"], payload["query"], payload.get("variables"), name)
        self.extensions = payload.get("extensions")

    @property
    def is_open(self) -> bool:
        """Does the client still want to hear of it?"""
        return not self.completed and self.handler.operations.get(self.id) is self


class SocketHandler(BaseGraphQLTransportWSHandler[Connection, None]):
    """The protocol's state machine, strict about what it takes.

    A document that is wrong is an `error` for its operation; the socket stays open.
    """

    view: SocketView
    schema: Schema
    websocket: SocketAdapter

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._commands: set[asyncio.Task[None]] = set()
        self._leaving: asyncio.Task[None] | None = None
        self._watch = ExitStack()

    @override
    async def handle(self) -> None:
        """Serve the socket until it closes."""
        self.websocket.connection = self.context
        if self.websocket.link is not None:
            self.websocket.link.leave = self._leave_soon
        await super().handle()

    @override
    async def shutdown(self) -> None:
        """End what the socket has begun."""
        self._watch.close()
        if self._leaving is not None:
            self._leaving.cancel()
        await super().shutdown()

    # --- messages -------------------------------------------------------------------------------

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
        if self.connection_init_timeout_task is not None and not self.connection_timed_out:
            self.connection_init_timeout_task.cancel()  # To look at a token takes a moment, too.
        if not await self._is_known(payload):
            return
        await super().handle_connection_init({"type": "connection_init", "payload": payload})

    async def _is_known(self, payload: Mapping[str, Any]) -> bool:
        """Has the client proved who it is? Closes the socket where it has not."""
        if self.connection_init_received:
            return True  # Once is enough; the protocol refuses a second time.
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
        who, access = connection.identity, self.view.services.access
        if who is not None and who.token_id is not None and access is not None:
            self._watch.callback(access.when_over(who.token_id, self._cut_off_soon))
        return who is not None

    @override
    async def handle_ping(self, message: PingMessage) -> None:
        """Answer with what came."""
        payload = message.get("payload")
        await self.send_message(
            {"type": "pong", "payload": payload} if payload else {"type": "pong"}
        )

    @override
    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Begin an operation, unless there is no room for it."""
        id_ = message["id"]
        if not self.connection_acknowledged:
            await self.websocket.close(UNAUTHORIZED, "Unauthorized")
        elif id_ in self.operations:
            await self.websocket.close(ALREADY_EXISTS, f"Subscriber for {id_} already exists")
        elif (refusal := self._refusal()) is not None:
            await self.send_message({"id": id_, "type": "error", "payload": _payload(refusal)})
        else:
            operation = SocketOperation(self, message)
            self.operations[id_] = operation
            operation.task = asyncio.create_task(self.run_operation(operation))
            operation.task.add_done_callback(self._task_done)

    def _refusal(self) -> DipeoError | None:
        """Why no operation may begin now, if that is so."""
        most = self.view.services.limits.socket_operations
        if self._leaving is not None:
            return Unavailable("The server is stopping.")
        if len(self.operations) >= most:
            return LimitExceeded(f"A socket may have {most} operations at once.")
        return None

    # --- operations -----------------------------------------------------------------------------

    @override
    async def run_operation(self, operation: Operation[Connection, None]) -> None:
        """Run it to its end; whatever goes wrong is an `error` for it alone."""
        assert isinstance(operation, SocketOperation)
        try:
            if self._kind(operation) is OperationType.SUBSCRIPTION:
                with self.view.traffic.subscription(self.context.known()):
                    await self._tell(operation)
            else:
                await self._carry_out(operation)
        except WebSocketDisconnected:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the other operations go on
            await self._tell_failure(operation, error)
        finally:
            if self.operations.get(operation.id) is operation:
                del self.operations[operation.id]

    async def _carry_out(self, operation: SocketOperation) -> None:
        """A query or a mutation: within its time, and before the socket leaves."""
        assert operation.task is not None
        seconds = self.view.services.limits.operation_seconds
        self._commands.add(operation.task)
        try:
            async with asyncio.timeout(seconds):
                await self._tell(operation)
        except TimeoutError:
            message = f"The operation took longer than {seconds:g} seconds."
            raise GraphQLError(message, extensions={"code": "TIMEOUT"}) from None
        finally:
            self._commands.discard(operation.task)

    async def _tell(self, operation: SocketOperation) -> None:
        results = await self.schema.stream(
            operation.query,
            variable_values=operation.variables,
            context_value=self.context,
            operation_name=operation.operation_name,
            operation_extensions=operation.extensions,
        )
        async with aclosing(results):
            await self._send_result_stream(operation, results)
        if operation.is_open:
            await operation.send_operation_message({"id": operation.id, "type": "complete"})

    async def _tell_failure(self, operation: SocketOperation, error: Exception) -> None:
        if operation.is_open:
            with suppress(WebSocketDisconnected):
                await operation.send_initial_errors([_public(error)])
        else:
            await self.handle_task_exception(error)

    def _kind(self, operation: SocketOperation) -> OperationType | None:
        """Raises GraphQLError where there is no document."""
        text = self.schema.persisted.text(operation.query, operation.extensions)
        if not text:
            message = "`query` must not be empty."
            raise GraphQLError(message, extensions={"code": "BAD_REQUEST"})
        return self.schema.kind_of(text, operation.operation_name)

    # --- the end --------------------------------------------------------------------------------

    def _leave_soon(self) -> None:
        self._leaving = self._leaving or asyncio.create_task(self._leave())

    async def _leave(self) -> None:
        """Close because the server stops: as soon as what was asked for is answered."""
        if self._commands:
            await asyncio.wait(self._commands, timeout=LEAVING_SECONDS / 2)
        with suppress(WebSocketDisconnected):
            await self.websocket.close(SERVICE_RESTART, self.websocket.reason("service restart"))

    def _cut_off_soon(self) -> None:
        """The token is over; a socket that leaves already only leaves by another code."""
        leaving, self._leaving = self._leaving, asyncio.create_task(self._cut_off())
        if leaving is not None:
            leaving.cancel()

    async def _cut_off(self) -> None:
        """Close because the token does not open this server any more; nothing is waited for."""
        with suppress(WebSocketDisconnected):
            await self.websocket.close(UNAUTHORIZED, "Unauthorized: the token is over.")

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
            allowed_origins=sorted(services.allowed_origins),
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=timedelta(seconds=limits.socket_init_seconds),
            max_subscriptions_per_connection=limits.socket_operations,
        )
        self.services = services
        self.authenticator = authenticator or Authenticator(services)
        self.traffic = Traffic(limits)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket, if it comes from where it may."""
        socket = WebSocket(scope, receive=receive, send=send)
        if not is_host_allowed(socket.headers, self.services.allowed_hosts):
            await _deny(socket, 421, "This server does not answer to that host name.")
        elif not is_origin_allowed(socket.headers, self.services.allowed_origins):
            await _deny(socket, 403, "Pages of other origins may not talk to this server.")
        else:
            await self._serve(socket)

    async def _serve(self, socket: WebSocket) -> None:
        with ExitStack() as places:
            try:
                places.enter_context(self.traffic.socket())
            except LimitExceeded as error:
                await _deny(socket, 503, error.message)
            else:
                await self.run(socket)

    @override
    async def get_context(
        self, request: Request | WebSocket, response: Response | WebSocket
    ) -> Connection:
        """What lasts as long as the socket."""
        return Connection(self.services)


async def _deny(socket: WebSocket, status: int, message: str) -> None:
    await socket.send_denial_response(PlainTextResponse(message, status_code=status))


def _payload(error: DipeoError) -> list[GraphQLFormattedError]:
    return [_public(error).formatted]


def _public(error: Exception) -> GraphQLError:
    if isinstance(error, GraphQLError):
        return public_error(error)
    return public_error(GraphQLError(str(error), original_error=error))
