"""What the nodes of a Graph are called with, and what they may return."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dipeo_server.domains.execution.context import ExecutionContext


@dataclass(frozen=True, slots=True)
class GoTo:
    """Go on at that node, to which an edge must lead."""

    target: str


@dataclass(frozen=True, slots=True)
class GoToNext:
    """Go on as the edges say: the first condition that holds, else the normal edge, else fallback.

    What happens where a node returns no next step.
    """


@dataclass(frozen=True, slots=True)
class End:
    """End the run here: for end nodes only."""


NextStep: TypeAlias = GoTo | GoToNext | End


@dataclass(frozen=True, slots=True)
class Step:
    """A node's result in full: changes of the state, where to go on, and what went wrong meanwhile.

    `observed` maps error codes to messages; such errors fail nothing.
    """

    puts: Mapping[str, Any] = field(default_factory=dict)
    deletes: tuple[str, ...] = ()
    next: NextStep = field(default_factory=GoToNext)
    observed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fallback:
    """The node could only do less: go on along its fallback edge, and say why."""

    reason: str
    puts: Mapping[str, Any] = field(default_factory=dict)


class StateView(Mapping[str, Any]):
    """The state as a node sees it: read-only, and every value a copy of its own."""

    def __init__(self, values: Mapping[str, Any], context: ExecutionContext) -> None:
        self._values = dict(values)
        self._copies: dict[str, Any] = {}
        self._context = context

    def __getitem__(self, key: str) -> Any:
        if key not in self._copies:
            self._copies[key] = copy.deepcopy(self._values[key])
        return self._copies[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"StateView({self._values!r})"

    @property
    def node(self) -> str:
        """The node that sees it."""
        return self._context.node_run.node

    @property
    def trace_id(self) -> str:
        """The id of the run."""
        return self._context.execution_id

    @property
    def occurrence(self) -> int:
        """Which visit of the node this is, from 1."""
        return self._context.node_run.occurrence

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this visit: send it with effects outside."""
        return self._context.idempotency_key

    def log(self, line: str, stream: str = "stdout") -> None:
        """Tell one line, without waiting for anybody."""
        self._context.log(stream, line)


StepResult: TypeAlias = Mapping[str, Any] | NextStep | Step | Fallback | None
"""A map is what to put into the state; None changes nothing and goes on as the edges say."""

NodeFunction: TypeAlias = Callable[[StateView], Awaitable[StepResult]]
Predicate: TypeAlias = Callable[[StateView], bool]
