"""Gapless reading of one execution's log: catch up from the store, then live.

The log is the only source. A publication only wakes readers: each keeps its own cursor, reads what
lies behind it, and waits when there is nothing. So replay and live can neither gap nor duplicate,
and a slow reader falls back to the store instead of growing a queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import StateStore

RING_EVENTS_MAX = 1_024
PAGE_EVENTS = 256


class EventFeed:
    """What readers of one execution share: the newest events in memory, and one read a page."""

    def __init__(self, store: StateStore, execution_id: ExecutionID, tail: Seq) -> None:
        self._store = store
        self._id = execution_id
        self._tail = tail
        self._ring: deque[Recorded] = deque(maxlen=RING_EVENTS_MAX)
        self._changed = asyncio.Event()
        self._reads: dict[Seq, asyncio.Task[Sequence[Recorded]]] = {}
        self.readers = 0

    def publish(self, events: Sequence[Recorded]) -> None:
        """Committed events, in order; wakes every reader."""
        if not events:
            return
        self._ring.extend(events)
        self._tail = events[-1].seq
        self.wake()

    def wake(self) -> None:
        """Let every waiting reader look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def read(self, after: Seq) -> AsyncIterator[Recorded]:
        """(after, now], then live; ends behind the terminal event."""
        self.readers += 1
        try:
            cursor = after
            while True:
                for recorded in await self._behind(cursor):
                    yield recorded
                    cursor = recorded.seq
                    if recorded.is_terminal:
                        return
        finally:
            self.readers -= 1

    async def _behind(self, cursor: Seq) -> Sequence[Recorded]:
        """The next events behind the cursor; waits until there are some."""
        while self._tail <= cursor:
            await self._changed.wait()
        if self._ring and self._ring[0].seq <= cursor + 1:
            skipped = cursor + 1 - self._ring[0].seq
            return [self._ring[index] for index in range(skipped, len(self._ring))]
        return await self._page(cursor)

    async def _page(self, cursor: Seq) -> Sequence[Recorded]:
        """A page of the store; readers at the same place share one read."""
        task = self._reads.get(cursor)
        if task is None:
            task = asyncio.ensure_future(
                self._store.read(self._id, after=cursor, limit=PAGE_EVENTS)
            )
            self._reads[cursor] = task
            task.add_done_callback(lambda _done: self._reads.pop(cursor, None))
        return await asyncio.shield(task)
