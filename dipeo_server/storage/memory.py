"""MemoryStore: the reference implementation of the store; nothing outlives the process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from dipeo_server.domains.execution.checkpoint import TakenCheckpoint
from dipeo_server.domains.execution.checkpoint_store import CheckpointChoice
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import (
    ExecutionPage,
    ExecutionQuery,
    ExecutionSummary,
    IdempotentAnswer,
    KeyedAnswer,
    LogRecord,
)
from dipeo_server.errors import DipeoError
from dipeo_server.storage.auditing import counted, entry_about
from dipeo_server.storage.blobs import MemoryBlobs
from dipeo_server.storage.memory_access import MemoryAccess
from dipeo_server.storage.memory_checkpoints import MemoryCheckpoints
from dipeo_server.storage.memory_diagrams import MemoryDiagrams
from dipeo_server.storage.refusals import (
    Kin,
    check_append,
    check_deletable,
    closed,
    in_use,
    no_origin,
    not_in_the_list,
    not_the_tail,
)


class MemoryStore:
    """Dictionaries with the promises of a store, but for durability."""

    def __init__(self) -> None:
        self._events: dict[ExecutionID, list[Recorded]] = {}
        self._summaries: dict[ExecutionID, ExecutionSummary] = {}
        self._answers: dict[tuple[str, str], tuple[datetime, IdempotentAnswer]] = {}
        self._logs: dict[ExecutionID, list[LogRecord]] = {}
        self._lines = 0
        self._is_closed = False
        self.commits = 0
        self.blobs = MemoryBlobs()
        self.problem: DipeoError | None = None
        self.checkpoints = MemoryCheckpoints(self._check_open, self._summaries.get)
        self.diagrams = MemoryDiagrams(self._check_open, self._keep_diagram_answer)
        self.access = MemoryAccess(self._check_open)

    async def append(
        self,
        execution_id: ExecutionID,
        events: Sequence[Recorded],
        *,
        after: Seq,
        summary: ExecutionSummary,
        answers: Sequence[KeyedAnswer] = (),
        checkpoints: Sequence[TakenCheckpoint] = (),
    ) -> None:
        """Keep events, summary, idempotency records and checkpoints together."""
        self._check_open()
        check_append(execution_id, events, after, summary)
        await asyncio.sleep(0)
        log = self._events.get(execution_id) or self._shared(summary)
        if len(log) != after:
            raise not_the_tail(execution_id, len(log), after)
        self._check_unused(answers, events[-1].at if events else None)
        log.extend(events)
        self._events[execution_id] = log
        self._summaries[execution_id] = summary
        self._keep_answers(execution_id, answers)
        self.checkpoints.keep(checkpoints)
        self.commits += 1

    async def read(
        self, execution_id: ExecutionID, *, after: Seq = Seq(0), limit: int = 256
    ) -> Sequence[Recorded]:
        """At most `limit` events behind `after`."""
        self._check_open()
        await asyncio.sleep(0)
        return self._events.get(execution_id, [])[after : after + limit]

    async def summary(self, execution_id: ExecutionID) -> ExecutionSummary | None:
        """The execution's row, or None."""
        self._check_open()
        return self._summaries.get(execution_id)

    async def list_executions(self, query: ExecutionQuery) -> ExecutionPage:
        """A page of the list, newest first."""
        self._check_open()
        age = {each: -place for place, each in enumerate(self._summaries)}
        for cursor, field in ((query.after, "after"), (query.before, "before")):
            if cursor is not None and cursor not in age:
                raise not_in_the_list(cursor, field)
        found = [row for row in reversed(self._summaries.values()) if _matches(row, query)]
        start, end = 0, len(found)
        if query.after is not None:
            start = sum(age[row.id] <= age[query.after] for row in found)
        if query.before is not None:
            end = sum(age[row.id] < age[query.before] for row in found)
        if query.last is None:
            end = max(start, min(end, start + query.first))
        else:
            start = max(start, end - query.last)
            end = max(start, end)
        return ExecutionPage(
            tuple(found[start:end]),
            has_next=end < len(found),
            has_previous=start > 0,
            total=len(found),
        )

    async def active(self) -> Sequence[ExecutionID]:
        """Ids of all executions that have not ended, oldest first."""
        self._check_open()
        return [row.id for row in self._summaries.values() if row.status.is_active]

    async def find_answer(
        self, principal: str, key: str, *, now: datetime
    ) -> IdempotentAnswer | None:
        """The stored answer of that key, unless it has expired."""
        self._check_open()
        expires_at, answer = self._answers.get((principal, key), (now, None))
        return answer if expires_at > now else None

    async def delete(
        self, execution_id: ExecutionID, *, now: datetime, answer: KeyedAnswer | None = None
    ) -> Sequence[ExecutionID]:
        """Forget an execution that has ended and all that ran below it; gives who is gone."""
        self._check_open()
        await asyncio.sleep(0)
        family = self._family(execution_id)
        names = {kin.id for kin in family}
        rows = self._summaries.values()
        check_deletable(execution_id, family, [row.id for row in rows if row.fork_of in names])
        if answer is not None:
            self._check_unused([answer], now)
            self._keep_answers(execution_id, [answer])
        gone = [ExecutionID(kin.id) for kin in family]
        for each in gone:
            await self.checkpoints.prune(each)
            for kept in (self._events, self._summaries, self._logs):
                kept.pop(each, None)
        self.commits += 1
        return gone

    async def delete_checkpoints(
        self,
        execution_id: ExecutionID,
        choice: CheckpointChoice,
        *,
        now: datetime,
        answer: KeyedAnswer | None = None,
    ) -> int:
        """Forget checkpoints, and keep the answer with it; gives how many."""
        self._check_open()
        if answer is not None:
            self._check_unused([answer], now)
        deleted = self.checkpoints.forget(execution_id, choice)
        if answer is not None:
            self._keep_answers(execution_id, [counted(answer, deleted)])
        self.commits += 1
        return deleted

    def _family(self, execution_id: ExecutionID) -> list[Kin]:
        """The execution and the runs of all sub-diagrams below it, itself first."""
        found = [row for row in [self._summaries.get(execution_id)] if row is not None]
        for row in found:
            below = self._summaries.values()
            found += [each for each in below if row.id == each.parent_id != each.fork_of]
        return [Kin(row.id, row.status, self._parent(row)) for row in found]

    def _parent(self, row: ExecutionSummary) -> ExecutionID | None:
        """Who runs it as a sub-diagram, if that is still there."""
        is_child = row.parent_id != row.fork_of and row.parent_id in self._summaries
        return row.parent_id if is_child else None

    async def append_logs(self, execution_id: ExecutionID, lines: Sequence[LogRecord]) -> None:
        """Keep log lines."""
        self._check_open()
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
        self._check_open()
        lines = (line for line in self._logs.get(execution_id, ()) if line.cursor > after)
        return [line for line in lines if node is None or line.node_run.node == node][:limit]

    async def close(self) -> None:
        """Refuse everything from now on; there is nothing to release."""
        self._is_closed = True

    def _shared(self, summary: ExecutionSummary) -> list[Recorded]:
        """What a log that begins has already: nothing, or a fork the events of its origin."""
        if summary.fork_of is None or summary.forked_at is None:
            return []
        shared = self._events.get(summary.fork_of, [])[: summary.forked_at]
        if len(shared) < summary.forked_at:
            raise no_origin(summary.id, summary.fork_of, summary.forked_at)
        return shared

    def _check_open(self) -> None:
        if self._is_closed:
            raise closed()

    def _keep_answers(self, execution_id: ExecutionID, answers: Sequence[KeyedAnswer]) -> None:
        for keyed in answers:
            used = keyed.idempotency
            entry = entry_about(used, execution_id or keyed.answer.get("diagram"))
            if entry is not None:
                self.access.append(entry)
            answer = IdempotentAnswer(used.request_hash, used.mutation, execution_id, keyed.answer)
            self._answers[used.principal, used.key] = (used.expires_at, answer)

    def _keep_diagram_answer(self, keyed: KeyedAnswer, now: datetime) -> None:
        self._check_unused([keyed], now)
        self._keep_answers(ExecutionID(""), [keyed])

    def _check_unused(self, answers: Sequence[KeyedAnswer], now: datetime | None) -> None:
        seen: set[tuple[str, str]] = set()
        for keyed in answers:
            used = keyed.idempotency
            name = (used.principal, used.key)
            known = self._answers.get(name)
            if name in seen or (known is not None and (now is None or known[0] > now)):
                raise in_use(used.key)
            seen.add(name)


def _matches(row: ExecutionSummary, query: ExecutionQuery) -> bool:
    started = row.started_at
    return (
        (query.statuses is None or row.status in query.statuses)
        and (query.diagram_id is None or row.diagram_id == query.diagram_id)
        and (query.parent_id is None or row.parent_id == query.parent_id)
        and (query.fork_of is None or row.fork_of == query.fork_of)
        and (query.is_active is None or row.status.is_active == query.is_active)
        and query.has_waiting_barriers in (None, row.waiting_barriers > 0)
        and (query.started_after is None or (started is not None and started > query.started_after))
        and (
            query.started_before is None or (started is not None and started < query.started_before)
        )
    )
