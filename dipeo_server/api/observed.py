"""What goes on around the routes: each request has an id and a span, and is counted."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client.exposition import choose_encoder
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from dipeo_server.api.answer import HEADERS, json_response
from dipeo_server.api.auth import CHALLENGE, Authenticator, whole_seconds
from dipeo_server.api.context import ApiServices, new_request_id
from dipeo_server.api.guard import is_host_allowed
from dipeo_server.api.negotiation import JSON
from dipeo_server.errors import RateLimited, Unauthenticated

REQUEST_ID: Final = "X-Request-ID"
_A_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_TRACE_CONTEXT: Final = TraceContextTextMapPropagator()


def observed(routes: Iterable[BaseRoute], services: ApiServices) -> list[BaseRoute]:
    """The routes, each of which is looked at from now on."""
    found = list(routes)
    for route in found:
        if isinstance(route, Route | WebSocketRoute):
            route.app = _Observed(route.app, route.path, services)
    return found


class _Observed:
    """An ASGI application with what has to be known about each of its requests."""

    def __init__(self, app: ASGIApp, path: str, services: ApiServices) -> None:
        self._app = app
        self._path = path
        self._metrics = services.metrics
        self._tracer = services.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        request_id = request_id_of(headers)
        with bound_contextvars(request_id=request_id):
            if scope["type"] == "websocket":
                with self._metrics.sockets.track_inprogress(), self._called_from(headers):
                    await self._app(scope, receive, send)
                return
            answer = _Answer(send, request_id)
            with self._span(f"{scope['method']} {self._path}", headers) as span:
                try:
                    await self._app(scope, receive, answer)
                except Exception:
                    answer.status = answer.status or 500
                    raise
                finally:
                    if answer.status:  # Who went away was not answered.
                        span.set_attribute("http.response.status_code", answer.status)
                        self._metrics.requests.labels(self._path, str(answer.status)).inc()

    @contextmanager
    def _called_from(self, headers: Headers) -> Iterator[None]:
        """A socket lasts too long for a span; what it starts is linked to who opened it."""
        if self._tracer is None:
            yield
            return
        token = contexts.attach(_TRACE_CONTEXT.extract(headers))
        try:
            yield
        finally:
            contexts.detach(token)

    @contextmanager
    def _span(self, name: str, headers: Headers) -> Iterator[trace.Span]:
        """The span of a request, a child of the caller's if that is told (`traceparent`)."""
        if self._tracer is None:
            yield trace.INVALID_SPAN
            return
        above = _TRACE_CONTEXT.extract(headers, contexts.Context())
        kind = trace.SpanKind.SERVER
        with self._tracer.start_as_current_span(name, above, kind) as span:
            yield span


class _Answer:
    """Sends an answer on, with the request's id; `status` is 0 as long as there is none."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID] = self._request_id
        await self._send(message)


def request_id_of(headers: Headers) -> str:
    """The id that the client gave the request, if it is one that can be told; else a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if _A_REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(8)}"


class MetricsEndpoint:
    """Tells Prometheus everything that the server counts, at /metrics."""

    def __init__(self, services: ApiServices, authenticator: Authenticator) -> None:
        self._services = services
        self._authenticator = authenticator

    async def answer(self, request: Request) -> Response:
        """All figures as text, for whoever has a token, of whatever role, if one is asked for.

        421 under a name that is not the server's, 401 without a valid token, 429 for too many.
        """
        headers = request.headers
        if not is_host_allowed(headers, self._services.allowed_hosts):
            return PlainTextResponse("This server does not answer to that host name.\n", 421)
        address = None if request.client is None else request.client.host
        try:
            await self._authenticator.principal(
                headers.get("authorization"), address, new_request_id()
            )
        except Unauthenticated as error:
            return PlainTextResponse(f"{error.message}\n", 401, CHALLENGE)
        except RateLimited as error:
            wait = {"Retry-After": str(whole_seconds(error.retry_after))}
            return PlainTextResponse(f"{error.message}\n", 429, wait)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        text = encode(self._services.metrics.registry)
        return Response(text, headers={**HEADERS, "Content-Type": content_type})


class ReadyEndpoint:
    """Tells whether new requests should come here, at /readyz."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def answer(self, _request: Request) -> Response:
        """200 once all executions are taken over and until the server stops, else 503.

        A full disk is told and does not count: reading goes on, and nobody else has these runs.
        """
        services = self._services
        is_ready = services.is_ready() and not services.closing.is_set()
        problem = services.storage_problem()
        body = {
            "status": "ready" if is_ready else "closing",
            "storageProblem": None if problem is None else problem.code,
        }
        return json_response(body, JSON, 200 if is_ready else 503)
