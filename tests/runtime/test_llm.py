"""Model services against a real server over loopback: replies, streams, keys and faults."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.ports import ChatMessage, ChatReply, ChatRequest
from dipeo_server.errors import InvalidInput, ModelError, ModelNotConfigured, NodeError
from dipeo_server.runtime.llm import ModelServices, model_services_from_env
from dipeo_server.testing.stub_model import StubModel

KEY = "sk-canary-0123456789"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 2}, "size": {"type": "integer"}},
    "required": ["city"],
}


def ask(text: str = "Say hello", service: str = "openai", **fields: Any) -> ChatRequest:
    messages = (ChatMessage("system", "Be brief."), ChatMessage("user", text))
    return ChatRequest(service, "gpt-test", messages, **fields)


@asynccontextmanager
async def services(
    base_url: str, *, keys: Mapping[str, str] | None = None, patience: float = 30.0
) -> AsyncIterator[ModelServices]:
    models = ModelServices(base_urls={"": base_url}, keys=keys or {}, timeout=patience)
    try:
        yield models
    finally:
        await models.close()


async def failure(models: ModelServices, request: ChatRequest, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await models.chat(request, **options)
    return caught.value


async def test_a_reply_brings_text_model_and_usage() -> None:
    async with StubModel() as stub, services(stub.base_url) as models:
        reply = await models.chat(ask())
    assert reply == ChatReply("You said: Say hello", "gpt-test", TokenUsage(4, 4))


async def test_a_request_holds_only_what_was_asked_for() -> None:
    async with StubModel() as stub, services(stub.base_url) as models:
        await models.chat(ask())
        await models.chat(ask(temperature=0.5, max_tokens=7))
    assert stub.requests[0].keys() == {"model", "messages"}
    assert stub.requests[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (stub.requests[1]["temperature"], stub.requests[1]["max_tokens"]) == (0.5, 7)


async def test_tokens_are_streamed_as_they_come() -> None:
    tokens: list[str] = []
    async with StubModel(replies=["one two three"]) as stub, services(stub.base_url) as models:
        reply = await models.chat(ask(), tokens.append)
    assert tokens == ["one ", "two ", "three"]
    assert reply == ChatReply("one two three", "gpt-test", TokenUsage(4, 3))
    assert stub.requests[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_that_was_not_told_is_unknown_and_not_invented(stream: bool) -> None:
    tokens: list[str] = []
    async with StubModel(faults={1: "no_usage"}) as stub, services(stub.base_url) as models:
        reply = await models.chat(ask(), tokens.append if stream else None)
    assert reply.text
    assert reply.usage is None


async def test_a_json_schema_is_sent_as_the_format_of_the_response() -> None:
    async with StubModel() as stub, services(stub.base_url) as models:
        reply = await models.chat(ask(json_schema=SCHEMA, schema_name="a town!"))
    wanted = stub.requests[0]["response_format"]["json_schema"]
    assert wanted == {"name": "a_town_", "schema": SCHEMA, "strict": False}
    assert json.loads(reply.text) == {"city": "aa"}


async def test_a_schema_that_closes_all_its_objects_is_asked_for_strictly() -> None:
    closed = SCHEMA | {"additionalProperties": False, "required": ["city", "size"]}
    async with StubModel() as stub, services(stub.base_url) as models:
        await models.chat(ask(json_schema=closed))
    assert stub.requests[0]["response_format"]["json_schema"]["strict"] is True


async def test_no_endpoint_means_not_configured_and_nothing_is_called() -> None:
    models = ModelServices(base_urls={}, keys={})
    with pytest.raises(ModelNotConfigured) as refusal:
        await models.chat(ask())
    assert refusal.value.code == "LLM_NOT_CONFIGURED"
    assert "DIPEO_LLM_BASE_URL" in str(refusal.value.hint)


async def test_a_service_with_an_endpoint_of_its_own_goes_there() -> None:
    async with StubModel() as one, StubModel() as other:
        base_urls = {"": one.base_url, "claude_code": other.base_url}
        models = ModelServices(base_urls=base_urls, keys={})
        await models.chat(ask(service="claude-code"))
        await models.chat(ask(service="ollama"))
        await models.close()
    assert (len(one.requests), len(other.requests)) == (1, 1)


@pytest.mark.parametrize(
    "key_id, keys, sent",
    [
        (None, {}, "none"),
        ("team", {}, "none"),
        ("team", {"": "general"}, "general"),
        ("team", {"": "general", "team": "own"}, "own"),
        ("team-one", {"TEAM_ONE": "own"}, "own"),
        (None, {"": "general", "team": "own"}, "general"),
    ],
)
async def test_the_key_is_the_persons_else_the_general_one_else_a_placeholder(
    key_id: str | None, keys: Mapping[str, str], sent: str
) -> None:
    async with StubModel() as stub, services(stub.base_url, keys=keys) as models:
        await models.chat(ask(api_key_id=key_id))
    assert stub.authorizations == [f"Bearer {sent}"]


async def test_the_environment_of_the_process_adds_nothing_to_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "ambient-key")
    monkeypatch.setenv("OPENAI_ORG_ID", "ambient-organisation")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Ambient: header\nAuthorization: Bearer ambient")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with StubModel() as stub, services(stub.base_url) as models:
        await models.chat(ask())
    assert stub.authorizations == ["Bearer none"]
    assert "ambient" not in json.dumps(stub.headers)
    assert not any(name.startswith(("x-", "openai-")) for name in stub.headers[0])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault, is_retryable",
    [
        ("http_400", False),
        ("http_401", False),
        ("http_403", False),
        ("http_404", False),
        ("http_307", False),
        ("http_429", True),
        ("http_500", True),
        ("http_503", True),
        ("cut", True),
        ("bad_json", True),
    ],
)
async def test_a_failure_says_whether_a_retry_may_help(
    fault: str, is_retryable: bool, stream: bool
) -> None:
    async with StubModel(faults={1: fault}) as stub, services(stub.base_url) as models:
        error = await failure(models, ask(), on_token=(lambda _: None) if stream else None)
        assert error.retryable is is_retryable
        assert error.code == "LLM_ERROR"
        assert "'openai' at http://127.0.0.1" in error.message
        assert len(stub.requests) == 1, "nothing is retried here"
        assert (await models.chat(ask())).text


async def test_the_servers_own_words_are_passed_on() -> None:
    async with StubModel(faults={1: "http_400"}) as stub, services(stub.base_url) as models:
        error = await failure(models, ask())
    assert "HTTP 400: planned failure 1" in error.message


@pytest.mark.parametrize("stream", [False, True])
async def test_a_silent_service_is_given_up_after_the_timeout(stream: bool) -> None:
    async with (
        StubModel(faults={1: "hang"}) as stub,
        services(stub.base_url, patience=0.1) as models,
    ):
        error = await failure(models, ask(), on_token=(lambda _: None) if stream else None)
    assert error.retryable
    assert "in time" in error.message


async def test_a_service_that_is_not_there_is_an_error_that_may_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with services(f"http://127.0.0.1:{port}/v1") as models:
        error = await failure(models, ask())
    assert error.retryable
    assert "cannot be reached" in error.message


async def test_a_key_never_shows_in_an_error() -> None:
    async with (
        StubModel(api_key="another") as stub,
        services(stub.base_url, keys={"": KEY}) as models,
    ):
        error = await failure(models, ask())
    assert "***" in error.message
    shown = [str(error), repr(error), str(error.hint), repr(error.__cause__)]
    assert KEY not in " ".join(shown)
    assert "DIPEO_LLM_API_KEY" in str(error.hint)


@pytest.mark.parametrize(
    "document",
    ["[]", "{}", '{"choices": []}', '{"choices": [7]}', '{"choices": [{"message": null}]}'],
)
async def test_an_answer_without_text_is_an_error(document: str) -> None:
    async with _raw_server(document) as base_url, services(base_url) as models:
        error = await failure(models, ask())
    assert error.retryable
    assert "without any text" in error.message


async def test_a_refusal_of_the_model_is_not_worth_a_retry() -> None:
    document = {"choices": [{"message": {"content": None, "refusal": "I must not."}}]}
    async with _raw_server(json.dumps(document)) as base_url, services(base_url) as models:
        error = await failure(models, ask())
    assert not error.retryable
    assert "I must not." in error.message


STREAMED_REFUSAL = {"choices": [{"delta": {"refusal": "I must not."}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "chunk, said, is_retryable",
    [
        (STREAMED_REFUSAL, "refused to answer: I must not.", False),
        ({"error": {"message": "too many guests"}}, "too many guests", True),
        ({"choices": [{"delta": {"content": "half an ans"}}]}, "in the middle", True),
    ],
)
async def test_a_stream_may_end_badly_in_each_way(
    chunk: dict[str, Any], said: str, is_retryable: bool
) -> None:
    document = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    async with _raw_server(document, "text/event-stream") as url, services(url) as models:
        error = await failure(models, ask(), on_token=lambda _: None)
    assert said in error.message
    assert error.retryable is is_retryable


async def test_a_cancelled_call_closes_its_connection() -> None:
    async with StubModel(faults={1: "hang"}) as stub, services(stub.base_url) as models:
        calling = asyncio.create_task(models.chat(ask()))
        await stub.received()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert (await models.chat(ask())).text


async def test_many_requests_are_answered_in_order_with_failures_in_their_places() -> None:
    def reply(body: dict[str, Any]) -> str:
        return str(body["messages"][-1]["content"])

    async with StubModel(replies=reply) as stub, services(stub.base_url) as models:
        requests = [ask(str(number)) for number in range(5)]
        replies = await models.chat_all([*requests, ask(service="openai")], limit=2)
    assert [r.text for r in replies[:5] if isinstance(r, ChatReply)] == list("01234")


async def test_a_failed_request_among_many_leaves_the_others_alone() -> None:
    models = ModelServices(base_urls={}, keys={})
    replies = await models.chat_all([ask(), ask(service="echo")], limit=1)
    assert isinstance(replies[0], NodeError)
    assert isinstance(replies[1], ChatReply)


async def test_echo_answers_with_the_last_user_message_and_counts_words() -> None:
    models = ModelServices(base_urls={}, keys={})
    tokens: list[str] = []
    reply = await models.chat(ask("one  two", service="Echo"), tokens.append)
    assert reply == ChatReply("one  two", "gpt-test", TokenUsage(4, 2))
    assert "".join(tokens) == reply.text


async def test_echo_answers_a_schema_with_its_smallest_value() -> None:
    models = ModelServices(base_urls={}, keys={})
    reply = await models.chat(ask(service="echo", json_schema=SCHEMA))
    assert json.loads(reply.text) == {"city": "aa"}


async def test_the_environment_names_endpoints_and_keys() -> None:
    async with StubModel() as one, StubModel() as other:
        models = model_services_from_env(
            {
                "DIPEO_LLM_BASE_URL": one.base_url,
                "DIPEO_LLM_CLAUDE_CODE_BASE_URL": f"{other.base_url}/",
                "DIPEO_LLM_API_KEY": "general",
                "DIPEO_SECRET_APIKEY_52609F": "own",
                "DIPEO_SECRET_EMPTY": " ",
                "PATH": "/bin",
            }
        )
        await models.chat(ask(api_key_id="APIKEY_52609F"))
        await models.chat(ask(service="claude-code", api_key_id="empty"))
        await models.close()
    assert one.authorizations == ["Bearer own"]
    assert other.authorizations == ["Bearer general"]


async def test_an_empty_environment_leaves_only_echo() -> None:
    models = model_services_from_env({"DIPEO_LLM_BASE_URL": ""})
    assert (await models.chat(ask("hi", service="echo"))).text == "hi"
    with pytest.raises(ModelNotConfigured):
        await models.chat(ask())


@pytest.mark.parametrize("url", ["api.example.org/v1", "ftp://example.org", "http:///v1"])
def test_a_base_url_that_cannot_work_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        model_services_from_env({"DIPEO_LLM_OLLAMA_BASE_URL": url})
    assert "ollama" in refusal.value.message


@asynccontextmanager
async def _raw_server(document: str, kind: str = "application/json") -> AsyncIterator[str]:
    """Answers every request with this text, whatever it is."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n"
        writer.write(f"{head}content-length: {len(document)}\r\n\r\n{document}".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1"
