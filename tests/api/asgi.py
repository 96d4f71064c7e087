"""Requests to an ASGI application in this process, without a client between: many, quickly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.types import ASGIApp, Message

TURNS_OF_A_STREAM: Final = 30
"""How often others are let in before the client of a stream has gone."""
END: Final = {"type": "http.disconnect"}


@dataclass
class Reply:
    """What the application sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_complete: bool = False

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


@dataclass
class Asking:
    """One request, and what comes of it; the client of a stream goes away after a while."""

    method: str = "POST"
    path: str = "/graphql"
    query_string: bytes = b""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    reply: Reply = field(default_factory=Reply)
    _is_sent: bool = False

    async def of(self, app: ASGIApp) -> Reply:
        """The reply of an application; whatever it raises is raised."""
        named = {b"host": b"localhost", b"content-length": b"%d" % len(self.body)}
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": self.query_string,
            "headers": [*(named | dict(self.headers)).items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        await app(scope, self._receive, self._send)
        return self.reply

    async def _receive(self) -> Message:
        if not self._is_sent:
            self._is_sent = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        for _ in range(TURNS_OF_A_STREAM):
            await asyncio.sleep(0)
        return END

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.reply.status = message["status"]
            self.reply.headers = {
                name.decode("latin-1").lower(): text.decode("latin-1")
                for name, text in message["headers"]
            }
            return
        assert not self.reply.is_complete
        self.reply.body += message.get("body", b"")
        self.reply.is_complete = not message.get("more_body", False)
