"""What nodes print: buffered, bounded, written beside the event log; telemetry, not facts."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import structlog

from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.ports import Clock, LogRecord, StateStore
from dipeo_server.errors import StorageError

LINE_CHARACTERS_MAX = 64 * 1024
LINES_PER_RUN_MAX = 100_000
FLUSH_SECONDS = 0.05

log = structlog.get_logger(__name__)


class LogBook:
    """Collects lines of all executions and writes them in batches."""

    def __init__(self, store: StateStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pending: defaultdict[ExecutionID, list[LogRecord]] = defaultdict(list)
        self._flusher: asyncio.Task[None] | None = None

    def writer(self, execution_id: ExecutionID, run: NodeRun) -> NodeLog:
        """Where one NodeRun's lines go."""
        return NodeLog(self, execution_id, run)

    def add(self, execution_id: ExecutionID, run: NodeRun, line: tuple[str, str, str]) -> None:
        """Queue one (stream, level, text)."""
        stream, level, text = line
        record = LogRecord(run, stream, level, text, self._clock.now())
        self._pending[execution_id].append(record)
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_soon(), name="log-flush")

    async def flush(self) -> None:
        """Write everything queued."""
        while self._pending:
            pending, self._pending = self._pending, defaultdict(list)
            for execution_id, lines in pending.items():
                try:
                    await self._store.append_logs(execution_id, lines)
                except StorageError:
                    # Lines are telemetry: a full disk may cost some, never a run.
                    log.warning("log_lines_lost", execution_id=execution_id, lines=len(lines))

    async def close(self) -> None:
        """Write what is left."""
        if self._flusher is not None:
            await asyncio.gather(self._flusher, return_exceptions=True)
        await self.flush()

    async def _flush_soon(self) -> None:
        await asyncio.sleep(FLUSH_SECONDS)
        await self.flush()


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
        if self._lines == LINES_PER_RUN_MAX:
            level, text = "WARNING", f"… output truncated after {LINES_PER_RUN_MAX} lines"
        elif len(text) > LINE_CHARACTERS_MAX:
            text = text[:LINE_CHARACTERS_MAX] + "… truncated"
        self._book.add(self._id, self._run, (stream, level, text))
