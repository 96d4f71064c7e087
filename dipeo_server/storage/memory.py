"""MemoryStore: the reference implementation of the store; nothing outlives the process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import (
    ExecutionPage,
    ExecutionQuery,
    ExecutionSummary,
    Idempotency,
    IdempotentAnswer,
    KeyedAnswer,
    LogRecord,
)
from dipeo_server.errors import ConcurrentAppend, IdempotencyMismatch


class MemoryStore:
    """Dictionaries with the promises of a store, but for durability."""

    def __init__(self) -> None:
        self._events: dict[ExecutionID, list[Recorded]] = {}
        self._summaries: dict[ExecutionID, ExecutionSummary] = {}
        self._answers: dict[tuple[str, str], tuple[Idempotency, IdempotentAnswer]] = {}
        self._logs: dict[ExecutionID, list[LogRecord]] = {}
        self._lines = 0
        self.commits = 0

    async def append(
        self,
        execution_id: ExecutionID,
        events: Sequence[Recorded],
        *,
        after: Seq,
        summary: ExecutionSummary,
        answers: Sequence[KeyedAnswer] = (),
    ) -> None:
        """Keep events, summary and idempotency records together."""
        await asyncio.sleep(0)
        log = self._events.get(execution_id, [])
        if len(log) != after:
            message = f"The log of {execution_id} ends at {len(log)}, not at {after}."
            raise ConcurrentAppend(message)
        now = events[-1].at if events else None
        keys = [(each.idempotency.principal, each.idempotency.key) for each in answers]
        if len(set(keys)) < len(keys) or any(self._is_used(key, now) for key in keys):
            raise IdempotencyMismatch("The idempotency key is in use already.")
        self._events.setdefault(execution_id, []).extend(events)
        self._summaries[execution_id] = summary
        for keyed in answers:
            used = keyed.idempotency
            self._answers[used.principal, used.key] = (
                used,
                IdempotentAnswer(used.request_hash, used.mutation, execution_id, keyed.answer),
            )
        self.commits += 1

    async def read(
        self, execution_id: ExecutionID, *, after: Seq = Seq(0), limit: int = 256
    ) -> Sequence[Recorded]:
        """At most `limit` events behind `after`."""
        await asyncio.sleep(0)
        return self._events.get(execution_id, [])[after : after + limit]

    async def summary(self, execution_id: ExecutionID) -> ExecutionSummary | None:
        """The execution's row, or None."""
        return self._summaries.get(execution_id)

    async def list_executions(self, query: ExecutionQuery) -> ExecutionPage:
        """A page of the list, newest first."""
        found = [row for row in reversed(self._summaries.values()) if _matches(row, query)]
        ids = [row.id for row in found]
        start = ids.index(query.after) + 1 if query.after in ids else 0
        end = ids.index(query.before) if query.before in ids else len(found)
        page = found[start:end]
        if query.last is not None:
            cut = max(0, len(page) - query.last)
            return ExecutionPage(tuple(page[cut:]), end < len(found), start + cut > 0, len(found))
        items = tuple(page[: query.first])
        return ExecutionPage(items, start + len(items) < len(found), start > 0, len(found))

    async def active(self) -> Sequence[ExecutionID]:
        """Ids of all executions that have not ended, oldest first."""
        return [row.id for row in self._summaries.values() if row.status.is_active]

    async def find_answer(
        self, principal: str, key: str, *, now: datetime
    ) -> IdempotentAnswer | None:
        """The stored answer of that key, unless it has expired."""
        known = self._answers.get((principal, key))
        return known[1] if known is not None and known[0].expires_at > now else None

    async def append_logs(self, execution_id: ExecutionID, lines: Sequence[LogRecord]) -> None:
        """Keep log lines."""
        kept = self._logs.setdefault(execution_id, [])
        for line in lines:
            self._lines += 1
            kept.append(replace(line, cursor=self._lines))

    async def read_logs(
        self,
        execution_id: ExecutionID,
        *,
        after: int = 0,
        limit: int = 100,
        node: str | None = None,
    ) -> Sequence[LogRecord]:
        """Log lines behind the cursor."""
        lines = (line for line in self._logs.get(execution_id, ()) if line.cursor > after)
        return [line for line in lines if node is None or line.node_run.node == node][:limit]

    async def close(self) -> None:
        """There is nothing to release."""

    def _is_used(self, key: tuple[str, str], now: datetime | None) -> bool:
        known = self._answers.get(key)
        return known is not None and (now is None or known[0].expires_at > now)


def _matches(row: ExecutionSummary, query: ExecutionQuery) -> bool:
    started = row.started_at
    return (
        (query.statuses is None or row.status in query.statuses)
        and (query.diagram_id is None or row.diagram_id == query.diagram_id)
        and (query.parent_id is None or row.parent_id == query.parent_id)
        and (query.is_active is None or row.status.is_active == query.is_active)
        and (
            query.has_waiting_barriers is None
            or (row.waiting_barriers > 0) == query.has_waiting_barriers
        )
        and (query.started_after is None or (started is not None and started > query.started_after))
        and (
            query.started_before is None or (started is not None and started < query.started_before)
        )
    )
