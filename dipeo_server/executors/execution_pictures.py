"""Pictures of an operation graph, and of the states that an execution graph went through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from dipeo_server.domains.diagram.rendering.picture import Arrow, Box, Picture, Shape
from dipeo_server.domains.execution.picture import STYLES
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.executors.operation_set import Operations
from dipeo_server.executors.operations import Reference, ReferenceKind

_SHORT: Final = 8


def compose_dependencies(operations: Operations) -> Picture:
    """Operations by their names, and an arrow to each one that depends on another."""
    index = {each.id: place for place, each in enumerate(operations)}
    boxes = tuple(
        Box(
            each.name,
            Shape.CODE if each.code is not None else Shape.MODEL,
            facts=(f"operation {each.id}",),
        )
        for each in operations
    )
    arrows = tuple(
        Arrow(index[source], index[target], ", ".join(map(_told, references)))
        for source, target, references in operations.links()
    )
    return Picture(boxes, arrows, ("Operations and what they depend on",))


def compose_states(
    states: Sequence[tuple[UUID, str, NodeExecutionStatus | None]],
    edges: Sequence[tuple[UUID, UUID]],
    groups: Mapping[UUID, int] | frozenset[UUID] = frozenset(),
) -> Picture:
    """States (id, what made them, how that went), and an arrow from each to what came of it."""
    index = {state_id: place for place, (state_id, _, _) in enumerate(states)}
    boxes = tuple(
        Box(
            summary,
            Shape.START if not state_id.int else Shape.CHILD if state_id in groups else Shape.MODEL,
            facts=(str(state_id)[-_SHORT:],),
            details=(str(state_id),),
            style=None if status is None else STYLES[status],
        )
        for state_id, summary, status in states
    )
    arrows = tuple(Arrow(index[parent], index[child]) for parent, child in edges)
    return Picture(boxes, arrows, ("States and steps",))


def _told(reference: Reference) -> str:
    match reference.kind:
        case ReferenceKind.POSITIONAL:
            return f"argument {reference.position}"
        case ReferenceKind.ORDERING:
            return "after"
        case ReferenceKind.FUNCTION_INVOCATION:
            return f"{reference.name}()"
        case ReferenceKind.KEYWORD | ReferenceKind.GLOBAL_NAME:
            return reference.name or ""
