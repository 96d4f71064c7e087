"""The client's side of server-sent events, as the standard reads them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.api.serving import EVENTS, Live

EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Message:
    """One event of a stream; `comment` where it is none."""

    event: str
    data: str
    id: str | None = None

    @property
    def body(self) -> dict[str, Any]:
        """The result that it tells."""
        found: dict[str, Any] = json.loads(self.data)
        return found

    @property
    def item(self) -> dict[str, Any]:
        """The only field of the result's data."""
        assert "errors" not in self.body, self.body
        [item] = self.body["data"].values()
        found: dict[str, Any] = item
        return found


async def messages(response: httpx.Response) -> AsyncIterator[Message]:
    """Everything that a stream tells, comments included, until it ends."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line.startswith(":"):
            yield Message("comment", line[1:].strip())
        elif line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif fields:
            yield Message(fields["event"], fields.get("data", ""), fields.get("id"))
            fields = {}


@asynccontextmanager
async def streamed(
    live: Live, query: str, *, method: str = "POST", last: int | None = None, **variables: Any
) -> AsyncIterator[httpx.Response]:
    """The response to an operation that is to be streamed."""
    headers = {"accept": EVENT_STREAM} | ({} if last is None else {"last-event-id": str(last)})
    if method == "GET":
        parameters = {"query": query, "variables": json.dumps(variables)}
        request = live.http.stream("GET", live.url, params=parameters, headers=headers, timeout=20)
    else:
        body = {"query": query, "variables": variables}
        request = live.http.stream("POST", live.url, json=body, headers=headers, timeout=20)
    async with request as response:
        yield response


async def told(live: Live, query: str, **options: Any) -> list[Message]:
    """All events of a stream that ends by itself."""
    async with streamed(live, query, **options) as response:
        assert response.status_code == 200, await response.aread()
        return [message async for message in messages(response) if message.event != "comment"]


async def events_of(live: Live, execution_id: str, **options: Any) -> list[Message]:
    """The events of a run, and what completes them."""
    return await told(live, EVENTS, id=execution_id, **options)
