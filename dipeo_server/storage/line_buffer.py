"""Log lines on their way to the disk: written beside the next commit, or soon."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import structlog

from dipeo_server.storage.writer import Writer

FLUSH_SECONDS: Final = 0.05
BUFFERED_CHARACTERS_MAX: Final = 8 * 1024 * 1024

Row = tuple[Any, ...]

log = structlog.get_logger(__name__)


class LineBuffer:
    """Collects rows of the table of log lines and hands them to the writer, one batch at a time.

    Lines are telemetry: a batch that cannot be written is lost, and said to be, rather than kept
    where it would make the next commit fail as well.
    """

    def __init__(self, writer: Writer, insert: str) -> None:
        self._writer = writer
        self._insert = insert
        self._rows: list[Row] = []
        self._characters = 0
        self._sent: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def add(self, rows: Sequence[Row], characters: int) -> None:
        """Take rows with that much text; waits where the disk is slower than the lines come."""
        while self._rows and self._characters + characters > BUFFERED_CHARACTERS_MAX:
            await self.flush()
        self._rows.extend(rows)
        self._characters += characters
        self._arm()

    def ride_along(self) -> None:
        """Something else is about to be committed: send what there is with it."""
        if self._rows and self._sent is None:
            self._send()

    async def flush(self) -> None:
        """Return when everything added before has been committed, or lost."""
        if self._sent is not None:
            await asyncio.wait([self._sent])  # What is under way may have been sent too early.
        self.ride_along()
        if self._sent is not None:
            await asyncio.wait([self._sent])

    def _arm(self) -> None:
        if self._rows and self._timer is None and self._sent is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(FLUSH_SECONDS, self.ride_along)

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        rows, self._rows, self._characters = self._rows, [], 0
        self._sent = self._writer.put(partial(_write, self._insert, rows))
        self._sent.add_done_callback(partial(self._settle, len(rows)))

    def _settle(self, count: int, sent: asyncio.Future[None]) -> None:
        self._sent = None
        error = None if sent.cancelled() else sent.exception()
        if error is not None:
            log.warning("log_lines_lost", lines=count, error=str(error))
        self._arm()


def _write(insert: str, rows: list[Row], connection: sqlite3.Connection) -> None:
    connection.executemany(insert, rows)
