"""Who is asked, and how: the person, its system prompt, and the request to its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from dipeo_server.domains.diagram.executable import ExecutablePerson
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.person.prompt_files import read_prompt_file
from dipeo_server.domains.execution.ports import (
    ChatMessage,
    ChatReply,
    ChatRequest,
    LanguageModels,
)
from dipeo_server.errors import NodeError

Person: TypeAlias = ExecutablePerson


class PersonMissing(NodeError):
    """A node needs a person, and names none or one that the diagram does not have."""

    code = "PERSON_MISSING"
    default_hint = "Declare it under `persons`, and name it as the node's `person`."


@runtime_checkable
class ManyChats(Protocol):
    """A model service that can answer several requests at once."""

    async def chat_all(
        self, requests: Sequence[ChatRequest], *, limit: int
    ) -> list[ChatReply | NodeError]:
        """Replies and failures in the order of the requests, at most `limit` under way at once."""
        ...


def find_person(ctx: ExecutionContext, name: str | None) -> Person:
    """The person with that key or label. Raises PersonMissing."""
    if not name:
        raise PersonMissing(f"The node {ctx.node.key!r} names no person.")
    person = ctx.diagram.person(name)
    if person is None:
        known = ", ".join(person.label for person in ctx.diagram.persons) or "none"
        raise PersonMissing(
            f"The node {ctx.node.key!r} names the person {name!r}, and there is none.",
            hint=f"Persons of this diagram: {known}.",
        )
    return person


async def system_prompt_of(ctx: ExecutionContext, person: Person) -> str | None:
    """The person's system prompt; its file beats the text. Raises FileMissing, PathDenied."""
    if not person.prompt_file:
        return person.system_prompt
    return await read_prompt_file(
        ctx.files, person.prompt_file, diagram_path=ctx.diagram.path, what="system prompt file"
    )


def request_to(
    person: Person,
    messages: tuple[ChatMessage, ...],
    *,
    temperature: float | None = None,
    max_tokens: int | None = None,
    json_schema: Mapping[str, Any] | None = None,
) -> ChatRequest:
    """A request to the person's own model."""
    return ChatRequest(
        service=person.service,
        model=person.model,
        messages=messages,
        api_key_id=person.api_key_id,
        temperature=temperature,
        max_tokens=max_tokens,
        json_schema=json_schema,
    )


async def chat_each(
    models: LanguageModels, requests: Sequence[ChatRequest], *, limit: int
) -> list[ChatReply | NodeError]:
    """A reply or a failure for each request, in order; several at once where the service can."""
    if limit > 1 and isinstance(models, ManyChats):
        return await models.chat_all(requests, limit=limit)
    replies: list[ChatReply | NodeError] = []
    for request in requests:
        try:
            replies.append(await models.chat(request))
        except NodeError as error:
            replies.append(error)
    return replies


def sum_usages(usages: Sequence[TokenUsage | None]) -> TokenUsage | None:
    """All together; None (unknown) as soon as one of them is."""
    total = TokenUsage()
    for usage in usages:
        if usage is None:
            return None
        total += usage
    return total
