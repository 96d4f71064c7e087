"""The stub model speaks the wire format that clients of language models expect."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

import httpx
import jsonschema
import pytest

from dipeo_server.errors import InvalidInput
from dipeo_server.testing.stub_model import StubModel

HELLO: Mapping[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello there"}]}


async def post(stub: StubModel, **changes: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{stub.base_url}/chat/completions", json={**HELLO, **changes})


def schema_request(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}


async def test_a_plain_reply_quotes_the_last_user_message_and_counts_words() -> None:
    async with StubModel() as stub:
        document = (await post(stub)).json()
    assert document["choices"][0]["message"]["content"] == "You said: Hello there"
    assert document["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}
    assert document["model"] == "m"


async def test_a_streamed_reply_comes_in_events_and_ends_with_done() -> None:
    async with StubModel(replies=["one two"]) as stub:
        text = (await post(stub, stream=True, stream_options={"include_usage": True})).text
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    words = [choice["delta"].get("content", "") for c in chunks for choice in c["choices"]]
    assert words == ["one ", "two", ""]
    assert chunks[-1]["usage"]["completion_tokens"] == 2


async def test_usage_is_streamed_only_to_who_asks_for_it() -> None:
    async with StubModel() as stub:
        assert "usage" not in (await post(stub, stream=True)).text


async def test_scripted_replies_are_used_in_turn_and_the_last_one_repeats() -> None:
    async with StubModel(replies=["a", "b"]) as stub:
        replies = [(await post(stub)).json()["choices"][0]["message"]["content"] for _ in range(3)]
    assert replies == ["a", "b", "b"]
    assert len(stub.requests) == 3


async def test_a_function_of_the_request_may_give_the_reply() -> None:
    async with StubModel(replies=lambda body: body["model"].upper()) as stub:
        document = (await post(stub)).json()
    assert document["choices"][0]["message"]["content"] == "M"


SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {}}},
    {"type": "object", "required": ["e"], "properties": {"e": {"enum": ["x", "y"]}}},
    {"type": "array", "minItems": 3, "items": {"type": "integer", "minimum": 5}},
    {
        "$defs": {"Leaf": {"type": "object", "required": ["n"], "properties": {"n": {"const": 1}}}},
        "type": "object",
        "required": ["leaves"],
        "properties": {
            "leaves": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/Leaf"}}
        },
    },
    {
        "$defs": {
            "Tree": {
                "type": "object",
                "required": ["left"],
                "properties": {"left": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]}},
            }
        },
        "$ref": "#/$defs/Tree",
    },
    {"allOf": [{"type": "object", "required": ["a"], "properties": {"a": {"type": "null"}}}]},
    {"type": ["integer", "null"], "exclusiveMinimum": 3},
    {"type": "number", "exclusiveMaximum": 0},
    {"type": "number", "minimum": 3, "multipleOf": 2},
    {"type": "string", "pattern": "^[a-z][a-z0-9-]*$"},
    {"type": "string", "minLength": 3},
    {"type": "string", "format": "date"},
    {"type": "array", "minItems": 2, "prefixItems": [{"type": "boolean"}], "items": {"const": 2}},
    {"type": "object", "minProperties": 1, "properties": {"a": {"type": "boolean"}}},
    {"properties": {"a": {"type": "string"}}, "required": ["a"]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
async def test_a_json_schema_is_answered_with_a_value_it_accepts(schema: dict[str, Any]) -> None:
    async with StubModel() as stub:
        document = (await post(stub, response_format=schema_request(schema))).json()
    value = json.loads(document["choices"][0]["message"]["content"])
    jsonschema.validate(value, schema)


async def test_a_schema_without_end_is_answered_with_null() -> None:
    endless = {
        "$defs": {"A": {"required": ["a"], "properties": {"a": {"$ref": "#/$defs/A"}}}},
        "$ref": "#/$defs/A",
    }
    async with StubModel() as stub:
        document = (await post(stub, response_format=schema_request(endless))).json()
    assert document["choices"][0]["message"]["content"] == "null"


async def test_planned_faults_hit_the_numbered_request_only() -> None:
    async with StubModel(faults={1: "http_500", 2: "http_429", 3: "bad_json"}) as stub:
        codes = [(await post(stub)).status_code for _ in range(2)]
        broken = await post(stub)
        last = await post(stub)
    assert codes == [500, 429]
    with pytest.raises(json.JSONDecodeError):
        broken.json()
    assert last.status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_reply_ends_within_its_body(stream: bool) -> None:
    async with StubModel(faults={1: "cut"}) as stub:
        with pytest.raises(httpx.RemoteProtocolError):
            await post(stub, stream=stream)


async def test_a_hanging_reply_ends_when_the_stub_does() -> None:
    async with StubModel(faults={1: "hang"}) as stub, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(post(stub))
        await stub.received()
        await stub.close()
    assert waiting.result().status_code == 503


async def test_another_key_than_the_expected_one_is_refused() -> None:
    async with StubModel(api_key="right") as stub:
        assert (await post(stub)).status_code == 401


async def test_models_are_listed() -> None:
    async with StubModel() as stub, httpx.AsyncClient(trust_env=False) as client:
        document = (await client.get(f"{stub.base_url}/models")).json()
    assert [model["id"] for model in document["data"]] == ["stub"]


def test_an_unknown_fault_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput) as refusal:
        StubModel(faults={1: "explode"})
    assert "hang" in str(refusal.value.hint)


async def test_the_command_prints_where_it_listens() -> None:
    command = [sys.executable, "-m", "dipeo_server.testing.stub_model", "--port", "0"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    base_url = (await process.stdout.readline()).decode().strip()
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            reply = await client.post(f"{base_url}/chat/completions", json=HELLO)
        assert reply.json()["choices"][0]["message"]["content"] == "You said: Hello there"
    finally:
        process.terminate()
        await process.communicate()
