"""What a person remembers of the conversation: by exact rules, or by a choice of a model.

There is no clock here: how recent a message is follows from its place in the conversation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from typing import Any, Final

from dipeo_server.domains.execution.output import Message

SYSTEM: Final = "system"
CANDIDATES_MAX: Final = 150
COMPARED_MAX: Final = 300

_COMPARED_CHARACTERS: Final = 400
_DUPLICATE_OVERLAP: Final = 0.9
_RECENCY_DECAY_MESSAGES: Final = 60
_SNIPPET_CHARACTERS: Final = 250
_TASK_CHARACTERS: Final = 1_200
_CRITERIA_CHARACTERS: Final = 750

Conversation = Sequence[Message]


class MemoryRule(StrEnum):
    """Names in `memorize_to` that mean an exact selection, without asking a model."""

    ALL_MESSAGES = "ALL_MESSAGES"
    CONVERSATION_PAIRS = "CONVERSATION_PAIRS"
    SYSTEM_AND_ME = "SYSTEM_AND_ME"
    SENT_TO_ME = "SENT_TO_ME"
    SENT_BY_ME = "SENT_BY_ME"
    GOLDFISH = "GOLDFISH"


def exact_rule(criteria: str | None) -> MemoryRule | None:
    """The rule that a `memorize_to` names, in any case; no text at all is ALL_MESSAGES.

    None for any other text: then a model chooses.
    """
    wanted = (criteria or "").strip().upper()
    if not wanted:
        return MemoryRule.ALL_MESSAGES
    return MemoryRule(wanted) if wanted in MemoryRule.__members__ else None


def remembered(rule: MemoryRule, conversation: Conversation, person: str) -> tuple[Message, ...]:
    """The messages that the rule keeps for the person (a person key), in order."""
    return tuple(message for message in conversation if _is_kept(rule, message, person))


def _is_kept(rule: MemoryRule, message: Message, person: str) -> bool:
    ends = (message.sender, message.recipient)
    match rule:
        case MemoryRule.ALL_MESSAGES:
            return True
        case MemoryRule.GOLDFISH:
            return False
        case MemoryRule.SENT_BY_ME:
            return message.sender == person
        case MemoryRule.SENT_TO_ME:
            return message.recipient == person
        case MemoryRule.CONVERSATION_PAIRS:
            return person in ends
        case MemoryRule.SYSTEM_AND_ME:
            return set(ends) == {SYSTEM, person}


def without_senders(conversation: Conversation, ignored: Collection[str]) -> tuple[Message, ...]:
    """The conversation without what these persons said."""
    return tuple(message for message in conversation if message.sender not in ignored)


def newest(messages: Conversation, at_most: int | None) -> tuple[Message, ...]:
    """The last `at_most` messages. The person's system prompt is none of them: it always stays."""
    return tuple(messages if at_most is None else messages[-at_most:])


# --- a choice by criteria


def candidates(conversation: Conversation) -> tuple[Message, ...]:
    """What a model may choose from: at most CANDIDATES_MAX messages, in order.

    Of messages that say nearly the same the newest stands for all. The best by score stay:
    70% how recent (from its place, counted back from the newest), 30% how often it was said, more
    for prompts. Only the newest COMPARED_MAX messages are considered.
    """
    recent = conversation[-COMPARED_MAX:]
    scored: list[tuple[float, int]] = []
    for place, said in _distinct(recent):
        distance = len(recent) - 1 - place
        scored.append((_score(recent[place], distance, said), place))
    best = sorted(scored, key=lambda entry: (-entry[0], -entry[1]))[:CANDIDATES_MAX]
    return tuple(recent[place] for place in sorted(place for _, place in best))


def _distinct(messages: Conversation) -> Iterator[tuple[int, int]]:
    """(place, how often it was said) of each message that is no repetition of a newer one."""
    groups: list[tuple[frozenset[str], int]] = []
    counts: list[int] = []
    for place in range(len(messages) - 1, -1, -1):
        words = frozenset(messages[place].content[:_COMPARED_CHARACTERS].lower().split())
        same = next((n for n, (other, _) in enumerate(groups) if _is_same(words, other)), None)
        if same is None:
            groups.append((words, place))
            counts.append(1)
        else:
            counts[same] += 1
    for (_, place), count in zip(groups, counts, strict=True):
        yield place, count


def _is_same(words: frozenset[str], other: frozenset[str]) -> bool:
    smaller = min(len(words), len(other))
    if not smaller:
        return words == other
    return len(words & other) >= _DUPLICATE_OVERLAP * smaller


def _score(message: Message, distance: int, said: int) -> float:
    recency = 100 * math.exp(-distance / _RECENCY_DECAY_MESSAGES)
    frequency = min(100, 30 + 20 * (said - 1) + (30 if message.sender == SYSTEM else 0))
    return 0.7 * recency + 0.3 * frequency


def selection_prompt(
    offered: Conversation, *, criteria: str, at_most: int | None, task: str
) -> str:
    """What a model is asked in order to choose among the offered messages."""
    listing = "\n".join(
        f"{json.dumps(message.id)} (from {message.sender} to {message.recipient}): "
        f"{' '.join(message.content.split())[:_SNIPPET_CHARACTERS]}"
        for message in offered
    )
    limit = "" if at_most is None else f" Choose {at_most} at most."
    return (
        "Choose what to remember of a conversation. Each line below is one message: its id, who"
        f" spoke to whom, and how it begins.\n\n{listing}\n\n"
        f"What is to be remembered: {criteria[:_CRITERIA_CHARACTERS]}\n"
        f"The task that needs it: {task[:_TASK_CHARACTERS]}\n\n"
        f"Answer with a JSON array of the ids to keep, and nothing else.{limit}"
        " Leave out what the task itself already says."
    )


def chosen(answer: str, offered: Conversation) -> tuple[Message, ...] | None:
    """The offered messages whose ids the answer lists, in order of the conversation.

    A JSON array of ids may stand anywhere in the answer; an empty one chooses nothing. None where
    there is no such array, or none of its ids is known.
    """
    by_id = {message.id: message for message in offered}
    arrays = list(_arrays(answer))
    for values in arrays:
        ids = by_id.keys() & set(map(_id_of, values))
        if ids:
            return tuple(message for message in offered if message.id in ids)
    return () if [] in arrays else None


def _arrays(text: str) -> Iterator[list[Any]]:
    decoder = json.JSONDecoder()
    start = text.find("[")
    tries = 0
    while start >= 0 and tries < CANDIDATES_MAX:
        tries += 1
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield value
        start = text.find("[", end)


def _id_of(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else None
