"""A person's memory of an execution, with a model's help where the wish is in plain words."""

from __future__ import annotations

from dataclasses import dataclass

from dipeo_server.domains.diagram.executable import ExecutablePerson
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.output import Message, TokenUsage
from dipeo_server.domains.execution.person.asking import request_to
from dipeo_server.domains.execution.person.memory import (
    Conversation,
    candidates,
    chosen,
    exact_rule,
    newest,
    remembered,
    selection_prompt,
    without_senders,
)
from dipeo_server.domains.execution.ports import ChatMessage


@dataclass(frozen=True, slots=True)
class MemoryWish:
    """What to remember: `criteria` is a rule's name or plain words, `ignored` person keys."""

    criteria: str | None = None
    at_most: int | None = None
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of `total` messages; `usages` of the calls that chose it."""

    messages: tuple[Message, ...]
    total: int
    usages: tuple[TokenUsage | None, ...] = ()


async def recall(
    ctx: ExecutionContext,
    person: ExecutablePerson,
    wish: MemoryWish,
    conversation: Conversation,
    *,
    task: str,
) -> Memory:
    """What the person remembers of the conversation for this task.

    A rule's name (or nothing, for all of it) costs nothing; plain words are put to the person's
    own model. If its answer is unusable, everything is kept and MEMORY_SELECTION_UNUSABLE is
    observed. Raises what the model service raises.
    """
    heard = without_senders(conversation, wish.ignored)
    rule = exact_rule(wish.criteria)
    if rule is not None:
        kept = remembered(rule, heard, person.key)
        return Memory(newest(kept, wish.at_most), len(conversation))
    offered = candidates(heard)
    if not offered:
        return Memory((), len(conversation))
    prompt = selection_prompt(offered, criteria=str(wish.criteria), at_most=wish.at_most, task=task)
    request = request_to(person, (ChatMessage("user", prompt),))
    reply = await ctx.services.models.chat(request)
    selected = chosen(reply.text, offered)
    if selected is None:
        said = f"{person.label!r} was to choose memories, and its model listed no known message."
        ctx.observe("MEMORY_SELECTION_UNUSABLE", f"{said} Everything is kept.")
        selected = heard
    return Memory(newest(selected, wish.at_most), len(conversation), (reply.usage,))
