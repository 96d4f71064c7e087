"""The parts that the GraphQL values of events are made of: their head, and the visit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict

import strawberry
from strawberry.scalars import JSON

from dipeo_server.domains.execution.ids import NodeRun, Seq


class Head(TypedDict):
    """What every event has."""

    sequence: Seq
    execution_id: strawberry.ID
    timestamp: datetime
    trace_id: strawberry.ID


class Visit(TypedDict):
    """Which visit an event is about."""

    node_key: str
    occurrence: int


class Attempt(Visit):
    """Which attempt of a visit an event is about."""

    attempt: int


def visit(run: NodeRun) -> Visit:
    """The visit of a NodeRun."""
    return {"node_key": run.node, "occurrence": run.occurrence}


def attempt(run: NodeRun) -> Attempt:
    """The visit of a NodeRun, with the attempt."""
    return {"node_key": run.node, "occurrence": run.occurrence, "attempt": run.attempt}


def json_value(value: Any) -> JSON | None:
    """User data as it is; null where there is none."""
    if value is None:
        return None
    return JSON(dict(value) if isinstance(value, Mapping) else value)
