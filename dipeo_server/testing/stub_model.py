"""A language model that plays a language model: an OpenAI-compatible server for tests and demos."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from dipeo_server.errors import InvalidInput
from dipeo_server.runtime.schema_example import minimal_instance

Document: TypeAlias = dict[str, Any]
Replies: TypeAlias = Sequence[str] | Callable[[Document], str]

_FAULT = re.compile(r"http_[1-5]\d\d|hang|cut|bad_json|no_usage")


class StubModel:
    """`async with StubModel() as stub:` serves `stub.base_url` on a free loopback port.

    `replies`: texts, used in turn (the last one repeats), or a function of the request's body.
    Without them the reply is the last user message behind a few words or, where the request wants
    a JSON schema, the smallest value of that schema. `faults` maps request numbers (from 1) to what
    goes wrong: `http_500` (any status), `hang` (no answer until the client goes or the server
    stops), `cut` (the connection ends within the answer), `bad_json`, `no_usage`; InvalidInput for
    any other. With `api_key` other keys are answered with 401. Streamed replies come word by word.
    """

    def __init__(
        self,
        *,
        replies: Replies | None = None,
        faults: Mapping[int, str] | None = None,
        api_key: str | None = None,
        port: int = 0,
    ) -> None:
        self.requests: list[Document] = []
        """Bodies of all requests so far, in order of arrival."""
        self.authorizations: list[str] = []
        """The Authorization header of each request, empty where there was none."""
        self.headers: list[dict[str, str]] = []
        """All headers of each request, names in lower case."""
        self._replies = replies
        self._faults = {number: _known(fault) for number, fault in (faults or {}).items()}
        self._api_key = api_key
        self._port = port
        self._arrived = asyncio.Event()
        self._closing = asyncio.Event()
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def base_url(self) -> str:
        """What to set as DIPEO_LLM_BASE_URL."""
        return f"http://127.0.0.1:{self._port}/v1"

    async def __aenter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        routes = [
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
            Route("/v1/models", _models),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes),
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            log_level=60,
        )
        self._server = _Server(config, self._closing)
        self._serving = asyncio.create_task(self._server.serve([listener]), name="stub model")
        await self._server.ready.wait()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop serving; whoever still waits for a reply is answered with 503."""
        self._closing.set()
        if self._serving is not None:
            await self._serving

    async def received(self, count: int = 1) -> None:
        """Wait until that many requests have arrived."""
        while len(self.requests) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def _complete(self, request: Request) -> Response:
        body: Document = await request.json()
        self.requests.append(body)
        self.authorizations.append(request.headers.get("authorization", ""))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self._arrived.set()
        number = len(self.requests)
        fault = self._faults.get(number)
        if self._api_key is not None and self.authorizations[-1] != f"Bearer {self._api_key}":
            return _refusal(401, f"Incorrect API key provided: {self.authorizations[-1]}")
        if fault is not None and fault.startswith("http_"):
            return _refusal(int(fault.removeprefix("http_")), f"planned failure {number}")
        if fault == "hang":
            await self._until_nobody_waits(request)
            return _refusal(503, "the stub hung up")
        reply = _Reply(number, str(body.get("model", "stub")), self._text(number, body), body)
        if body.get("stream"):
            return _streamed(reply, fault)
        return _plain(reply, fault)

    def _text(self, number: int, body: Document) -> str:
        if callable(self._replies):
            return self._replies(body)
        if self._replies:
            return self._replies[min(number, len(self._replies)) - 1]
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        if schema is not None:
            return json.dumps(minimal_instance(schema))
        return f"You said: {last_user_text(body)}"

    async def _until_nobody_waits(self, request: Request) -> None:
        gone = asyncio.create_task(_disconnected(request))
        closing = asyncio.create_task(self._closing.wait())
        _, pending = await asyncio.wait({gone, closing}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _models(_request: Request) -> Response:
    model = {"id": "stub", "object": "model", "created": 0, "owned_by": "dipeo"}
    return JSONResponse({"object": "list", "data": [model]})


def _known(fault: str) -> str:
    if not _FAULT.fullmatch(fault):
        hint = "Faults: http_<status>, hang, cut, bad_json, no_usage."
        raise InvalidInput(f"The stub model knows no fault {fault!r}.", hint=hint)
    return fault


def last_user_text(body: Document) -> str:
    """The text of a request's last user message."""
    messages = [entry for entry in body.get("messages", []) if entry.get("role") == "user"]
    return str(messages[-1].get("content", "")) if messages else ""


class _Server(uvicorn.Server):
    """Says when it is ready, ends at once when told to, and leaves the process's signals alone."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._closing = closing

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @override
    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._closing.wait()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Reply:
    """One answer in the wire format, whole or in pieces."""

    def __init__(self, number: int, model: str, text: str, body: Document) -> None:
        self._head = {"id": f"stub-{number}", "created": 0, "model": model}
        self.text = text
        asked = " ".join(str(entry.get("content", "")) for entry in body.get("messages", []))
        sent, made = len(asked.split()), len(text.split())
        self.usage = {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}
        self.wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))

    def whole(self, *, with_usage: bool) -> Document:
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        document = {**self._head, "object": "chat.completion", "choices": [choice]}
        return {**document, "usage": self.usage} if with_usage else document

    def chunks(self, *, with_usage: bool) -> Iterator[Document]:
        words = self.text.split(" ")
        pieces = [word + " " for word in words[:-1]] + words[-1:]
        for piece in pieces:
            yield self._chunk([{"index": 0, "delta": {"content": piece}, "finish_reason": None}])
        yield self._chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if with_usage and self.wants_usage:
            yield {**self._chunk([]), "usage": self.usage}

    def _chunk(self, choices: list[Document]) -> Document:
        return {**self._head, "object": "chat.completion.chunk", "choices": choices}


def _plain(reply: _Reply, fault: str | None) -> Response:
    if fault == "cut":
        return _Cut(b'{"id": "stub", "choices": [{"mess', "application/json")
    if fault == "bad_json":
        return Response('{"id": "stub", "choices": [', media_type="application/json")
    return JSONResponse(reply.whole(with_usage=fault != "no_usage"))


def _streamed(reply: _Reply, fault: str | None) -> Response:
    chunks = reply.chunks(with_usage=fault != "no_usage")
    if fault == "cut":
        return _Cut(_event(next(chunks)), "text/event-stream")
    if fault == "bad_json":
        return Response('data: {"choices": [\n\n', media_type="text/event-stream")
    return StreamingResponse(_events(chunks), media_type="text/event-stream")


async def _events(chunks: Iterator[Document]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield _event(chunk)
    yield b"data: [DONE]\n\n"


def _event(chunk: Document) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


class _Cut(Response):
    """Announces more than it sends: the server then closes the connection in the middle."""

    def __init__(self, content: bytes, media_type: str) -> None:
        super().__init__(content, media_type=media_type)
        self.headers["content-length"] = str(len(content) + 1000)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body, "more_body": True})


def _refusal(status: int, message: str) -> Response:
    error = {"message": message, "type": "stub_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status_code=status)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def serve(port: int) -> None:
    """Run until cancelled; the base URL goes to standard output."""
    async with StubModel(port=port) as stub:
        sys.stdout.write(f"{stub.base_url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """`python -m dipeo_server.testing.stub_model [--port N]`."""
    parser = argparse.ArgumentParser(description="An OpenAI-compatible model without a model.")
    parser.add_argument("--port", type=int, default=0, help="0 = a free one")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(arguments.port))


if __name__ == "__main__":
    main()
