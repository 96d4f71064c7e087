"""What clients send to steer a run: breakpoints, limits, results to begin with, decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.types.described import input_type, one_of_type
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.nearest import did_you_mean
from dipeo_server.domains.execution.interventions import (
    Breakpoint,
    BreakpointWhen,
    Budget,
    GivenOutput,
)
from dipeo_server.errors import InvalidInput

SPAN_MAX: Final = timedelta(days=3_650)
_GIVEN: Final = frozenset({"output", "fingerprint"})


@input_type
class BreakpointInput:
    """Where a run is to pause."""

    node_key: str = strawberry.field(description="Key of the node.")
    when: BreakpointWhen | None = strawberry.field(
        default=BreakpointWhen.BEFORE, description="On which side of the node."
    )
    condition: str | None = strawberry.field(
        default=None,
        description=(
            "Expression over the variables (and `output` behind the node) that must hold; "
            "null = always."
        ),
    )


@input_type
class BarrierNodeTarget:
    """The barriers of one node, also those that are not reached yet."""

    execution_id: strawberry.ID = strawberry.field(description="The run.")
    node_key: str = strawberry.field(description="Key of the node.")
    occurrence: int | None = strawberry.field(
        default=None, description="Which visit of the node, from 1; null = every visit."
    )


@one_of_type
class BarrierTarget:
    """What to decide on: a barrier that waits, or a node ahead of time."""

    barrier_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="A barrier."
    )
    node: BarrierNodeTarget | None = strawberry.field(
        default=strawberry.UNSET, description="A node whose barriers are decided as they come."
    )


def breakpoints_of(
    given: Sequence[BreakpointInput], diagram: ExecutableDiagram, field: tuple[str, ...]
) -> tuple[Breakpoint, ...]:
    """The breakpoints; `field` is their path in the arguments. Raises InvalidInput."""
    for number, each in enumerate(given):
        check_node(each.node_key, diagram, (*field, str(number), "nodeKey"))
    return tuple(
        Breakpoint(each.node_key, each.when or BreakpointWhen.BEFORE, each.condition)
        for each in given
    )


def check_node(key: str, diagram: ExecutableDiagram, field: tuple[str, ...]) -> None:
    """Raises InvalidInput, naming the nearest, where the diagram has no node with that key."""
    if key not in diagram.index_of:
        hint = did_you_mean(key, diagram.index_of)
        raise InvalidInput(f"The diagram has no node {key!r}.", field=field, hint=hint)


def budget_of(
    max_tokens: int | None, max_time: timedelta | None, field: tuple[str, ...] = ()
) -> Budget:
    """What a run may spend; None = no limit, or as it is. Raises InvalidInput."""
    if max_tokens is not None and max_tokens < 1:
        raise InvalidInput("`maxTokens` must be at least 1.", field=(*field, "maxTokens"))
    if max_time is None:
        return Budget(max_tokens)
    return Budget(max_tokens, span_of(max_time, (*field, "maxTime")).total_seconds())


def span_of(given: timedelta, field: tuple[str, ...]) -> timedelta:
    """A time to come. Raises InvalidInput for none, and for more than ten years."""
    if not timedelta(0) < given <= SPAN_MAX:
        message = f"`{field[-1]}` must be more than PT0S, and at most P{SPAN_MAX.days}D."
        raise InvalidInput(message, field=field)
    return given


def initial_of(
    given: JSON | None, diagram: ExecutableDiagram, field: tuple[str, ...]
) -> Mapping[str, GivenOutput]:
    """Results of an earlier run by node key. Raises InvalidInput, naming what is wrong."""
    value: object = given
    if value is None:
        return {}
    if not isinstance(value, dict):
        message = "`initialState` must be an object: {nodeKey: {output, fingerprint?}}."
        raise InvalidInput(message, field=field)
    for key in value:
        check_node(key, diagram, (*field, key))
    return {key: _given_output(each, (*field, key)) for key, each in value.items()}


def _given_output(given: Any, field: tuple[str, ...]) -> GivenOutput:
    if not isinstance(given, dict) or "output" not in given or not given.keys() <= _GIVEN:
        message = f"{field[-1]!r} must be an object with `output`, and perhaps `fingerprint`."
        raise InvalidInput(message, field=field)
    fingerprint = given.get("fingerprint")
    if fingerprint is not None and not isinstance(fingerprint, str):
        raise InvalidInput("`fingerprint` must be a text.", field=(*field, "fingerprint"))
    return GivenOutput(given["output"], fingerprint)
