"""What is said to a person's model, and what comes in and goes out as a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dipeo_server.domains.execution.output import Message
from dipeo_server.domains.execution.person.memory import SYSTEM
from dipeo_server.domains.execution.ports import ChatMessage


def chat_messages(
    system_prompt: str | None, memory: Iterable[Message], prompt: str, *, person: str
) -> tuple[ChatMessage, ...]:
    """System prompt, memory, prompt. What the person said itself has the role of the assistant."""
    opening = (ChatMessage("system", system_prompt),) if system_prompt else ()
    said = (
        ChatMessage("assistant" if message.sender == person else "user", message.content)
        for message in memory
    )
    return (*opening, *said, ChatMessage("user", prompt))


def unheard(
    inputs: Mapping[str, Any], conversation: Sequence[Message], *, person: str, prefix: str
) -> tuple[Message, ...]:
    """Messages in conversation inputs that the execution's conversation does not hold yet.

    An input is one if it is a map with a list of `messages`. Known ids are known messages; a
    message without an id is known if the same text was said before. It gets the id
    `<prefix><number>`, comes from `system` unless it names a sender, and goes to the person.
    """
    ids = {message.id for message in conversation}
    said = {message.content for message in conversation}
    found: list[Message] = []
    for entry in _entries(inputs):
        content = str(entry["content"])
        own_id = _first_text(entry, "id")
        if own_id in ids or (own_id is None and content in said):
            continue
        message = Message(
            own_id or f"{prefix}{len(found)}",
            sender=_first_text(entry, "sender", "from_person_id") or SYSTEM,
            recipient=_first_text(entry, "recipient", "to_person_id") or person,
            content=content,
        )
        found.append(message)
        ids.add(message.id)
        said.add(content)
    return tuple(found)


def conversation_state(messages: Sequence[Message], *, person: str, model: str) -> dict[str, Any]:
    """The conversation as an output: {messages, last_message (its text), person_id, model}."""
    return {
        "messages": [
            {
                "id": message.id,
                "sender": message.sender,
                "recipient": message.recipient,
                "role": "assistant" if message.sender == person else "user",
                "content": message.content,
            }
            for message in messages
        ],
        "last_message": messages[-1].content if messages else "",
        "person_id": person,
        "model": model,
    }


def _entries(inputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for value in inputs.values():
        for state in value if isinstance(value, list) else [value]:
            messages = state.get("messages") if isinstance(state, Mapping) else None
            for entry in messages if isinstance(messages, list) else ():
                if isinstance(entry, Mapping) and entry.get("content") is not None:
                    yield entry


def _first_text(entry: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = entry.get(name)
        if isinstance(value, str) and value:
            return value
    return None
