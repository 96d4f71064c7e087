"""A person judges for a condition."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.llm_decision import decide
from dipeo_server.domains.execution.person.judgement import judge
from dipeo_server.testing.stub_model import StubModel
from tests.domains.execution.handlers.person_world import (
    TALK,
    Point,
    observed,
    sent,
    write,
)


@dataclass(frozen=True)
class Question:
    person: str | None = "ann"
    judge_by: str | None = "Is {{default}} good?"
    judge_by_file: str | None = None
    memorize_to: str | None = "GOLDFISH"
    at_most: int | None = None


@pytest.mark.parametrize(
    "reply, is_true, codes",
    [("YES.", True, []), ("No!", False, []), ("Hm", False, ["LLM_DECISION_UNCLEAR"])],
)
async def test_a_person_judges_a_nodes_input(
    via_stub: Point, reply: str, is_true: bool, codes: list[str]
) -> None:
    async with StubModel(replies=[reply]) as stub:
        world = replace(via_stub(stub), conversation=TALK)
        context = world.context({"default": "the soup"})
        decision, usage = await judge(Question(), context)
    assert (decision, decide(reply)) == (is_true, is_true)
    assert observed(context) == codes
    assert usage is not None
    [system, question] = sent(stub)
    assert system == ("system", "You are Ann.")
    assert question[1].startswith("Is the soup good?")


async def test_a_question_may_come_from_a_file(via_stub: Point, base_dir: Path) -> None:
    write(base_dir, "files/prompts/judge.txt", "Is it ripe?")
    async with StubModel(replies=["yes"]) as stub:
        world = via_stub(stub)
        context = world.context({"default": {"fruit": "plum"}})
        decision, _ = await judge(Question(judge_by_file="judge.txt"), context)
    assert decision
    assert "Is it ripe?" in sent(stub)[1][1]
    assert '"fruit": "plum"' in sent(stub)[1][1]


@pytest.mark.parametrize(
    "inputs, shown",
    [
        ({"default": {"messages": [], "last_message": "the last word"}}, "the last word"),
        ({}, None),
    ],
)
async def test_of_a_conversation_the_last_message_is_judged(
    via_stub: Point, inputs: dict[str, Any], shown: str | None
) -> None:
    async with StubModel(replies=["yes"]) as stub:
        context = via_stub(stub).context(inputs)
        await judge(Question(judge_by="Well?"), context)
    assert ("What is to be judged" in sent(stub)[1][1]) is (shown is not None)
    assert (shown or "Well?") in sent(stub)[1][1]
