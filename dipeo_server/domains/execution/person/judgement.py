"""A person's yes or no to a question about a node's inputs."""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.inputs import first_value
from dipeo_server.domains.execution.llm_decision import read_decision
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.person.asking import (
    find_person,
    request_to,
    sum_usages,
    system_prompt_of,
)
from dipeo_server.domains.execution.person.conversation import chat_messages
from dipeo_server.domains.execution.person.prompt_files import read_prompt_file
from dipeo_server.domains.execution.person.recall import MemoryWish, recall
from dipeo_server.domains.execution.prompts import rendered

_INSTRUCTION: Final = "Answer with YES or NO as the first word."
_ANSWER_SHOWN_CHARACTERS: Final = 200


class Question(Protocol):
    """What is asked, of whom, and what that person remembers for it."""

    @property
    def person(self) -> str | None:
        """The judge's key or label."""
        ...

    @property
    def judge_by(self) -> str | None:
        """The question; a template."""
        ...

    @property
    def judge_by_file(self) -> str | None:
        """A file with the question; beats `judge_by`."""
        ...

    @property
    def memorize_to(self) -> str | None:
        """What the judge remembers of the conversation."""
        ...

    @property
    def at_most(self) -> int | None:
        """The most messages remembered."""
        ...


async def judge(question: Question, ctx: ExecutionContext) -> tuple[bool, TokenUsage | None]:
    """The judgement, and the tokens it took (None = unknown).

    The question is put together with the node's input. An unclear answer is a no, and
    LLM_DECISION_UNCLEAR is observed. Nothing of it enters the conversation. Raises PersonMissing,
    FileMissing, PathDenied, TemplateError, and what the model service raises.
    """
    person = find_person(ctx, question.person)
    asked = await _asked(question, ctx)
    wish = MemoryWish(question.memorize_to, question.at_most)
    memory = await recall(ctx, person, wish, ctx.conversation, task=asked)
    system_prompt = await system_prompt_of(ctx, person)
    messages = chat_messages(system_prompt, memory.messages, asked, person=person.key)
    reply = await ctx.services.models.chat(request_to(person, messages))
    decision = read_decision(reply.text)
    if decision is None:
        said = repr(reply.text[:_ANSWER_SHOWN_CHARACTERS])
        ctx.observe("LLM_DECISION_UNCLEAR", f"{person.label!r} said neither yes nor no: {said}")
    return decision is True, sum_usages([*memory.usages, reply.usage])


async def _asked(question: Question, ctx: ExecutionContext) -> str:
    template = question.judge_by or ""
    if question.judge_by_file:
        template = await read_prompt_file(
            ctx.files, question.judge_by_file, diagram_path=ctx.diagram.path
        )
    parts = [rendered(template, ctx), _INSTRUCTION]
    matter = first_value(ctx.inputs)
    if matter not in (None, ""):
        parts.insert(1, f"What is to be judged:\n{_text(matter)}")
    return "\n\n".join(parts)


def _text(value: Any) -> str:
    if isinstance(value, dict) and "messages" in value and "last_message" in value:
        return str(value["last_message"])
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
