"""What a client asks over HTTP: read from the body or the address, and checked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from dipeo_server.api.context import ApiLimits
from dipeo_server.api.json_dialect import loads
from dipeo_server.api.negotiation import JSON, is_json

DISCARDED_BYTES_MAX: Final = 64 * 1024 * 1024
PARAMETERS_MAX: Final = 20


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
    """What a client asks to be executed: a document, or the id of one that is known."""

    query: str | None
    variables: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None
    document_id: str | None = None


async def read_request(request: Request, limits: ApiLimits) -> GraphQLRequest:
    """The request of a GET or a POST. Raises Refused."""
    if request.method == "GET":
        return _checked(_from_parameters(request))
    if not is_json(request.headers):
        message = f"Send the request as {JSON} in UTF-8, not compressed."
        raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", message)
    return _checked(_decoded(await _read(request, limits), "The body"))


async def _read(request: Request, limits: ApiLimits) -> bytes:
    try:
        async with asyncio.timeout(limits.body_seconds):
            body = await _bounded(request, limits.body_bytes)
    except TimeoutError:
        message = f"The body did not come within {limits.body_seconds:g} seconds."
        raise Refused(408, "TIMEOUT", message, {"Connection": "close"}) from None
    if body is None:
        message = f"The body is larger than {limits.body_bytes} bytes."
        raise Refused(413, "PAYLOAD_TOO_LARGE", message, {"Connection": "close"})
    return body


async def _bounded(request: Request, limit: int) -> bytes | None:
    """The body; None if it is larger than `limit`.

    Such a body is read on and thrown away, up to a point: whoever is still sending it would not
    see the answer otherwise.
    """
    announced = _announced(request)
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


def _announced(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal() and len(length) < 20):
        raise malformed("`Content-Length` must be a number.")
    return int(length)


def _from_parameters(request: Request) -> dict[str, Any]:
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=PARAMETERS_MAX,
        )
    except ValueError as problem:
        raise malformed(f"The parameters cannot be read: {problem}.") from problem
    data: dict[str, Any] = dict(pairs)
    if len(data) < len(pairs):
        raise malformed("A parameter is given twice.")
    for name in ("variables", "extensions"):
        if name in data:
            data[name] = _decoded(data[name].encode(), f"`{name}`")
    return data


def _decoded(text: bytes, what: str) -> Any:
    try:
        return loads(text)
    except ValueError as problem:
        raise malformed(f"{what} is not valid JSON: {problem}.") from problem


def _checked(data: object) -> GraphQLRequest:
    if isinstance(data, list):
        message = "Several operations in one request are not supported: send them one by one."
        raise malformed(message)
    if not isinstance(data, dict):
        raise malformed("The body must be an object with a `query`.")
    for key in ("variables", "extensions"):
        if not isinstance(data.get(key), dict | None):
            raise malformed(f"`{key}` must be an object or null.")
    for key in ("operationName", "documentId"):
        if not isinstance(data.get(key), str | None):
            raise malformed(f"`{key}` must be a string or null.")
    wish = GraphQLRequest(
        query=data.get("query"),
        variables=data.get("variables"),
        operation_name=data.get("operationName"),
        extensions=data.get("extensions"),
        document_id=data.get("documentId"),
    )
    _check_document(wish)
    return wish


def _check_document(wish: GraphQLRequest) -> None:
    is_named = wish.document_id is not None or "persistedQuery" in (wish.extensions or {})
    if wish.query is None and is_named:
        return
    if not isinstance(wish.query, str):
        raise malformed("`query` must be given, as a string.")
    if not wish.query:
        raise malformed("`query` must not be empty.")


def malformed(message: str) -> Refused:
    """The refusal of what is no request at all."""
    return Refused(400, "BAD_REQUEST", message)
