"""What every actor of a runner shares."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import Clock, StateStore
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.runtime.perform import Performer


@dataclass(frozen=True, slots=True)
class ActorParts:
    """Whom actors turn to.

    An execution that waits `idle_seconds` for a person or a timer leaves the memory. `on_idle` is
    told when an actor has nothing left to do, and of its execution where all of that is durable.
    `timed` is what an append becomes, so that it tells how long it took.
    """

    store: StateStore
    performer: Performer
    clock: Clock
    idle_seconds: float
    on_idle: Callable[[ExecutionID, ExecutionView | None], None]
    timed: Callable[[Coroutine[Any, Any, None]], Coroutine[Any, Any, None]]
