"""A small GraphQL client: requests over HTTP, subscriptions over graphql-transport-ws."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from dipeo_server.cli.outcome import Unusable
from dipeo_server.errors import DipeoError, Unavailable

SUBPROTOCOL: Final = Subprotocol("graphql-transport-ws")
CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 60.0
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
UNAUTHORIZED: Final = 4401
WHO_ASKS: Final = "Put a valid token into DIPEO_TOKEN, or pass it with --token."
FATAL_CLOSES: Final = range(4400, 4500)
"""Close codes after which trying again cannot help."""


class ServerUnreachable(Unavailable):
    """Nobody answers there, or what answers does not speak GraphQL."""

    default_hint = "Is the server running? Start one with: dipeo-server serve"


class ConnectionLost(Unavailable):
    """A subscription ended before its time; go on from the last sequence."""


class RequestRefused(DipeoError):
    """The server refused a request as a whole; `code` and `hint` are those it gave."""

    def __init__(self, message: str, code: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class GraphQLClient:
    """`async with GraphQLClient(url) as client:` speaks to one server.

    `url` is that of its GraphQL endpoint, or its base URL.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        """With a token the client says who it is."""
        self.url = endpoint(url)
        self._authorization = None if token is None else f"Bearer {token}"
        is_local = urlsplit(self.url).hostname in {"127.0.0.1", "localhost", "::1"}
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        # Reading the certificates of this machine takes a quarter of a second.
        needs_certificates = not is_local or self.url.startswith("https")
        self._http = httpx.AsyncClient(
            timeout=timeout,
            trust_env=not is_local,
            verify=needs_certificates,
            headers={"authorization": self._authorization} if self._authorization else None,
        )
        self._proxy: Literal[True] | None = None if is_local else True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def execute(self, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The `data` of one query or mutation. Raises ServerUnreachable, RequestRefused."""
        body = json.dumps({"query": document, "variables": variables}, ensure_ascii=True)
        try:
            response = await self._http.post(
                self.url,
                content=body,
                headers={
                    "content-type": "application/json",
                    "accept": "application/graphql-response+json, application/json",
                },
            )
            answer = response.json()
        except httpx.HTTPError as error:
            raise self._unreachable(str(error) or type(error).__name__) from error
        except ValueError as error:
            reason = f"HTTP {response.status_code} without JSON"
            raise self._unreachable(reason) from error
        return self._data(answer, response.status_code)

    async def subscribe(
        self, document: str, variables: Mapping[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """What one subscription tells, until the server completes it.

        Raises ServerUnreachable where no connection comes about, ConnectionLost where it ends
        early, RequestRefused where the server refuses it.
        """
        async with self._socket() as socket:
            payload = {"query": document, "variables": variables}
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            async for message in _messages(socket):
                match message:
                    case {"type": "next", "payload": {"errors": [first, *_]}}:
                        raise _refusal(first)
                    case {"type": "next", "payload": {"data": dict(data)}}:
                        yield data
                    case {"type": "error", "payload": [first, *_]}:
                        raise _refusal(first)
                    case {"type": "complete"}:
                        return
                    case _:
                        pass  # A pong, or something newer than this client.

    @asynccontextmanager
    async def _socket(self) -> AsyncIterator[ClientConnection]:
        """A connection that the server has acknowledged."""
        parts = urlsplit(self.url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        connecting = connect(
            urlunsplit(parts._replace(scheme=scheme)),
            subprotocols=[SUBPROTOCOL],
            compression=None,
            open_timeout=CONNECT_SECONDS,
            close_timeout=1,
            max_size=MESSAGE_BYTES_MAX,
            proxy=self._proxy,
        )
        try:
            socket = await connecting
        except (OSError, WebSocketException, TimeoutError) as error:
            raise self._unreachable(str(error) or type(error).__name__) from error
        try:
            await socket.send(json.dumps(self._introduction))
            async with asyncio.timeout(CONNECT_SECONDS):
                await _acknowledged(socket)
            yield socket
        except ConnectionClosed as closed:
            raise _lost(closed) from closed
        except TimeoutError as error:
            raise ConnectionLost("The server did not acknowledge the connection.") from error
        finally:
            await socket.close()

    @property
    def _introduction(self) -> dict[str, Any]:
        """The first message of a socket."""
        if self._authorization is None:
            return {"type": "connection_init"}
        return {"type": "connection_init", "payload": {"authorization": self._authorization}}

    def _data(self, answer: object, status: int) -> dict[str, Any]:
        match answer:
            case {"errors": [first, *_]}:
                raise _refusal(first)
            case {"data": dict(data)}:
                return data
            case _:
                raise self._unreachable(f"HTTP {status} with something that is no GraphQL answer")

    def _unreachable(self, reason: str) -> ServerUnreachable:
        return ServerUnreachable(f"No GraphQL server answers at {self.url}: {reason}.")


def endpoint(url: str) -> str:
    """The GraphQL endpoint that a URL of a server means. Raises Unusable."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        hint = "For example: --server http://127.0.0.1:8000"
        raise Unusable(f"{url!r} is no address of a server.", hint=hint)
    path = parts.path if parts.path.strip("/") else "/graphql"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


async def _messages(socket: ClientConnection) -> AsyncIterator[object]:
    while True:
        message = json.loads(await socket.recv())
        if isinstance(message, dict) and message.get("type") == "ping":
            await socket.send('{"type": "pong"}')
            continue
        yield message


async def _acknowledged(socket: ClientConnection) -> None:
    async for message in _messages(socket):
        if isinstance(message, dict) and message.get("type") == "connection_ack":
            return


def _refusal(error: object) -> RequestRefused:
    match error:
        case {"message": str(message), "extensions": {"code": str(code), **details}}:
            hint = details.get("hint")
            if code == "UNAUTHENTICATED":
                hint = WHO_ASKS
            return RequestRefused(message, code, hint=hint if isinstance(hint, str) else None)
        case {"message": str(message)}:
            return RequestRefused(message, "INVALID")
        case _:
            return RequestRefused("The server refused the request.", "INVALID")


def _lost(closed: ConnectionClosed) -> DipeoError:
    code = closed.rcvd.code if closed.rcvd else 1006
    reason = closed.rcvd.reason if closed.rcvd else ""
    message = f"The server closed the connection ({code}{f': {reason}' if reason else ''})."
    if code == UNAUTHORIZED:
        return RequestRefused(message, "UNAUTHENTICATED", hint=WHO_ASKS)
    return RequestRefused(message, "FORBIDDEN") if code in FATAL_CLOSES else ConnectionLost(message)
