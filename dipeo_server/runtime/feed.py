"""Gapless reading of one execution's log: catch up from the store, then live.

The log is the only source. A publication only wakes readers: each keeps its own cursor, reads what
lies behind it, and waits when there is nothing. So replay and live can neither gap nor duplicate,
and a slow reader falls back to the store instead of growing a queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import islice

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.errors import DipeoError, StorageError

RING_EVENTS_MAX = 1_024
RING_PAGE_EVENTS = 64
"""A slow reader keeps so many of the newest events in memory when all others have moved on."""
PAGE_EVENTS = 256


class EventFeed:
    """What readers of one execution share: the newest events in memory, and one read a page."""

    def __init__(
        self,
        store: StateStore,
        execution_id: ExecutionID,
        tail: Seq,
        *,
        has_ended: bool = False,
        told: Callable[[ExecutionID, Sequence[Recorded]], None] | None = None,
    ) -> None:
        """`tail` is the last committed event; `has_ended` says that it is the terminal one.

        `told` is called with whatever is published, before any reader gets it.
        """
        self._store = store
        self._id = execution_id
        self._tail = tail
        self._has_ended = has_ended
        self._told = told
        self._failure: DipeoError | None = None
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
        self._has_ended = events[-1].is_terminal
        if self._told is not None:
            self._told(self._id, events)
        self.wake()

    def fail(self, failure: DipeoError) -> None:
        """No more will come although the execution has not ended: readers are told, at the end."""
        if not self._has_ended:
            self._failure = failure
            self.wake()

    def wake(self) -> None:
        """Let every waiting reader look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def read(self, after: Seq) -> AsyncGenerator[Recorded, None]:
        """(after, now], then live; ends behind the terminal event.

        Raises StorageError, and Unavailable where the execution is not served any more.
        """
        self.readers += 1
        try:
            cursor = after
            while await self._is_more_behind(cursor):
                for recorded in await self._behind(cursor):
                    yield recorded
                    cursor = recorded.seq
        finally:
            self.readers -= 1

    async def _is_more_behind(self, cursor: Seq) -> bool:
        """Wait until there is something behind the cursor; False if there never will be."""
        while self._tail <= cursor:
            if self._has_ended:
                return False
            if self._failure is not None:
                raise self._failure
            await self._changed.wait()
        return True

    async def _behind(self, cursor: Seq) -> Sequence[Recorded]:
        """The next events behind the cursor, of which there are some."""
        if self._ring and self._ring[0].seq <= cursor + 1:
            start = cursor + 1 - self._ring[0].seq
            return list(islice(self._ring, start, start + RING_PAGE_EVENTS))
        page = await self._page(cursor)
        if not page:
            message = f"The log of {self._id} should go on to {self._tail}, and ends at {cursor}."
            raise StorageError(message)
        return page

    async def _page(self, cursor: Seq) -> Sequence[Recorded]:
        """A page of the store; readers at the same place share one read."""
        task = self._reads.get(cursor)
        if task is None:
            read = self._store.read(self._id, after=cursor, limit=PAGE_EVENTS)
            task = asyncio.ensure_future(read)
            self._reads[cursor] = task
            task.add_done_callback(lambda done: self._forget(cursor, done))
        return await asyncio.shield(task)

    def _forget(self, cursor: Seq, done: asyncio.Task[Sequence[Recorded]]) -> None:
        del self._reads[cursor]
        if not done.cancelled():
            done.exception()  # Perhaps every reader has left, so nobody else looks at it.
