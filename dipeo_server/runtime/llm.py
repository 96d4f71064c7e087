"""Language models: OpenAI-compatible endpoints by service name, and `echo`, which needs none.

Nothing is retried here, because the engine retries, and nothing is read from the environment but
what `model_services_from_env` is given: no proxies, no default endpoint, no stray headers.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from typing_extensions import override

from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.ports import ChatReply, ChatRequest, LanguageModels
from dipeo_server.domains.execution.secret_references import referenced
from dipeo_server.errors import InvalidInput, ModelError, ModelNotConfigured, NodeError
from dipeo_server.runtime.schema_example import minimal_instance

if TYPE_CHECKING:
    import httpx2
    from openai import APIError, APIStatusError, AsyncOpenAI

ECHO: Final = "echo"
NO_KEY: Final = "none"
SERVER_MESSAGE_CHARACTERS_MAX: Final = 500

_PATH: Final = "/chat/completions"
_RETRYABLE_STATUSES: Final = frozenset({408, 409, 425, 429})
_HINTS: Final = {
    401: "Set DIPEO_SECRET_<api_key_id> or DIPEO_LLM_API_KEY to a key that this service accepts.",
    403: "Set DIPEO_SECRET_<api_key_id> or DIPEO_LLM_API_KEY to a key that this service accepts.",
    404: "Check the model's name, and that the base URL includes the version, such as /v1.",
}
_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)
_SERVICE_URL: Final = re.compile(r"DIPEO_LLM_(.+)_BASE_URL")


def model_services_from_env(environ: Mapping[str, str]) -> ModelServices:
    """The services that environment variables describe.

    DIPEO_LLM_BASE_URL (all services), DIPEO_LLM_<SERVICE>_BASE_URL (one), DIPEO_LLM_API_KEY (the
    default key), DIPEO_SECRET_<api_key_id>. Empty ones count as unset. Raises InvalidInput for a
    URL that cannot be one.
    """
    base_urls: dict[str, str] = {}
    keys: dict[str, str] = {}
    for name, value in environ.items():
        if not value.strip():
            continue
        if name == "DIPEO_LLM_BASE_URL":
            base_urls[""] = value.strip()
        elif match := _SERVICE_URL.fullmatch(name):
            base_urls[match[1].lower()] = value.strip()
        elif name == "DIPEO_LLM_API_KEY":
            keys[""] = value.strip()
        elif name.startswith("DIPEO_SECRET_"):
            keys[name.removeprefix("DIPEO_SECRET_")] = value.strip()
    return ModelServices(base_urls=base_urls, keys=keys)


class ModelServices(LanguageModels):
    """Chat completion at `POST {base URL}/chat/completions`.

    `base_urls` maps service names to URLs that include the version (`…/v1`); the empty name is the
    endpoint of every other service. `keys` maps api_key_ids to secrets; the empty id is the key of
    every other one, and without any the placeholder `none` is sent. `timeout` is how many seconds
    a service may be silent.

    The service `echo` is local and deterministic: it answers with the last user message or, where
    a JSON schema is given, the smallest value of that schema; its tokens are words.
    """

    def __init__(
        self, *, base_urls: Mapping[str, str], keys: Mapping[str, str], timeout: float = 120.0
    ) -> None:
        self._base_urls = {_name(name): _checked(name, url) for name, url in base_urls.items()}
        self._keys = dict(keys)
        self._keys_by_name = {_name(key_id): key for key_id, key in keys.items()}
        self._timeout = timeout
        self._clients: dict[tuple[str, str], AsyncOpenAI] = {}
        self._connecting = asyncio.Lock()

    @override
    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatReply:
        """One reply. Streams to `on_token` where given.

        Raises ModelNotConfigured where the service has no endpoint. Raises ModelError: retryable
        for a silent, lost, overloaded or garbled answer, not for a refused request.
        """
        if _name(request.service) == ECHO:
            return _echo(request, on_token)
        base_url = self._base_urls.get(_name(request.service), self._base_urls.get(""))
        if base_url is None:
            message = f"No endpoint is configured for the model service {request.service!r}."
            raise ModelNotConfigured(message)
        key = self._key(request.api_key_id)
        call = _Call(request, await self._client(base_url, key), _origin(base_url), key)
        return await call.complete(on_token)

    async def chat_all(
        self, requests: Sequence[ChatRequest], *, limit: int
    ) -> list[ChatReply | NodeError]:
        """Replies and failures in the order of the requests, at most `limit` under way at once."""
        places = asyncio.Semaphore(limit)

        async def one(request: ChatRequest) -> ChatReply | NodeError:
            async with places:
                try:
                    return await self.chat(request)
                except NodeError as error:
                    return error

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(request)) for request in requests]
        return [task.result() for task in tasks]

    async def close(self) -> None:
        """Close all connections."""
        async with self._connecting:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    def _key(self, key_id: str | None) -> str:
        wanted = referenced(key_id) or key_id or ""
        found = self._keys.get(wanted) or self._keys_by_name.get(_name(wanted))
        return found or self._keys.get("", NO_KEY)

    async def _client(self, base_url: str, key: str) -> AsyncOpenAI:
        async with self._connecting:
            client = self._clients.get((base_url, key))
            if client is None:
                # Importing the library takes most of a second: other runs must not wait for it.
                client = await asyncio.to_thread(_connect, base_url, key, self._timeout)
                self._clients[base_url, key] = client
        return client


def _name(written: str) -> str:
    """One spelling of a service or key id: environment variables know capitals and `_` only."""
    return re.sub(r"[^a-z0-9]", "_", written.strip().lower())


def _checked(service: str, base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput(
            f"The base URL of {service or 'all'} model services is no http(s) URL.",
            field=("base_urls", service),
            hint="Write it with its version, such as http://127.0.0.1:11434/v1.",
        )
    return base_url.rstrip("/")


def _origin(base_url: str) -> str:
    """What may be shown of a URL: names, passwords and parameters in it can be secrets."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _connect(base_url: str, key: str, timeout: float) -> AsyncOpenAI:
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient  # noqa: PLC0415  # heavy, often unused

    async def keep_known_headers(request: httpx2.Request) -> None:
        for name in set(request.headers) - _HEADERS:
            del request.headers[name]

    http_client = DefaultAsyncHttpxClient(
        timeout=timeout,
        trust_env=False,
        follow_redirects=False,
        event_hooks={"request": [keep_known_headers]},
    )
    # An explicit header keeps one from OPENAI_CUSTOM_HEADERS from taking its place.
    return AsyncOpenAI(
        api_key=key,
        base_url=base_url,
        timeout=timeout,
        max_retries=0,
        default_headers={"Authorization": f"Bearer {key}"},
        http_client=http_client,
    )


class _Call:
    """One request to an endpoint, and what its answer means."""

    def __init__(self, request: ChatRequest, client: AsyncOpenAI, origin: str, key: str) -> None:
        self._request = request
        self._client = client
        self._key = key
        self._where = f"The model service {request.service!r} at {origin}"

    async def complete(self, on_token: Callable[[str], None] | None) -> ChatReply:
        from openai import APIError  # noqa: PLC0415  # heavy, often unused

        # `from None`: the library's own errors may hold what the server said of the key.
        try:
            return await (self._whole() if on_token is None else self._streamed(on_token))
        except APIError as error:
            raise self._failure(error) from None
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise self._error("answered with something that is not JSON", retryable=True) from None

    async def _whole(self) -> ChatReply:
        document = await self._client.post(_PATH, cast_to=object, body=self._body())
        choice = _at(document, "choices", 0)
        text = _at(choice, "message", "content")
        if not isinstance(text, str):
            raise self._no_text(_text(_at(choice, "message", "refusal")))
        return ChatReply(text, self._model(document), _usage(_at(document, "usage")))

    async def _streamed(self, on_token: Callable[[str], None]) -> ChatReply:
        from openai import AsyncStream  # noqa: PLC0415  # heavy, often unused

        body = {**self._body(), "stream": True, "stream_options": {"include_usage": True}}
        stream = await self._client.post(
            _PATH, cast_to=object, body=body, stream=True, stream_cls=AsyncStream[object]
        )
        text, refusal, has_ended, model, usage = "", "", False, "", None
        async with stream:
            async for document in stream:
                choice = _at(document, "choices", 0)
                token = _text(_at(choice, "delta", "content"))
                if token:
                    text += token
                    on_token(token)
                refusal += _text(_at(choice, "delta", "refusal"))
                has_ended = has_ended or _at(choice, "finish_reason") is not None
                model = model or self._model(document)
                usage = _usage(_at(document, "usage")) or usage
        if not has_ended:
            raise self._error("stopped in the middle of its answer", retryable=True)
        if refusal and not text:
            raise self._no_text(refusal)
        return ChatReply(text, model, usage)

    def _body(self) -> dict[str, Any]:
        request = self._request
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        if request.json_schema is not None:
            wanted = {
                "name": re.sub(r"[^a-zA-Z0-9_-]", "_", request.schema_name)[:64] or "output",
                "schema": dict(request.json_schema),
                "strict": _allows_strict(request.json_schema),
            }
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
        return body

    def _model(self, document: Any) -> str:
        return _text(_at(document, "model")) or self._request.model

    def _failure(self, error: APIError) -> ModelError:
        from openai import (  # noqa: PLC0415  # heavy, often unused
            APIConnectionError,
            APIStatusError,
            APITimeoutError,
        )

        if isinstance(error, APIStatusError):
            return self._refused(error)
        if isinstance(error, APITimeoutError):
            return self._error("did not answer in time", retryable=True)
        if isinstance(error, APIConnectionError):
            cause = str(error.__cause__ or error.message)
            return self._error(f"cannot be reached, or hung up: {cause}", retryable=True)
        return self._error(f"failed while it answered: {error.message}", retryable=True)

    def _refused(self, error: APIStatusError) -> ModelError:
        status = error.status_code
        said = _at(error.body, "message") or error.body or "(nothing more)"
        return self._error(
            f"answered HTTP {status}: {said}",
            retryable=status >= 500 or status in _RETRYABLE_STATUSES,
            hint=_HINTS.get(status),
        )

    def _no_text(self, refusal: str) -> ModelError:
        if refusal:
            return self._error(f"refused to answer: {refusal}", retryable=False)
        return self._error("answered without any text", retryable=True)

    def _error(self, what: str, *, retryable: bool, hint: str | None = None) -> ModelError:
        if self._key != NO_KEY:
            what = what.replace(self._key, "***")
        message = f"{self._where} {what[:SERVER_MESSAGE_CHARACTERS_MAX]}"
        return ModelError(message, hint=hint, retryable=retryable)


def _at(value: Any, *path: str | int) -> Any:
    """The value below `path` of a JSON document that may have any shape; None if it is absent."""
    for step in path:
        if isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        elif isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _usage(document: Any) -> TokenUsage | None:
    sent, made = _at(document, "prompt_tokens"), _at(document, "completion_tokens")
    if not isinstance(sent, int) or not isinstance(made, int):
        return None
    cached = _at(document, "prompt_tokens_details", "cached_tokens")
    return TokenUsage(sent, made, cached if isinstance(cached, int) else 0)


def _allows_strict(schema: Any) -> bool:
    """Strict answers want every object closed and every property of it required."""
    if isinstance(schema, list):
        return all(_allows_strict(part) for part in schema)
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        names = set(schema.get("properties", {}))
        if schema.get("additionalProperties") is not False or names != set(
            schema.get("required", [])
        ):
            return False
    return all(_allows_strict(part) for part in schema.values())


def _echo(request: ChatRequest, on_token: Callable[[str], None] | None) -> ChatReply:
    said = [message.content for message in request.messages if message.role == "user"]
    text = said[-1] if said else ""
    if request.json_schema is not None:
        text = json.dumps(minimal_instance(request.json_schema))
    if on_token is not None:
        for token in re.findall(r"\s*\S+\s*", text) or [text]:
            on_token(token)
    sent = sum(len(message.content.split()) for message in request.messages)
    return ChatReply(text, request.model, TokenUsage(sent, len(text.split())))
