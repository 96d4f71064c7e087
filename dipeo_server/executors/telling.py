"""Tells an `emit_event` of a run as it goes: a reader like any other, however slow or broken."""

from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeAlias

import structlog

from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import (
    TERMINAL,
    BarrierWaiting,
    Event,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionStarted,
    ExecutionStatusChanged,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeMaxIterationsReached,
    NodeOutputSet,
    NodeReported,
    NodeRetryScheduled,
    NodeSkipped,
    NodeStarted,
    ObservedError,
    Recorded,
)
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.ports import LogRecord
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.executors.functions import START
from dipeo_server.executors.live import LiveRun
from dipeo_server.executors.results import told_failure

log = structlog.get_logger(__name__)

EmitEvent: TypeAlias = Callable[[dict[str, Any]], Any]
"""Takes one event, a plain JSON map; what an async one gives is awaited before the next event."""

LINES_PAGE = 500
_ENDS_NODE = (NodeCompleted, NodeFailed, NodeInterrupted)


class Teller:
    """Tells one run: its nodes' statuses and lines, in order, at the pace of who is told.

    The lines of a node are all told between its begin and its end.
    """

    def __init__(self, emit: EmitEvent, run: LiveRun) -> None:
        self._emit = emit
        self._run = run
        self._cursor = 0
        self._begun: set[NodeRun] = set()
        self._held: defaultdict[NodeRun, list[LogRecord]] = defaultdict(list)
        self._turn = asyncio.Lock()
        self._has_failed = False

    async def tell(self, notes: dict[str, str]) -> None:
        """Tell everything until the run has ended; `notes` are told first, by node."""
        for node, message in notes.items():
            await self._say({"type": "notice", "node": node, "message": message})
        lines = asyncio.create_task(self._tell_lines_live(), name="executor-lines")
        try:
            async with aclosing(self._run.events()) as events:
                async for recorded in events:
                    await self._tell_event(recorded)
        finally:
            lines.cancel()
            await asyncio.gather(lines, return_exceptions=True)

    async def _tell_event(self, recorded: Recorded) -> None:
        async with self._turn:
            if isinstance(recorded.event, (*_ENDS_NODE, *TERMINAL)):
                await self._tell_lines()
            message = message_of(recorded.event)
            if message is None:
                return
            envelope = message.get("output")
            if isinstance(envelope, Envelope):
                message["output"] = (await self._run.runner.loaded(envelope)).body
            told = {"sequence": recorded.seq, "at": recorded.at.isoformat(), **message}
            await self._say(told)
            if isinstance(recorded.event, NodeStarted):
                await self._let_lines_go(recorded.event.node_run)

    async def _let_lines_go(self, run: NodeRun) -> None:
        """A node has begun: tell what it has printed before anybody was told of that."""
        self._begun.add(run)
        for record in self._held.pop(run, ()):
            await self._tell_line(record)

    async def _tell_lines(self) -> None:
        """Every line that was printed so far."""
        while True:
            page = await self._run.runner.read_logs(
                self._run.id, after=self._cursor, limit=LINES_PAGE, node=None
            )
            for record in page:
                await self._tell_line(record)
            if len(page) < LINES_PAGE:
                return

    async def _tell_lines_live(self) -> None:
        followed: AsyncIterator[LogRecord] = self._run.runner.follow_logs(
            self._run.id, after=0, node=None
        )
        async for record in followed:
            async with self._turn:
                if record.cursor > self._cursor:
                    await self._tell_line(record)

    async def _tell_line(self, record: LogRecord) -> None:
        self._cursor = max(self._cursor, record.cursor)
        if record.node_run not in self._begun:
            self._held[record.node_run].append(record)
            return
        line = {
            "type": "log",
            "at": record.at.isoformat(),
            **_visit(record.node_run),
            "stream": record.stream,
            "level": record.level,
            "line": record.text,
        }
        await self._say(line)

    async def _say(self, message: dict[str, Any]) -> None:
        if message.get("node") == START:
            return
        try:
            answer = self._emit({**message, "thread_id": self._run.id})
            if inspect.isawaitable(answer):
                await answer
        except Exception as error:  # noqa: BLE001 - whoever is told may not fail the run.
            if not self._has_failed:
                log.warning("emit_event_failed", thread_id=self._run.id, error=repr(error))
            self._has_failed = True


def message_of(event: Event) -> dict[str, Any] | None:
    """An event as an `emit_event` is told it; None for what it is not told.

    `output` is an envelope still.
    """
    match event:
        case ExecutionStarted():
            return {"type": "run", "status": ExecutionStatus.STARTED.value}
        case ExecutionStatusChanged(after=after, reason=reason):
            return {"type": "run", "status": after.value, "reason": reason}
        case NodeSkipped(node=node, reason=reason):
            skipped = NodeExecutionStatus.SKIPPED.value
            return {"type": "node", "node": node, "status": skipped, "reason": reason}
        case ObservedError(failure=failure, node_run=run):
            told = told_failure(failure) or {}
            return {"type": "notice", **told, **({} if run is None else _visit(run))}
        case ExecutionFailed(failure=failure):
            failed = ExecutionStatus.FAILED.value
            return {"type": "run", "status": failed, "error": told_failure(failure)}
        case ExecutionCompleted():
            return {"type": "run", "status": ExecutionStatus.COMPLETED.value}
        case _ if isinstance(event, TERMINAL):
            return {"type": "run", "status": ExecutionStatus.ABORTED.value}
        case _:
            return _of_node(event)


_STATUSES: Final[Mapping[type, NodeExecutionStatus]] = {
    NodeStarted: NodeExecutionStatus.RUNNING,
    NodeCompleted: NodeExecutionStatus.COMPLETED,
    NodeOutputSet: NodeExecutionStatus.COMPLETED,
    NodeFailed: NodeExecutionStatus.FAILED,
    NodeMaxIterationsReached: NodeExecutionStatus.MAXITER_REACHED,
    NodeRetryScheduled: NodeExecutionStatus.WAITING,
    BarrierWaiting: NodeExecutionStatus.WAITING,
}


def _of_node(event: Event) -> dict[str, Any] | None:
    match event:
        case NodeInterrupted(node_run=run, will_rerun=will_rerun):
            left = NodeExecutionStatus.PENDING if will_rerun else NodeExecutionStatus.ABORTED
            return _node(run, left)
        case NodeReported(node_run=run, status=NodeExecutionStatus.WAITING as waiting):
            return _node(run, waiting)
        case (
            NodeStarted(node_run=run)
            | NodeCompleted(node_run=run)
            | NodeOutputSet(node_run=run)
            | NodeFailed(node_run=run)
            | NodeMaxIterationsReached(node_run=run)
            | NodeRetryScheduled(node_run=run)
            | BarrierWaiting(node_run=run)
        ):
            return {**_node(run, _STATUSES[type(event)]), **_details(event)}
        case _:
            return None


def _details(event: Event) -> dict[str, Any]:
    match event:
        case NodeCompleted(output=output, skip_reason=reason):
            return {"output": output, **({} if reason is None else {"reason": reason})}
        case NodeOutputSet(output=output, reason=reason):
            return {"output": output, "reason": reason}
        case NodeFailed(failure=failure, will_retry=will_retry):
            return {"error": told_failure(failure), "will_retry": will_retry}
        case BarrierWaiting(prompt=prompt):
            return {"prompt": prompt}
        case _:
            return {}


def _node(run: NodeRun, status: NodeExecutionStatus) -> dict[str, Any]:
    return {"type": "node", **_visit(run), "status": status.value}


def _visit(run: NodeRun) -> dict[str, Any]:
    return {"node": run.node, "occurrence": run.occurrence, "attempt": run.attempt}
