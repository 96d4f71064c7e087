"""Who wants to know that something was committed, in whatever execution.

A commit only leaves a mark with each watch, one for each execution: what was committed is read
from the log. So a slow reader costs no more than the executions there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.runner import Commit


class Watches:
    """Everybody who watches the executions of a runner."""

    def __init__(self) -> None:
        self._watches: set[_Watch] = set()

    @contextmanager
    def watching(self, kinds: tuple[type, ...]) -> Iterator[AsyncIterator[Commit]]:
        """Where events of these types are committed, from now on and until it is left."""
        watch = _Watch(kinds)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def saw(self, execution_id: ExecutionID, events: Sequence[Recorded]) -> None:
        """These were committed, in order."""
        for watch in self._watches:
            watch.saw(execution_id, events)


class _Watch:
    """The marks of one watch: for each execution the first and the last event not told yet."""

    def __init__(self, kinds: tuple[type, ...]) -> None:
        self._kinds = kinds
        self._marks: dict[ExecutionID, tuple[Seq, Seq]] = {}
        self._changed = asyncio.Event()

    def saw(self, execution_id: ExecutionID, events: Sequence[Recorded]) -> None:
        found = [each.seq for each in events if isinstance(each.event, self._kinds)]
        if found:
            first, _ = self._marks.get(execution_id, (found[0], found[0]))
            self._marks[execution_id] = (first, found[-1])
            self._changed.set()

    def __aiter__(self) -> AsyncIterator[Commit]:
        return self

    async def __anext__(self) -> Commit:
        while not self._marks:
            self._changed.clear()
            await self._changed.wait()
        execution_id = next(iter(self._marks))
        first, last = self._marks.pop(execution_id)
        return Commit(execution_id, first, last)
