"""What a handler gives back: a NodeOutput, a skip, or the wish to wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, TypeAlias

from dipeo_server.domains.execution.envelope import ContentType

DEFAULT_PORT: Final = "default"


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of a language model; whole numbers, summed over an execution."""

    input: int = 0
    output: int = 0
    cached: int = 0

    @property
    def total(self) -> int:
        """Input and output together (cached tokens are part of the input)."""
        return self.input + self.output

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            self.input + other.input, self.output + other.output, self.cached + other.cached
        )


NO_TOKENS: Final = TokenUsage()
"""What a node used that asked no model."""


@dataclass(frozen=True, slots=True)
class Message:
    """One line of the execution's conversation: who said what to whom.

    `sender` and `recipient` are person keys, or `system` for prompts.
    """

    id: str
    sender: str
    recipient: str
    content: str


@dataclass(frozen=True, slots=True)
class NodeOutput:
    """Named values of one NodeRun (source document 001).

    `value` maps output names to JSON values. A single `default` is the node's plain result; names
    that are ports of the node type fire those ports (a None among several does not fire).
    `metadata` is everything that is not data: timings, tokens, model names.
    """

    value: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    content_type: ContentType | None = None
    token_usage: TokenUsage | None = None
    messages: tuple[Message, ...] = ()


class Skip(Enum):
    """The type of SKIP_BRANCH."""

    BRANCH = "skip_branch"


SKIP_BRANCH: Final = Skip.BRANCH
"""Returned by a handler: no edge gets a live token; what only depends on it is SKIPPED."""


@dataclass(frozen=True, slots=True)
class WaitForPerson:
    """Returned by a handler: raise a barrier and wait for a decision.

    `timeout` in seconds (None = for ever); `default_action` is applied when it passes: "approve",
    "reject", "skip", or "answer" (with `default_answer`). `kind` is "approval" or "answer".
    `variable` names the execution variable that takes the decision.
    """

    kind: str
    prompt: Any
    answer_schema: Mapping[str, Any] | None = None
    timeout: float | None = None
    default_action: str | None = None
    default_answer: Any = None
    variable: str | None = None
    bypass_on_skip: bool = False


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Returned by a handler: complete with `output` after `seconds`; survives a restart."""

    seconds: float
    output: NodeOutput


@dataclass(frozen=True, slots=True)
class Goto:
    """Returned by a handler: follow the edge to `target` (a node's key), and no other.

    Without such an edge the node fails with MISSING_EDGE.
    """

    target: str
    output: NodeOutput


@dataclass(frozen=True, slots=True)
class End:
    """Returned by a handler that may end the run: it completes, and what still runs is stopped."""

    output: NodeOutput


@dataclass(frozen=True, slots=True)
class Fallback:
    """Returned by a handler that could only do less: follow the fallback edge, as observed error.

    Without such an edge the node fails with FALLBACK.
    """

    reason: str
    output: NodeOutput | None = None


HandlerResult: TypeAlias = NodeOutput | Skip | WaitForPerson | WaitUntil | Goto | End | Fallback


def leaving(result: HandlerResult) -> NodeOutput | None:
    """The output that leaves its node with this result, if one does now."""
    match result:
        case NodeOutput():
            return result
        case Goto(output=output) | End(output=output) | Fallback(output=output):
            return output
        case _:
            return None


def having_spent(result: HandlerResult, usage: TokenUsage) -> HandlerResult:
    """The result with more tokens used for it; one that leaves with no output stays as it is."""
    output = None if usage == NO_TOKENS else leaving(result)
    if output is None:
        return result
    more = replace(output, token_usage=(output.token_usage or NO_TOKENS) + usage)
    match result:
        case Goto() | End() | Fallback():
            return replace(result, output=more)
        case _:
            return more


def create_node_output(
    value: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    *,
    content_type: ContentType | None = None,
    token_usage: TokenUsage | None = None,
    messages: tuple[Message, ...] = (),
) -> NodeOutput:
    """The only way a handler builds its output: named values, and metadata beside them."""
    return NodeOutput(dict(value), dict(metadata or {}), content_type, token_usage, messages)
