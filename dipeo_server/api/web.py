"""The pages of the server: GraphiQL and what it loads, all from our own origin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

BUILT: Final = Path(__file__).parents[1] / "web"
"""Where `make frontend` puts the pages."""

NOT_BUILT: Final = (
    "GraphiQL is not part of this installation.\n\n"
    "In a checkout of dipeo-server `make frontend` builds it, with Node.js 20.19 or newer; this\n"
    "server need not be restarted. Everything else works without it: the API is at /graphql, and\n"
    "`dipeo-server export-schema` prints its schema.\n"
)

# Monaco writes style elements; nothing else is inline, and nothing comes from elsewhere.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "font-src 'self' data:",
        "img-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_GUARDS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_ALWAYS_ASK: Final = {**_GUARDS, "Cache-Control": "no-cache"}
# The name of an asset holds a hash of its content.
_KEEP: Final = {**_GUARDS, "Cache-Control": "public, max-age=31536000, immutable"}
# Letters, digits and dots within: such a name cannot lead out of the folder.
_ASSET_NAME: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


class Pages:
    """What lies in a folder of built pages, looked for at every request."""

    def __init__(self, folder: Path) -> None:
        self._page = folder / "graphiql.html"
        self._assets = folder / "assets"

    def graphiql(self, _request: Request) -> Response:
        """The page, or how to get it (503)."""
        if not self._page.is_file():
            return PlainTextResponse(NOT_BUILT, 503, headers=_ALWAYS_ASK)
        return FileResponse(self._page, headers=_ALWAYS_ASK, media_type="text/html")

    def asset(self, request: Request) -> Response:
        """One file that a page loads."""
        name = request.path_params["name"]
        path = self._assets / name
        if not _ASSET_NAME.fullmatch(name) or not path.is_file():
            return PlainTextResponse("There is no such file.\n", 404, headers=_ALWAYS_ASK)
        return FileResponse(path, headers=_KEEP)


def page_routes(folder: Path = BUILT) -> list[BaseRoute]:
    """GraphiQL at /graphiql; the pages name /assets and /graphql relatively, below any mount."""
    pages = Pages(folder)
    return [
        Route("/graphiql", pages.graphiql, methods=["GET"]),
        Route("/assets/{name}", pages.asset, methods=["GET"]),
    ]
