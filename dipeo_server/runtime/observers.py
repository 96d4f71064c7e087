"""Who is told of everything that is committed, while it happens: figures and traces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, Protocol

import structlog

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.state import ExecutionState

log = structlog.get_logger(__name__)

P = ParamSpec("P")


class RunObserver(Protocol):
    """Looks on; what it does must be quick, cannot fail, and changes nothing."""

    def took_over(self, state: ExecutionState) -> None:
        """An execution that had begun before is run by this process from now on."""
        ...

    def saw(self, execution_id: ExecutionID, events: Sequence[Recorded]) -> None:
        """These were committed, in order; called in the task of their execution."""
        ...

    def entering(self, execution_id: ExecutionID, run: NodeRun) -> None:
        """A handler is about to be entered; called in its own task."""
        ...

    def appended(self, seconds: float) -> None:
        """That is how long the store took to make something durable."""
        ...


class Observers:
    """All observers of a runner; a fault in one of them is logged, and no run's concern."""

    def __init__(self, observers: Sequence[RunObserver] = ()) -> None:
        self._all = tuple(observers)

    def took_over(self, state: ExecutionState) -> None:
        """Tell everybody."""
        for each in self._all:
            _tell(each.took_over, state)

    def saw(self, execution_id: ExecutionID, events: Sequence[Recorded]) -> None:
        """Tell everybody."""
        for each in self._all:
            _tell(each.saw, execution_id, events)

    def entering(self, execution_id: ExecutionID, run: NodeRun) -> None:
        """Tell everybody."""
        for each in self._all:
            _tell(each.entering, execution_id, run)

    def timed(self, append: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        """The append, which tells how long it took once it is durable."""
        return self._timed(append) if self._all else append

    async def _timed(self, append: Coroutine[Any, Any, None]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        await append
        for each in self._all:
            _tell(each.appended, clock() - began)


def _tell(listener: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    try:
        listener(*args, **kwargs)
    except Exception:
        log.exception("observer_failed")
