"""Ctrl-C while a run is followed: the first ends the run, the second leaves at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from dipeo_server.cli.outcome import ExitCode, tell, tell_error
from dipeo_server.errors import DipeoError


class Interrupts:
    """What SIGINT and SIGTERM do.

    The first awaits `first`, or cancels the current task while there is none. The second calls
    `leave` and ends the process.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self.first: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._leave = leave
        self._ending: asyncio.Task[None] | None = None
        self._has_come = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Take the signals of the process as long as the block lasts."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self._come, task)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _come(self, task: asyncio.Task[Any]) -> None:
        if self._has_come:
            self._leave()
            os._exit(ExitCode.INTERRUPTED)
        self._has_come = True
        if self.first is None:
            task.cancel()
            return
        tell("Ending the run … (Ctrl-C again leaves at once)")
        self._ending = asyncio.create_task(self._end(self.first), name="abort")

    async def _end(self, first: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await first()
        except DipeoError as error:
            tell_error(error)
