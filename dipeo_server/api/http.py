"""GraphQL over HTTP, and the routes of the server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from dipeo_server.api.context import ApiServices, Connection
from dipeo_server.api.guard import is_host_allowed, is_origin_allowed
from dipeo_server.api.json_dialect import dumps, loads
from dipeo_server.api.masking import VALIDATION_FAILED
from dipeo_server.api.negotiation import GRAPHQL_JSON, JSON, answer_type, is_json
from dipeo_server.api.schema import Schema, build_schema
from dipeo_server.api.web import page_routes
from dipeo_server.api.ws import SocketView

DISCARDED_BYTES_MAX: Final = 64 * 1024 * 1024

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
}
_QUERIES: Final = frozenset({OperationType.QUERY})
_ONE_ANSWER: Final = frozenset({OperationType.QUERY, OperationType.MUTATION})


class Refused(Exception):
    """A request that is no GraphQL request, or not one that this server takes."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body = {"errors": [{"message": message, "extensions": {"code": code}}]}


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """What a client asks to be executed."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None


class HttpEndpoint:
    """The ASGI application behind POST and GET of /graphql."""

    def __init__(self, schema: Schema, services: ApiServices) -> None:
        self._schema = schema
        self._services = services
        self._limits = services.limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a client that goes away gets none."""
        try:
            response = await self._response(Request(scope, receive))
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        media_type = JSON
        try:
            self._check_sender(request.headers)
            media_type = self._answer_type(request)
            wish = await self._wish(request)
            result = await self._execute(wish, is_get=request.method == "GET")
        except Refused as refused:
            return _response(refused.body, media_type, refused.status, refused.headers)
        return _response(_body(result), media_type, _status(result, media_type))

    def _check_sender(self, headers: Headers) -> None:
        if not is_host_allowed(headers, self._services.allowed_hosts):
            raise Refused(421, "MISDIRECTED", "This server does not answer to that host name.")
        if not is_origin_allowed(headers):
            raise Refused(403, "FORBIDDEN", "Pages of other origins may not talk to this server.")

    def _answer_type(self, request: Request) -> str:
        if request.method not in {"GET", "POST"}:
            message = "GraphQL over HTTP knows GET and POST."
            raise Refused(405, "METHOD_NOT_ALLOWED", message, {"Allow": "GET, POST"})
        media_type = answer_type(request.headers.get("accept"))
        if media_type is None:
            message = f"Answers are {GRAPHQL_JSON} or {JSON}."
            raise Refused(406, "NOT_ACCEPTABLE", message)
        return media_type

    # --- what is asked --------------------------------------------------------------------------

    async def _wish(self, request: Request) -> GraphQLRequest:
        if request.method == "GET":
            return _checked(_from_parameters(request))
        if not is_json(request.headers):
            message = f"Send the request as {JSON} in UTF-8, not compressed."
            raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", message)
        return _checked(_decoded(await self._read(request), "The body"))

    async def _read(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await _bounded(request, self._limits.body_bytes)
        except TimeoutError:
            message = f"The body did not come within {self._limits.body_seconds:g} seconds."
            raise Refused(408, "TIMEOUT", message, {"Connection": "close"}) from None
        if body is None:
            message = f"The body is larger than {self._limits.body_bytes} bytes."
            raise Refused(413, "PAYLOAD_TOO_LARGE", message, {"Connection": "close"})
        return body

    # --- the answer -----------------------------------------------------------------------------

    async def _execute(self, wish: GraphQLRequest, *, is_get: bool) -> ExecutionResult:
        try:
            async with asyncio.timeout(self._limits.operation_seconds):
                return await self._schema.execute(
                    wish.query,
                    variable_values=wish.variables,
                    context_value=Connection(self._services),
                    operation_name=wish.operation_name,
                    allowed_operation_types=_QUERIES if is_get else _ONE_ANSWER,
                    operation_extensions=wish.extensions,
                )
        except InvalidOperationTypeError as problem:
            raise _wrong_operation(problem.operation_type) from problem
        except CannotGetOperationTypeError as problem:
            raise Refused(400, VALIDATION_FAILED, problem.as_http_error_reason()) from problem
        except MissingQueryError as problem:
            raise Refused(400, "BAD_REQUEST", "`query` must not be empty.") from problem
        except TimeoutError:
            message = f"The operation took longer than {self._limits.operation_seconds:g} seconds."
            raise Refused(503, "TIMEOUT", message) from None


async def _bounded(request: Request, limit: int) -> bytes | None:
    """The body; None if it is larger than `limit`.

    Such a body is read on and thrown away, up to a point: whoever is still sending it would not
    see the answer otherwise.
    """
    announced = int(request.headers.get("content-length", "0"))
    if announced > DISCARDED_BYTES_MAX or (announced > limit and "expect" in request.headers):
        return None
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > DISCARDED_BYTES_MAX:
            return None
        if size <= limit:
            body += chunk
    return bytes(body) if size <= limit else None


def _from_parameters(request: Request) -> dict[str, Any]:
    data: dict[str, Any] = dict(request.query_params)
    for name in ("variables", "extensions"):
        if name in data:
            data[name] = _decoded(data[name].encode(), f"`{name}`")
    return data


def _decoded(text: bytes, what: str) -> Any:
    try:
        return loads(text)
    except ValueError as problem:
        raise _malformed(f"{what} is not valid JSON: {problem}.") from problem


def _checked(data: object) -> GraphQLRequest:
    if isinstance(data, list):
        raise _malformed("Several operations in one request are not supported.")
    if not isinstance(data, dict):
        raise _malformed("The body must be an object with a `query`.")
    query, name = data.get("query"), data.get("operationName")
    if not isinstance(query, str):
        raise _malformed("`query` must be given, as a string.")
    if not isinstance(name, str | None):
        raise _malformed("`operationName` must be a string or null.")
    for key in ("variables", "extensions"):
        if not isinstance(data.get(key), dict | None):
            raise _malformed(f"`{key}` must be an object or null.")
    return GraphQLRequest(query, data.get("variables"), name, data.get("extensions"))


def _malformed(message: str) -> Refused:
    return Refused(400, "BAD_REQUEST", message)


def _wrong_operation(operation_type: OperationType) -> Refused:
    if operation_type is OperationType.SUBSCRIPTION:
        message = (
            "A subscription needs a stream: connect to this address as a WebSocket with the "
            "sub-protocol graphql-transport-ws."
        )
        return Refused(400, VALIDATION_FAILED, message)
    message = "Only queries can be sent with GET; send a mutation with POST."
    return Refused(405, "METHOD_NOT_ALLOWED", message, {"Allow": "POST"})


def _body(result: ExecutionResult) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if result.errors:
        body["errors"] = [error.formatted for error in result.errors]
    if not _has_not_run(result):
        body["data"] = result.data
    return body


def _status(result: ExecutionResult, media_type: str) -> int:
    """What failed before it ran is a bad request, which plain JSON traditionally does not say."""
    return 400 if _has_not_run(result) and media_type == GRAPHQL_JSON else 200


def _has_not_run(result: ExecutionResult) -> bool:
    """Was the request itself wrong? What fails while it runs has a path."""
    return result.data is None and all(error.path is None for error in result.errors or ())


def _response(
    body: object, media_type: str, status: int, headers: dict[str, str] | None = None
) -> Response:
    content_type = f"{media_type}; charset=utf-8"
    return Response(
        dumps(body),
        status_code=status,
        headers={**_HEADERS, **(headers or {}), "Content-Type": content_type},
    )


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
        await _response(body, JSON, 200 if is_ready else 503)(scope, receive, send)


def create_routes(services: ApiServices) -> list[BaseRoute]:
    """Everything that the server answers: /graphql over HTTP and WebSocket, and /healthz."""
    schema = build_schema(services.specs, services.limits)
    return [
        Route("/graphql", HttpEndpoint(schema, services)),
        WebSocketRoute("/graphql", SocketView(schema, services)),
        Route("/healthz", HealthEndpoint(services), methods=["GET"]),
        *page_routes(),
    ]
