"""What an answer over HTTP says: its status, its headers and its JSON."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response
from strawberry.types import ExecutionResult

from dipeo_server.api.json_dialect import dumps
from dipeo_server.api.negotiation import GRAPHQL_JSON

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
}


def body_of(result: ExecutionResult) -> dict[str, Any]:
    """The JSON of a result; `data` is left out where the operation has not begun."""
    body: dict[str, Any] = {}
    if result.errors:
        body["errors"] = [error.formatted for error in result.errors]
    if not _has_not_run(result):
        body["data"] = result.data
    return body


def status_of(result: ExecutionResult, media_type: str) -> int:
    """What failed before it ran is a bad request, which plain JSON traditionally does not say."""
    return 400 if _has_not_run(result) and media_type == GRAPHQL_JSON else 200


def _has_not_run(result: ExecutionResult) -> bool:
    """Was the request itself wrong? What fails while it runs has a path."""
    return result.data is None and all(error.path is None for error in result.errors or ())


def json_response(
    body: object, media_type: str, status: int, headers: dict[str, str] | None = None
) -> Response:
    """A response that nobody keeps."""
    content_type = f"{media_type}; charset=utf-8"
    return Response(
        dumps(body),
        status_code=status,
        headers={**HEADERS, **(headers or {}), "Content-Type": content_type},
    )
