"""Where runs can be forked, and how they stood there; no more of a log is held than its end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dipeo_server.domains.execution.events import Recorded, StateChanged
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.forking import (
    forkable_until,
    is_over,
    loose_end,
    undone,
)
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.runtime.history import PAGE_EVENTS
from dipeo_server.runtime.loading import load

END_EVENTS: Final = 16
"""How many events from the end of a log are read at first."""


@dataclass(frozen=True, slots=True)
class ForkPoint:
    """A run behind its event `last`; `undone` takes back what a visit wrote that ends later."""

    machine: ExecutionMachine
    last: Recorded
    undone: tuple[StateChanged, ...]


async def fork_point(
    store: StateStore, execution_id: ExecutionID, at: Seq, *, size: int = END_EVENTS
) -> ForkPoint | None:
    """The run behind its event `at`; None where it has none, or cannot be forked there.

    Raises StorageError.
    """
    end = await _end(store, execution_id, at, size)
    if not end or forkable_until(end) != at:
        return None
    before = end[0].seq - 1
    machine = await load(store, execution_id, upto=Seq(before))
    taken_back = undone(end, dict(machine.state.variables) if before else {})
    machine.fold(end)
    if is_over(machine.state):
        return None
    return ForkPoint(machine, end[-1], taken_back)


async def _end(store: StateStore, execution_id: ExecutionID, at: Seq, size: int) -> list[Recorded]:
    """The events up to `at`, from the last one on that says something for sure.

    Empty where there is no event `at`.
    """
    found: list[Recorded] = []
    begins = at
    while begins > 0 and loose_end(found) == len(found):
        after = Seq(max(0, begins - size))
        page = await store.read(execution_id, after=after, limit=begins - after)
        if not page or page[-1].seq != begins:
            return []
        found = [*page, *found]
        begins, size = after, min(2 * size, PAGE_EVENTS)
    return found[-1 - loose_end(found) :]  # A checkpoint may lie right before it.


async def last_forkable(store: StateStore, execution_id: ExecutionID) -> Seq:
    """The last event behind which the run can be forked; 0 = none. Raises StorageError."""
    last = Seq(0)
    while page := await store.read(execution_id, after=last, limit=PAGE_EVENTS):
        found = forkable_until(page)
        if found != page[-1].seq:
            return found or last
        last = found
    return last


async def last_by(store: StateStore, execution_id: ExecutionID, last: Seq, moment: datetime) -> Seq:
    """The last of the first `last` events that is not newer; 0 = none. Raises StorageError."""
    low, high, middle = Seq(0), last, last
    while low < high:
        told = await store.read(execution_id, after=Seq(middle - 1), limit=1)
        if told and told[0].at <= moment:
            low = middle
        else:
            high = Seq(middle - 1)
        middle = Seq((low + high + 1) // 2)
    return low
