"""What nodes print: buffered, bounded, written beside the event log; telemetry, not facts."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Final

import structlog

from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.ports import Clock, LogRecord, StateStore
from dipeo_server.errors import StorageError
from dipeo_server.runtime.redaction import Redactor

LINE_CHARACTERS_MAX = 64 * 1024
LINES_PER_RUN_MAX = 100_000
PENDING_CHARACTERS_MAX = 16 * 1024 * 1024
"""What may wait for the disk, of all executions together; lines beyond that are lost."""
FLUSH_SECONDS = 0.05
PAGE_LINES = 256
TOKENS: Final = "tokens"
"""The stream of what a model says: pieces of text, not lines; what comes together is one record."""

log = structlog.get_logger(__name__)


class LogBook:
    """Collects lines of all executions and writes them in batches."""

    def __init__(self, store: StateStore, clock: Clock, redactor: Redactor | None = None) -> None:
        """What the redactor knows is in no line."""
        self.redactor = redactor or Redactor()
        self._store = store
        self._clock = clock
        self._pending: defaultdict[ExecutionID, list[LogRecord]] = defaultdict(list)
        self._news: dict[ExecutionID, asyncio.Event] = {}
        self._characters = 0
        self._lost = 0
        self._writing = asyncio.Lock()
        self._flusher: asyncio.Task[None] | None = None
        self._is_closed = False

    def writer(self, execution_id: ExecutionID, run: NodeRun) -> NodeLog:
        """Where one NodeRun's lines go."""
        return NodeLog(self, execution_id, run)

    def add(self, execution_id: ExecutionID, run: NodeRun, line: tuple[str, str, str]) -> None:
        """Queue one (stream, level, text)."""
        stream, level, text = line
        if self._is_closed or self._characters + len(text) > PENDING_CHARACTERS_MAX:
            self._lost += 1
            return
        self._characters += len(text)
        lines = self._pending[execution_id]
        if stream == TOKENS and lines and _goes_on(lines[-1], run, len(text)):
            lines[-1] = replace(lines[-1], text=lines[-1].text + text)
        else:
            lines.append(LogRecord(run, stream, level, text, self._clock.now()))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_soon(), name="log-flush")

    async def flush(self) -> None:
        """Write everything queued; what others are writing is written then as well."""
        async with self._writing:
            while self._pending:
                execution_id = next(iter(self._pending))
                await self._write(execution_id, self._pending.pop(execution_id))
            if self._lost:
                log.warning("log_lines_lost", reason="too many at once", lines=self._lost)
                self._lost = 0

    async def follow(
        self,
        execution_id: ExecutionID,
        *,
        after: int,
        node: str | None,
        is_live: Callable[[], bool],
    ) -> AsyncGenerator[LogRecord, None]:
        """Lines behind the cursor `after`, then those to come, while `is_live`.

        The store is the only source, and whoever reads is only woken: nothing is missed or told
        twice, and nobody waits for a slow reader. Raises StorageError.
        """
        cursor = after
        try:
            while True:
                news = self._news.setdefault(execution_id, asyncio.Event())
                was_live = is_live()
                if not was_live:
                    await self.flush()
                page = await self._store.read_logs(
                    execution_id, after=cursor, limit=PAGE_LINES, node=node
                )
                for line in page:
                    yield line
                    cursor = line.cursor
                if not page and not was_live:
                    return
                if not page:
                    await news.wait()
        finally:
            if not is_live():
                self.wake(execution_id)  # Nobody else would, and nobody waits for more.

    def wake(self, execution_id: ExecutionID) -> None:
        """Let everybody who follows that execution look again."""
        news = self._news.pop(execution_id, None)
        if news is not None:
            news.set()

    async def close(self) -> None:
        """Write what is left; lines that come later are lost."""
        self._is_closed = True
        if self._flusher is not None:
            await asyncio.gather(self._flusher, return_exceptions=True)
        await self.flush()

    async def _write(self, execution_id: ExecutionID, lines: list[LogRecord]) -> None:
        try:
            await self._store.append_logs(execution_id, lines)
        except StorageError as error:
            # Lines are telemetry: a full disk may cost some, never a run.
            log.warning("log_lines_lost", reason=str(error), lines=len(lines))
        finally:
            self._characters -= sum(len(line.text) for line in lines)
            self.wake(execution_id)

    async def _flush_soon(self) -> None:
        await asyncio.sleep(FLUSH_SECONDS)
        await self.flush()


def _goes_on(last: LogRecord, run: NodeRun, characters: int) -> bool:
    """Is there room in the last record for more of what the same model says?"""
    is_same = last.stream == TOKENS and last.node_run == run
    return is_same and len(last.text) + characters <= LINE_CHARACTERS_MAX


class NodeLog:
    """A handler's `ctx.log`: call it with (stream, text)."""

    def __init__(self, book: LogBook, execution_id: ExecutionID, run: NodeRun) -> None:
        self._book = book
        self._id = execution_id
        self._run = run
        self._lines = 0

    def __call__(self, stream: str, text: str, *, level: str = "INFO") -> None:
        """Add one line; what exceeds the limits is cut, and said to be."""
        self._lines += 1
        if self._lines > LINES_PER_RUN_MAX:
            return
        text = self._book.redactor.text(text)
        if self._lines == LINES_PER_RUN_MAX:
            level, text = "WARNING", f"… output truncated after {LINES_PER_RUN_MAX} lines"
        elif len(text) > LINE_CHARACTERS_MAX:
            text = text[:LINE_CHARACTERS_MAX] + "… truncated"
        # Half characters (of a file's name, say) cannot be stored.
        whole = text.encode("utf-8", "backslashreplace").decode()
        self._book.add(self._id, self._run, (stream, level, whole))
