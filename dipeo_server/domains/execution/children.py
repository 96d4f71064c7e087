"""What a handler asks of the runner for child executions: what to run, and how that ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.output import NO_TOKENS, TokenUsage
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import NodeError


@dataclass(frozen=True, slots=True)
class ChildRun:
    """A sub-diagram to run: a path below the base directory, or a document.

    `key` tells several children of one NodeRun apart (batch items); asking twice for the same key
    gives the same child. `reducers` are those of the parent, where the child is a branch that
    shares its variables; its own diagram's come first.
    """

    path: str | None
    document: Any
    format: str | None
    variables: Mapping[str, Any]
    key: str = ""
    reducers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How a child execution ended; `outputs` by endpoint node key, `last` of the last node.

    `variables` are those it ended with, `token_usage` is what it and its own children cost.
    """

    execution_id: ExecutionID
    status: ExecutionStatus
    outputs: Mapping[str, Any]
    last: Any
    error: Mapping[str, Any] | None
    variables: Mapping[str, Any] = field(default_factory=dict)
    began_at: datetime | None = None
    ended_at: datetime | None = None
    token_usage: TokenUsage = NO_TOKENS


ChildEnd: TypeAlias = ChildResult | NodeError
"""How a child ended, or why it could not start."""


@dataclass(frozen=True, slots=True)
class BranchEnd:
    """How a branch of a group ended; `began_with` are the variables it was started with."""

    end: ChildEnd
    began_with: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Did it complete?"""
        return not isinstance(self.end, NodeError) and self.end.status is ExecutionStatus.COMPLETED


class SubDiagrams(Protocol):
    """Runs child executions; a child outlives a restart and is found again by its key."""

    async def run(self, child: ChildRun) -> ChildResult:
        """Start (or find) the child, wait for its end. Raises NodeError if it cannot start."""
        ...

    async def run_many(
        self, children: Sequence[ChildRun], *, max_concurrent: int
    ) -> list[ChildResult | NodeError]:
        """Run each child, at most `max_concurrent` at once; how each ended, in their order.

        A child that cannot start gives its NodeError; the others run all the same.
        """
        ...

    async def run_branches(
        self,
        branches: Sequence[ChildRun],
        tell: Callable[[int, BranchEnd], None],
        *,
        max_concurrent: int,
        is_fail_fast: bool,
    ) -> None:
        """Run each branch; `tell` hears of each, by its index, as it ends.

        With `is_fail_fast` the first one that does not complete is the last one to start: those
        that run are aborted, and awaited. Of what never started nothing is told.
        """
        ...
