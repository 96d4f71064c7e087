"""person_job in batch mode: one question for each item of a list."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.errors import ModelNotConfigured
from dipeo_server.testing.stub_model import StubModel
from tests.domains.execution.handlers.person_world import (
    ANN,
    Point,
    World,
    observed,
)


async def test_a_batch_asks_once_for_each_item(echo: World) -> None:
    output, _ = await echo.run(
        {"items": [{"name": "a"}, {"name": "b"}], "greeting": "Hello"},
        default_prompt="{{greeting}} {{name}} {{_batch_index}}/{{_batch_total}}",
        batch=True,
    )
    body = output.value["default"]
    assert (body["total_items"], body["successful"], body["failed"]) == (2, 2, 0)
    assert [r["output"] for r in body["results"]] == ["Hello a 0/2", "Hello b 1/2"]
    assert [r["index"] for r in body["results"]] == [0, 1]
    assert body["errors"] == []
    assert [message.id for message in output.messages] == [f"Ask#1.{n}" for n in range(4)]
    assert output.token_usage == TokenUsage(12, 6)


@pytest.mark.parametrize(
    "inputs, outputs",
    [
        ({"default": {"items": ["a", "b"]}}, ["a", "b"]),
        ({"items": "lone"}, ["lone"]),
        ({"other": 1}, []),
    ],
)
async def test_the_items_of_a_batch_are_found(
    echo: World, inputs: dict[str, Any], outputs: list[str]
) -> None:
    body = await echo.answer(inputs, default_prompt="{{default}}", batch=True)
    assert [result["output"] for result in body["results"]] == outputs


async def test_a_failed_item_is_listed_and_the_others_are_kept(via_stub: Point) -> None:
    async with StubModel(faults={2: "http_400"}) as stub:
        world = via_stub(stub)
        output, context = await world.run(
            {"cities": ["Rome", "Oslo", "Bern"]},
            default_prompt="{{default}}",
            batch=True,
            batchInputKey="cities",
            batch_parallel=False,
        )
    body = output.value["default"]
    assert (body["successful"], body["failed"]) == (2, 1)
    assert [result["index"] for result in body["results"]] == [0, 2]
    [error] = body["errors"]
    assert (error["index"], error["error_type"], error["item"]) == (1, "LLM_ERROR", "Oslo")
    assert observed(context) == ["LLM_ERROR"]


async def test_a_batch_in_which_all_fails_is_a_failure(echo: World) -> None:
    world = replace(echo, persons=(replace(ANN, service="openai"),))
    with pytest.raises(ModelNotConfigured):
        await world.run({"items": [1, 2]}, default_prompt="{{default}}", batch=True)


async def test_items_are_asked_at_once_up_to_the_limit(via_stub: Point) -> None:
    async with StubModel() as stub:
        world = via_stub(stub)
        body = await world.answer(
            {"items": list(range(6))},
            default_prompt="item {{default}}",
            batch=True,
            max_concurrent=3,
        )
    assert [r["output"] for r in body["results"]] == [f"You said: item {n}" for n in range(6)]


async def test_an_item_without_its_key_or_with_an_unusable_answer_fails_alone(
    via_stub: Point,
) -> None:
    def reply(body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"]
        return "no json" if "Oslo" in asked else "7"

    async with StubModel(replies=reply) as stub:
        world = via_stub(stub)
        output, context = await world.run(
            {"items": [{"city": "Rome"}, {"town": "Bern"}, {"city": "Oslo"}]},
            default_prompt="How large is {{city}}?",
            strict=True,
            text_format={"type": "integer"},
            batch=True,
        )
    body = output.value["default"]
    assert [(r["index"], r["output"]) for r in body["results"]] == [(0, 7)]
    assert [(e["index"], e["error_type"]) for e in body["errors"]] == [
        (1, "TEMPLATE_ERROR"),
        (2, "LLM_ERROR"),
    ]
    assert sorted(observed(context)) == ["LLM_ERROR", "TEMPLATE_ERROR"]
    assert len(stub.requests) == 2
