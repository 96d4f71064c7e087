"""What an ExecutionGraph answers: its edges, its histories, and what a change came to."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from dipeo_server.executors.execution_state import ExecutionState


class GraphElements(NamedTuple):
    """The execution graph: edges from each state to what came of it.

    `groups` are the states from within which functions were called: those are on a call stack.
    """

    edges: tuple[tuple[UUID, UUID], ...]
    groups: frozenset[UUID]


class MergedValue(NamedTuple):
    """The newest value of an operation on the way to a state, and the state that set it."""

    operation_id: int
    state_id: UUID
    value: Any


class MergedStateHistory(NamedTuple):
    """`values` by operation, in the order in which they were set.

    `conflicts` has operations for which two ways to the state set a value: as every state has one
    parent, there are none.
    """

    values: dict[int, MergedValue]
    conflicts: tuple[int, ...] = ()


class Mutated(NamedTuple):
    """What a change of the graph came to: the new state, and the operation that was defined."""

    id: UUID
    state: ExecutionState
    operation_id: int
