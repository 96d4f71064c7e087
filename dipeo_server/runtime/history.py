"""The whole log of an execution, read page by page."""

from __future__ import annotations

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import StateStore

PAGE_EVENTS = 1_000
TRIES_MAX = 10
RETRY_SECONDS = 1.0


async def read_all(store: StateStore, execution_id: ExecutionID) -> list[Recorded]:
    """Every committed event, ascending; empty for an unknown id. Raises StorageError."""
    found: list[Recorded] = []
    while page := await store.read(
        execution_id, after=found[-1].seq if found else Seq(0), limit=PAGE_EVENTS
    ):
        found.extend(page)
    return found
