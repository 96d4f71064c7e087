"""GraphQL over HTTP, and the routes of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, ExitStack, aclosing, contextmanager
from dataclasses import dataclass
from typing import Final

from graphql import GraphQLError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from dipeo_server.api.answer import body_of, json_response, status_of
from dipeo_server.api.auth import CHALLENGE, Authenticator, retry_after, whole_seconds
from dipeo_server.api.context import ApiServices, Connection
from dipeo_server.api.event_stream import EventStream, next_event
from dipeo_server.api.graphql_request import GraphQLRequest, Refused, malformed, read_request
from dipeo_server.api.guard import is_host_allowed, is_origin_allowed
from dipeo_server.api.masking import VALIDATION_FAILED, no_operation, public_error
from dipeo_server.api.negotiation import (
    EVENT_STREAM,
    GRAPHQL_JSON,
    JSON,
    answer_type,
    takes_event_stream,
)
from dipeo_server.api.observed import MetricsEndpoint, ReadyEndpoint, observed
from dipeo_server.api.schema import Schema, build_schema
from dipeo_server.api.traffic import Traffic
from dipeo_server.api.web import page_routes
from dipeo_server.api.ws import SocketView
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.errors import LimitExceeded, RateLimited, Unauthenticated

_QUERIES: Final = frozenset({OperationType.QUERY})
_MUTATIONS: Final = frozenset({OperationType.MUTATION})


@dataclass(frozen=True, slots=True)
class _Operation:
    """What is to be run: the text of its document, and its kind; or the fault in how it is named.

    `kind` is None where the document cannot be parsed, or has no such operation.
    """

    wish: GraphQLRequest
    text: str
    kind: OperationType | None
    connection: Connection
    fault: ExecutionResult | None = None


class HttpEndpoint:
    """The ASGI application behind POST and GET of /graphql."""

    def __init__(
        self, schema: Schema, services: ApiServices, authenticator: Authenticator, traffic: Traffic
    ) -> None:
        self._schema = schema
        self._services = services
        self._authenticator = authenticator
        self._limits = services.limits
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a client that goes away gets none."""
        try:
            response = await self._response(Request(scope, receive))
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets its number
            response = _failure(error)
        await response(scope, receive, send)

    async def _response(self, request: Request) -> ASGIApp:
        media_type = JSON
        try:
            self._check_sender(request.headers)
            request.state.connection = await self._connection(request)
            media_type = _answer_type(request)
            wish = await read_request(request, self._limits)
            with _known():  # A token may be over before all of its request has come.
                request.state.connection.known()
                return await self._answer(request, wish, media_type)
        except Refused as refused:
            spoken = JSON if media_type == EVENT_STREAM else media_type
            return json_response(refused.body, spoken, refused.status, refused.headers)

    def _check_sender(self, headers: Headers) -> None:
        if not is_host_allowed(headers, self._services.allowed_hosts):
            raise Refused(421, "MISDIRECTED", "This server does not answer to that host name.")
        if not is_origin_allowed(headers, self._services.allowed_origins):
            raise Refused(403, "FORBIDDEN", "Pages of other origins may not talk to this server.")

    async def _connection(self, request: Request) -> Connection:
        """The connection of whoever asks. Raises Refused where that is nobody who is known."""
        connection = Connection(self._services)
        address = None if request.client is None else request.client.host
        try:
            with _known():
                connection.identity = await self._authenticator.principal(
                    request.headers.get("authorization"), address, connection.request_id
                )
        except RateLimited as error:
            wait = {"Retry-After": str(whole_seconds(error.retry_after))}
            raise Refused(429, error.code, error.message, wait) from error
        return connection

    # --- the answer -----------------------------------------------------------------------------

    async def _answer(self, request: Request, wish: GraphQLRequest, media_type: str) -> ASGIApp:
        operation = self._operation(request, wish)
        if operation.kind is OperationType.MUTATION and request.method == "GET":
            message = "Only queries can be sent with GET; send a mutation with POST."
            raise Refused(405, "METHOD_NOT_ALLOWED", message, {"Allow": "POST"})
        if operation.kind is OperationType.SUBSCRIPTION:
            if not takes_event_stream(request.headers.get("accept")):
                raise _needs_a_stream()
            return self._lasting_stream(operation)
        if media_type == EVENT_STREAM:
            return self._short_stream(operation)
        result = await self._execute(operation)
        too_often = retry_after(result.errors)
        status = status_of(result, media_type) if too_often is None else 429
        return json_response(body_of(result), media_type, status, too_often)

    def _operation(self, request: Request, wish: GraphQLRequest) -> _Operation:
        connection: Connection = request.state.connection
        connection.resume_after = _last_event_id(request.headers)
        try:
            text = self._schema.persisted.text(wish.query, wish.extensions, wish.document_id)
        except GraphQLError as error:
            return _Operation(wish, "", None, connection, ExecutionResult(None, [error]))
        if not text:
            raise malformed("`query` must be given, as a string.")
        return _Operation(wish, text, self._schema.kind_of(text, wish.operation_name), connection)

    async def _execute(self, operation: _Operation) -> ExecutionResult:
        if operation.fault is not None:
            return operation.fault
        allowed = _MUTATIONS if operation.kind is OperationType.MUTATION else _QUERIES
        try:
            async with asyncio.timeout(self._limits.operation_seconds):
                return await self._schema.execute(
                    operation.text,
                    variable_values=operation.wish.variables,
                    context_value=operation.connection,
                    operation_name=operation.wish.operation_name,
                    allowed_operation_types=allowed,
                )
        except CannotGetOperationTypeError as problem:
            message = no_operation(operation.wish.operation_name)
            raise Refused(400, VALIDATION_FAILED, message) from problem
        except InvalidOperationTypeError as problem:
            raise Refused(400, VALIDATION_FAILED, str(problem)) from problem
        except TimeoutError:
            message = f"The operation took longer than {self._limits.operation_seconds:g} seconds."
            raise Refused(504, "TIMEOUT", message) from None

    # --- event streams --------------------------------------------------------------------------

    def _short_stream(self, operation: _Operation) -> ASGIApp:
        places = ExitStack()
        _enter(places, self._traffic.stream())
        return EventStream(self._one_result(operation), self._services, places, is_lasting=False)

    def _lasting_stream(self, operation: _Operation) -> ASGIApp:
        who, access = operation.connection.known(), self._services.access
        places = ExitStack()
        _enter(places, self._traffic.stream())
        _enter(places, self._traffic.subscription(who))
        stream = EventStream(self._results(operation), self._services, places, is_lasting=True)
        if access is not None and who.token_id is not None:
            places.callback(access.when_over(who.token_id, stream.over.set))
        return stream

    async def _one_result(self, operation: _Operation) -> AsyncGenerator[bytes, None]:
        try:
            with _known():
                result = await self._execute(operation)
        except Refused as refused:
            yield next_event(refused.body)
        else:
            yield next_event(body_of(result))

    async def _results(self, operation: _Operation) -> AsyncGenerator[bytes, None]:
        try:
            with _known():
                results = await self._schema.stream(
                    operation.text,
                    variable_values=operation.wish.variables,
                    context_value=operation.connection,
                    operation_name=operation.wish.operation_name,
                )
        except Refused as refused:
            yield next_event(refused.body)
            return
        async with aclosing(results):
            async for result in results:
                assert isinstance(result, ExecutionResult)  # nothing is delivered in parts
                yield next_event(body_of(result), operation.connection.position)


@contextmanager
def _known() -> Iterator[None]:
    """Raises Refused where it turns out that nobody who is known asks, or not any more."""
    try:
        yield
    except Unauthenticated as error:
        raise Refused(401, error.code, error.message, CHALLENGE) from error


def _answer_type(request: Request) -> str:
    if request.method not in {"GET", "POST"}:
        message = "GraphQL over HTTP knows GET and POST."
        raise Refused(405, "METHOD_NOT_ALLOWED", message, {"Allow": "GET, POST"})
    media_type = answer_type(request.headers.get("accept"))
    if media_type is None:
        message = f"Answers are {GRAPHQL_JSON}, {JSON} or {EVENT_STREAM}."
        raise Refused(406, "NOT_ACCEPTABLE", message)
    return media_type


def _enter(places: ExitStack, place: AbstractContextManager[None]) -> None:
    """Take one more place. Raises Refused where there is none, and leaves the others."""
    try:
        places.enter_context(place)
    except LimitExceeded as error:
        places.close()
        raise Refused(429, error.code, error.message, {"Retry-After": "5"}) from error


def _last_event_id(headers: Headers) -> Seq:
    """The event that a browser which reconnects has seen last; 0 where it does not say."""
    text = headers.get("last-event-id", "")
    return Seq(int(text)) if text.isascii() and text.isdecimal() and len(text) < 19 else Seq(0)


def _failure(error: Exception) -> ASGIApp:
    told = public_error(GraphQLError(str(error), original_error=error))
    return json_response({"errors": [told.formatted]}, JSON, 500)


def _needs_a_stream() -> Refused:
    message = (
        f"A subscription needs a stream: send `Accept: {EVENT_STREAM}` for server-sent events, or "
        "connect to this address as a WebSocket with the sub-protocol graphql-transport-ws."
    )
    return Refused(400, VALIDATION_FAILED, message)


class HealthEndpoint:
    """The ASGI application behind /healthz."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """200 while executions are served, else 503."""
        is_ready = self._services.is_ready()
        body = {
            "status": "ok" if is_ready else "unavailable",
            "version": self._services.facts.version,
        }
        await json_response(body, JSON, 200 if is_ready else 503)(scope, receive, send)


def create_routes(services: ApiServices) -> list[BaseRoute]:
    """Everything the server answers: the API, how it is, its figures, and the pages."""
    schema = build_schema(services.specs, services.limits, services.trusted_documents)
    authenticator = Authenticator(services)
    sockets = SocketView(schema, services, authenticator)
    routes = [
        Route("/graphql", HttpEndpoint(schema, services, authenticator, sockets.traffic)),
        WebSocketRoute("/graphql", sockets),
        Route("/healthz", HealthEndpoint(services), methods=["GET"]),
        Route("/readyz", ReadyEndpoint(services).answer, methods=["GET"]),
        Route("/metrics", MetricsEndpoint(services, authenticator).answer, methods=["GET"]),
        *page_routes(),
    ]
    return observed(routes, services)
