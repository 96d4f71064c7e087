"""What a person hears and remembers, and what joins the conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dipeo_server.domains.execution.envelope import ContentType
from dipeo_server.domains.execution.output import Message
from dipeo_server.testing.stub_model import StubModel
from tests.domains.execution.handlers.person_world import (
    TALK,
    Point,
    World,
    observed,
    sent,
)


async def test_prompt_and_answer_join_the_conversation(echo: World) -> None:
    output, _ = await replace(echo, runs_before=2).run(default_prompt="hi")
    assert output.messages == (
        Message("Ask#3.0", "system", "ann", "hi"),
        Message("Ask#3.1", "ann", "system", "hi"),
    )


async def test_the_model_hears_system_prompt_memory_and_prompt(via_stub: Point) -> None:
    async with StubModel() as stub:
        world = replace(via_stub(stub), conversation=TALK)
        await world.run(default_prompt="next question")
    assert sent(stub) == [
        ("system", "You are Ann."),
        ("user", "first question"),
        ("assistant", "first answer"),
        ("user", "for Bob"),
        ("user", "from Bob"),
        ("user", "next question"),
    ]


@pytest.mark.parametrize(
    "wish, contents",
    [
        ({"memorize_to": "goldfish"}, []),
        ({"memorize_to": "SENT_BY_ME"}, ["first answer"]),
        ({"memorize_to": "SYSTEM_AND_ME"}, ["first question", "first answer"]),
        ({"at_most": 1}, ["from Bob"]),
        ({"ignore_person": "Bob, nobody"}, ["first question", "first answer", "for Bob"]),
        ({"memorize_to": "SENT_TO_ME", "at_most": 5}, ["first question"]),
    ],
)
async def test_memory_follows_its_rule_without_asking_a_model(
    via_stub: Point, wish: Mapping[str, Any], contents: list[str]
) -> None:
    async with StubModel() as stub:
        world = replace(via_stub(stub), conversation=TALK)
        output, _ = await world.run(default_prompt="now", **wish)
    assert len(stub.requests) == 1
    assert [content for _, content in sent(stub)[1:-1]] == contents
    assert output.metadata["memory_selection"] == {
        "selected": len(contents),
        "total": 4,
        "criteria": wish.get("memorize_to"),
        "at_most": wish.get("at_most"),
    }


async def test_memory_in_plain_words_is_chosen_by_the_persons_model(via_stub: Point) -> None:
    async with StubModel(replies=['Here: ["Other#1.1", "Ask#1.0"]', "the answer"]) as stub:
        world = replace(via_stub(stub), conversation=TALK)
        output, context = await world.run(default_prompt="now", memorize_to="what matters")
    assert "what matters" in sent(stub, 0)[0][1]
    assert [content for _, content in sent(stub, 1)] == [
        "You are Ann.",
        "first question",
        "from Bob",
        "now",
    ]
    assert output.value["default"] == "the answer"
    assert observed(context) == []
    used = [len(" ".join(m["content"] for m in r["messages"]).split()) for r in stub.requests]
    assert output.token_usage is not None
    assert output.token_usage.input == sum(used)


async def test_an_unusable_choice_keeps_everything_and_is_told(via_stub: Point) -> None:
    async with StubModel(replies=["I remember it all!", "the answer"]) as stub:
        world = replace(via_stub(stub), conversation=TALK)
        output, context = await world.run(default_prompt="now", memorize_to="remember all")
    assert observed(context) == ["MEMORY_SELECTION_UNUSABLE"]
    assert output.metadata["memory_selection"]["selected"] == 4


async def test_nothing_to_remember_needs_no_choice(via_stub: Point) -> None:
    async with StubModel() as stub:
        world = via_stub(stub)
        await world.run(default_prompt="now", memorize_to="what matters")
    assert len(stub.requests) == 1


def state(*messages: Mapping[str, Any]) -> dict[str, Any]:
    return {"messages": list(messages), "last_message": messages[-1]["content"]}


async def test_known_messages_of_an_input_are_not_said_twice(via_stub: Point) -> None:
    known = [
        {"id": m.id, "sender": m.sender, "recipient": m.recipient, "content": m.content}
        for m in TALK
    ]
    async with StubModel() as stub:
        world = replace(via_stub(stub), conversation=TALK)
        output, _ = await world.run({"default": state(*known)}, default_prompt="now")
    assert len(sent(stub)) == 6
    assert [message.id for message in output.messages] == ["Ask#1.0", "Ask#1.1"]


async def test_unknown_messages_of_an_input_join_the_conversation(via_stub: Point) -> None:
    told = state(
        {"role": "assistant", "content": "from elsewhere"},
        {"role": "assistant", "content": "first answer"},
        {"id": "x7", "from_person_id": "carl", "to_person_id": "ann", "content": "I am Carl"},
        {"content": None},
    )
    async with StubModel() as stub:
        world = replace(via_stub(stub), conversation=TALK[:2])
        output, _ = await world.run({"default": told, "n": 1}, default_prompt="now")
    assert [content for _, content in sent(stub)[3:]] == ["from elsewhere", "I am Carl", "now"]
    assert output.messages[:2] == (
        Message("Ask#1.0", "system", "ann", "from elsewhere"),
        Message("x7", "carl", "ann", "I am Carl"),
    )
    assert [message.id for message in output.messages[2:]] == ["Ask#1.2", "Ask#1.3"]


async def test_an_edge_that_carries_a_conversation_gets_one(echo: World) -> None:
    world = replace(echo, edge_content_type="conversation_state", conversation=TALK)
    output, _ = await world.run(default_prompt="now", memorize_to="SENT_BY_ME")
    body = output.value["default"]
    assert output.content_type is ContentType.CONVERSATION_STATE
    assert body["last_message"] == "now"
    assert (body["person_id"], body["model"]) == ("ann", "echo-1")
    assert [m["content"] for m in body["messages"]] == ["first answer", "now", "now"]
    assert [m["role"] for m in body["messages"]] == ["assistant", "user", "assistant"]
    json.dumps(body)
