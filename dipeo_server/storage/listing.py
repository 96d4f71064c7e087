"""The list of executions: fixed SQL and bound values, each page by a walk of one index."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import ExecutionPage, ExecutionQuery
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.storage.codec import stamp
from dipeo_server.storage.refusals import not_in_the_list
from dipeo_server.storage.rows import is_sound, summary_of

log = structlog.get_logger(__name__)

Fetch = Callable[[str, Sequence[Any]], Awaitable[list[sqlite3.Row]]]
"""Runs one statement of a reader."""

Statement = tuple[str, tuple[Any, ...]]

_ALL: Final = frozenset(ExecutionStatus)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which positions a page lies, both excluded; None = open. The newest is the highest.

    `below` is what the cursor `after` stands for, `above` is `before`.
    """

    above: int | None = None
    below: int | None = None


class ExecutionList:
    """Answers queries by way of a reader's `fetch`."""

    def __init__(self, fetch: Fetch, sql: Mapping[str, str]) -> None:
        self._fetch = fetch
        self._sql = sql

    async def page(self, query: ExecutionQuery) -> ExecutionPage:
        """A page, newest first. Raises InvalidInput for a cursor of nothing."""
        selection = Selection(query)
        bounds = Bounds(
            above=await self._position(query.before, "before"),
            below=await self._position(query.after, "after"),
        )
        if not selection.statuses:
            return ExecutionPage((), has_next=False, has_previous=False, total=0)
        is_backward = query.last is not None
        size = query.first if query.last is None else query.last
        found = await self._fetch(*selection.rows(bounds, size + 1, oldest_first=is_backward))
        rows, has_more = found[:size], len(found) > size
        if is_backward:
            rows.reverse()
        newer, older = around(rows, bounds)
        return ExecutionPage(
            tuple(map(summary_of, _sound(rows))),
            has_next=(has_more and not is_backward) or await self._is_any(selection, below=older),
            has_previous=(has_more and is_backward) or await self._is_any(selection, above=newer),
            total=await self._count(selection),
        )

    async def _position(self, cursor: ExecutionID | None, field: str) -> int | None:
        if cursor is None:
            return None
        rows = await self._fetch(self._sql["position"], (cursor,))
        if not rows:
            raise not_in_the_list(cursor, field)
        return int(rows[0]["position"])

    async def _is_any(
        self, selection: Selection, *, above: int | None = None, below: int | None = None
    ) -> bool:
        """Does anything selected lie beyond the page? None: the page lies at that end."""
        if above is None and below is None:
            return False
        is_above = above is not None
        return bool(
            await self._fetch(*selection.rows(Bounds(above, below), 1, oldest_first=is_above))
        )

    async def _count(self, selection: Selection) -> int:
        if selection.is_by_status:
            counts = dict(map(tuple, await self._fetch(self._sql["counts"], ())))
            return sum(counts.get(status.value, 0) for status in selection.statuses)
        rows = await self._fetch(*selection.count())
        return int(rows[0]["total"])


def _sound(rows: Sequence[sqlite3.Row]) -> Iterator[sqlite3.Row]:
    """Damaged rows are left out: one that cannot be shown must not keep others from it."""
    for row in rows:
        if is_sound(row):
            yield row
        else:
            log.error("row_damaged", execution_id=row["id"])


def around(rows: Sequence[sqlite3.Row], bounds: Bounds) -> tuple[int | None, int | None]:
    """Above and below which position the rest lies; None where no cursor cut anything off."""
    newer = older = None
    if bounds.below is not None:
        newer = rows[0]["position"] if rows else bounds.below - 1
    if bounds.above is not None:
        older = rows[-1]["position"] if rows else bounds.above + 1
    return newer, older


class Selection:
    """The statements of one filter."""

    def __init__(self, query: ExecutionQuery) -> None:
        self.statuses = _statuses(query)
        self._terms = list(_terms(query))
        # One index serves at a time. A diagram, a parent or a waiting person tell more than a
        # status does; without them each status is walked on its own and the walks are merged.
        self._is_narrow = any(
            (query.diagram_id, query.parent_id, query.fork_of, query.has_waiting_barriers)
        )

    @property
    def is_by_status(self) -> bool:
        """Does nothing matter but the status? Then the store has counted already."""
        return not self._terms

    def rows(self, bounds: Bounds, limit: int, *, oldest_first: bool) -> Statement:
        """At most `limit` rows within the bounds, newest first unless said otherwise."""
        arms = list(self._arms(bounds))
        text = " UNION ALL ".join(f"SELECT * FROM executions{where}" for where, _ in arms)  # noqa: S608 - fixed terms, every value bound.
        order = "ASC" if oldest_first else "DESC"
        values = tuple(value for _, bound in arms for value in bound)
        return f"{text} ORDER BY position {order} LIMIT ?", (*values, limit)

    def count(self) -> Statement:
        """How many rows there are in all."""
        where, values = _where([*self._terms, *self._status_terms()])
        return f"SELECT count(*) AS total FROM executions{where}", values  # noqa: S608 - fixed terms, every value bound.

    def _arms(self, bounds: Bounds) -> Iterator[Statement]:
        terms = list(self._terms)
        if bounds.above is not None:
            terms.append(("position > ?", (bounds.above,)))
        if bounds.below is not None:
            terms.append(("position < ?", (bounds.below,)))
        if self._is_narrow or self.statuses == _ALL:
            yield _where([*terms, *self._status_terms()])
            return
        for status in sorted(self.statuses):
            yield _where([*terms, ("status = ?", (status.value,))])

    def _status_terms(self) -> list[Statement]:
        if self.statuses == _ALL:
            return []
        marks = ", ".join("?" * len(self.statuses))
        # The plus keeps the index of statuses out of it.
        return [(f"+status IN ({marks})", tuple(status.value for status in self.statuses))]


def _statuses(query: ExecutionQuery) -> frozenset[ExecutionStatus]:
    """The statuses that a query lets through."""
    statuses = _ALL if query.statuses is None else query.statuses
    if query.is_active is None:
        return statuses
    return frozenset(status for status in statuses if status.is_active == query.is_active)


def _terms(query: ExecutionQuery) -> Iterator[Statement]:
    """What is asked for besides the status."""
    if query.diagram_id is not None:
        yield "diagram_id = ?", (query.diagram_id,)
    if query.parent_id is not None:
        yield "parent_id = ?", (query.parent_id,)
    if query.fork_of is not None:
        yield "fork_of = ?", (query.fork_of,)
    if query.has_waiting_barriers is not None:
        yield f"waiting_barriers {'>' if query.has_waiting_barriers else '='} 0", ()
    if query.started_after is not None:
        yield "started_at > ?", (stamp(query.started_after),)
    if query.started_before is not None:
        yield "started_at < ?", (stamp(query.started_before),)


def _where(terms: list[Statement]) -> Statement:
    if not terms:
        return "", ()
    text = " AND ".join(term for term, _ in terms)
    return f" WHERE {text}", tuple(value for _, values in terms for value in values)
