"""What every store must do, a class per capability; a test of a store gives the fixture."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.ports import ExecutionQuery, StateStore
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import (
    ConcurrentAppend,
    IdempotencyMismatch,
    InvalidInput,
    StorageError,
)
from tests.storage.deletion_conformance import Deletions
from tests.storage.fork_conformance import Forks
from tests.storage.records import (
    NOON,
    ONE,
    TWO,
    events,
    execution,
    extend,
    keyed,
    line,
    row,
)

COMPLETED, FAILED, WAITING = (
    ExecutionStatus.COMPLETED,
    ExecutionStatus.FAILED,
    ExecutionStatus.WAITING,
)


class EventLogs:
    async def test_what_was_appended_is_read_back(self, store: StateStore) -> None:
        first = await extend(store, ONE, 3)
        then = await extend(store, ONE, 2, after=3, at=NOON + timedelta(microseconds=1))
        assert list(await store.read(ONE)) == first + then

    async def test_events_of_one_append_have_times_of_their_own(self, store: StateStore) -> None:
        times = [NOON + timedelta(seconds=second) for second in (0, 0, 3, 5)]
        new = [replace(each, at=at) for each, at in zip(events(4), times, strict=True)]
        await store.append(ONE, new, after=Seq(0), summary=row(ONE, 4))
        assert [recorded.at for recorded in await store.read(ONE)] == times

    async def test_a_page_begins_behind_a_sequence_and_is_bounded(self, store: StateStore) -> None:
        await extend(store, ONE, 10)
        page = await store.read(ONE, after=Seq(3), limit=4)
        assert [recorded.seq for recorded in page] == [4, 5, 6, 7]
        assert len(await store.read(ONE, after=Seq(10))) == 0

    async def test_an_execution_that_never_began_has_no_events(self, store: StateStore) -> None:
        await extend(store, ONE, 1)
        assert len(await store.read(TWO)) == 0

    async def test_executions_have_sequences_of_their_own(self, store: StateStore) -> None:
        await extend(store, ONE, 2)
        await extend(store, TWO, 3)
        await extend(store, ONE, 1, after=2)
        assert [recorded.seq for recorded in await store.read(ONE)] == [1, 2, 3]
        assert [recorded.seq for recorded in await store.read(TWO)] == [1, 2, 3]

    @pytest.mark.parametrize("after", [0, 1, 3, 4])
    async def test_an_append_elsewhere_than_at_the_tail_changes_nothing(
        self, store: StateStore, after: int
    ) -> None:
        log = await extend(store, ONE, 2)
        with pytest.raises(ConcurrentAppend, match=f"ends at 2, not at {after}"):
            await extend(store, ONE, 1, after=after, status=FAILED, keys=[keyed("k")])
        assert list(await store.read(ONE)) == log
        assert await store.summary(ONE) == row(ONE, 2)
        assert await store.find_answer("anna", "k", now=NOON) is None

    async def test_an_execution_cannot_begin_in_the_middle(self, store: StateStore) -> None:
        with pytest.raises(ConcurrentAppend, match="ends at 0, not at 5"):
            await extend(store, ONE, 1, after=5)
        assert await store.summary(ONE) is None

    async def test_of_appends_that_race_one_wins(self, store: StateStore) -> None:
        racing = [extend(store, ONE, count) for count in range(1, 21)]
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        won = [outcome for outcome in outcomes if isinstance(outcome, list)]
        assert len(won) == 1
        assert sum(isinstance(outcome, ConcurrentAppend) for outcome in outcomes) == 19
        assert list(await store.read(ONE)) == won[0]

    @pytest.mark.parametrize("seqs", [(2,), (1, 3), (1, 1), (2, 1), (0, 1)])
    async def test_a_log_has_no_gaps(self, store: StateStore, seqs: tuple[int, ...]) -> None:
        new = [replace(events(1)[0], seq=Seq(seq)) for seq in seqs]
        with pytest.raises(StorageError, match="is due"):
            await store.append(ONE, new, after=Seq(0), summary=row(ONE, seqs[-1]))
        assert len(await store.read(ONE)) == 0

    async def test_the_row_has_to_agree_with_the_log(self, store: StateStore) -> None:
        for summary in (row(ONE, 1), row(TWO, 2)):
            with pytest.raises(StorageError, match="would end at 2, but the row of"):
                await store.append(ONE, events(2), after=Seq(0), summary=summary)


class Summaries:
    async def test_the_row_tells_what_was_appended_last(self, store: StateStore) -> None:
        await extend(store, ONE, 1, name="first")
        changed = row(
            ONE,
            2,
            FAILED,
            name="Zweiter 🚀",
            diagram_id="diagram",
            content_hash="abc",
            parent_id=TWO,
            created_at=NOON,
            started_at=NOON + timedelta(microseconds=1),
            ended_at=NOON + timedelta(days=1),
            token_usage=TokenUsage(3, 2, 1),
            error={"code": "CODE_ERROR", "message": "it broke: \ud83d", "node": None, "n": 2**70},
            waiting_barriers=2,
        )
        await store.append(ONE, events(1, after=1), after=Seq(1), summary=changed)
        assert await store.summary(ONE) == changed

    async def test_an_unknown_execution_has_no_row(self, store: StateStore) -> None:
        assert await store.summary(ONE) is None

    async def test_active_are_those_that_have_not_ended_oldest_first(
        self, store: StateStore
    ) -> None:
        for number, status in enumerate(ExecutionStatus):
            await extend(store, execution(100 - number), status=status)
        expected = [
            execution(100 - number)
            for number, status in enumerate(ExecutionStatus)
            if status.is_active
        ]
        assert list(await store.active()) == expected

    async def test_what_has_ended_is_active_no_more(self, store: StateStore) -> None:
        await extend(store, ONE, 1)
        await extend(store, ONE, 1, after=1, status=COMPLETED)
        assert list(await store.active()) == []


class Lists:
    async def test_the_newest_comes_first(self, store: StateStore) -> None:
        for number in (5, 3, 9):
            await extend(store, execution(number))
        await extend(store, execution(5), after=1)  # What happens later does not move it.
        page = await store.list_executions(ExecutionQuery())
        assert [item.id for item in page.items] == [execution(9), execution(3), execution(5)]
        assert (page.total, page.has_next, page.has_previous) == (3, False, False)

    async def test_an_empty_list_is_a_page(self, store: StateStore) -> None:
        page = await store.list_executions(ExecutionQuery())
        assert (page.items, page.total, page.has_next, page.has_previous) == ((), 0, False, False)

    @pytest.mark.parametrize("size", [1, 3, 4, 10])
    async def test_pages_forward_and_back_give_the_whole_list(
        self, store: StateStore, size: int
    ) -> None:
        for number in range(10):
            await extend(store, execution(number))
        newest_first = [execution(number) for number in reversed(range(10))]
        seen: list[ExecutionID] = []
        query = ExecutionQuery(first=size)
        while items := (page := await store.list_executions(query)).items:
            assert page.has_previous == bool(seen)
            seen += [item.id for item in items]
            assert page.has_next == (len(seen) < 10)
            query = ExecutionQuery(first=size, after=items[-1].id)
        assert seen == newest_first
        seen, query = [], ExecutionQuery(last=size)
        while items := (page := await store.list_executions(query)).items:
            assert page.has_next == bool(seen)
            seen = [item.id for item in items] + seen
            assert page.has_previous == (len(seen) < 10)
            query = ExecutionQuery(last=size, before=items[0].id)
        assert seen == newest_first

    async def test_a_page_stays_where_it_is_while_executions_begin(self, store: StateStore) -> None:
        for number in range(4):
            await extend(store, execution(number))
        first = await store.list_executions(ExecutionQuery(first=2))
        await extend(store, execution(4))
        second = await store.list_executions(ExecutionQuery(first=2, after=first.items[-1].id))
        assert [item.id for item in second.items] == [execution(1), execution(0)]
        assert second.has_previous

    async def test_beyond_the_ends_lies_what_the_cursor_stands_for(self, store: StateStore) -> None:
        await extend(store, ONE)
        behind = await store.list_executions(ExecutionQuery(after=ONE))
        assert (behind.items, behind.has_previous, behind.has_next) == ((), True, False)
        before = await store.list_executions(ExecutionQuery(last=5, before=ONE))
        assert (before.items, before.has_previous, before.has_next) == ((), False, True)

    @pytest.mark.parametrize(
        "field, query",
        [("after", ExecutionQuery(after=TWO)), ("before", ExecutionQuery(before=TWO))],
    )
    async def test_a_cursor_of_nothing_is_refused(
        self, store: StateStore, field: str, query: ExecutionQuery
    ) -> None:
        await extend(store, ONE)
        with pytest.raises(InvalidInput, match=f"`{field}` is the cursor") as refusal:
            await store.list_executions(query)
        assert refusal.value.field == (field,)

    async def test_filters_choose_and_count(self, store: StateStore) -> None:
        hour = timedelta(hours=1)
        await extend(store, execution(0), status=COMPLETED, diagram_id="d", started_at=NOON)
        await extend(store, execution(1), status=FAILED, diagram_id="d", started_at=NOON + hour)
        await extend(store, execution(2), status=WAITING, waiting_barriers=1, parent_id=ONE)
        await extend(store, execution(3), parent_id=ONE, started_at=NOON + 2 * hour)

        async def chosen(**filters: Any) -> list[int]:
            page = await store.list_executions(ExecutionQuery(**filters))
            assert page.total == len(page.items)
            return [int(item.id[-1]) for item in page.items]

        assert await chosen(statuses=frozenset({COMPLETED, FAILED})) == [1, 0]
        assert await chosen(statuses=frozenset()) == []
        assert await chosen(is_active=True) == [3, 2]
        assert await chosen(is_active=False) == [1, 0]
        assert await chosen(is_active=True, statuses=frozenset({FAILED, WAITING})) == [2]
        assert await chosen(is_active=True, statuses=frozenset({FAILED})) == []
        assert await chosen(diagram_id="d") == [1, 0]
        assert await chosen(diagram_id="d", statuses=frozenset({FAILED})) == [1]
        assert await chosen(parent_id=ONE) == [3, 2]
        assert await chosen(has_waiting_barriers=True, is_active=True) == [2]
        assert await chosen(has_waiting_barriers=False) == [3, 1, 0]
        assert await chosen(started_after=NOON) == [3, 1]
        assert await chosen(started_before=NOON + 2 * hour) == [1, 0]
        assert await chosen(started_after=NOON, started_before=NOON + 2 * hour) == [1]

    async def test_counts_follow_every_change_of_status(self, store: StateStore) -> None:
        async def total(*statuses: ExecutionStatus) -> int:
            query = ExecutionQuery(statuses=frozenset(statuses), first=1)
            return (await store.list_executions(query)).total

        for number in range(3):
            await extend(store, execution(number), status=WAITING)
        await extend(store, execution(0), after=1, status=WAITING)
        await extend(store, execution(1), after=1, status=COMPLETED)
        assert (await total(WAITING), await total(COMPLETED), await total(FAILED)) == (2, 1, 0)
        assert await total(*ExecutionStatus) == 3

    async def test_what_lies_around_a_page_is_told_exactly(self, store: StateStore) -> None:
        """Also where the cursor itself does not pass the filter, and where a page is empty."""
        statuses = [FAILED, COMPLETED, FAILED, COMPLETED]
        for number, status in enumerate(statuses):
            await extend(store, execution(number), status=status)
        ids = [execution(number) for number in range(4)]
        for cursor, size, is_backward in itertools.product(ids, (1, 2, 9), (False, True)):
            query = ExecutionQuery(statuses=frozenset({FAILED}), first=size, after=cursor)
            if is_backward:
                query = replace(query, after=None, last=size, before=cursor)
            page = await store.list_executions(query)
            place = ids.index(cursor)
            if is_backward:
                within = [number for number in (2, 0) if number > place][-size:]
            else:
                within = [number for number in (2, 0) if number < place][:size]
            assert [item.id for item in page.items] == [ids[number] for number in within]
            newest = within[0] if within else (place if is_backward else place - 1)
            oldest = within[-1] if within else (place + 1 if is_backward else place)
            assert page.has_previous == any(number > newest for number in (2, 0)), query
            assert page.has_next == any(number < oldest for number in (2, 0)), query


class IdempotencyKeys:
    async def test_an_answer_is_found_by_its_key(self, store: StateStore) -> None:
        await extend(store, ONE, keys=[keyed("k", request_hash="h")])
        answer = await store.find_answer("anna", "k", now=NOON)
        assert answer is not None
        assert (answer.execution_id, answer.mutation, answer.request_hash) == (
            ONE,
            "runDiagram",
            "h",
        )
        assert answer.answer == {"sequence": 1, "of": "k"}

    async def test_a_key_belongs_to_one_person(self, store: StateStore) -> None:
        await extend(store, ONE, keys=[keyed("k")])
        await extend(store, TWO, keys=[keyed("k", principal="bert")])
        assert await store.find_answer("carl", "k", now=NOON) is None

    async def test_a_key_that_was_used_undoes_the_whole_append(self, store: StateStore) -> None:
        await extend(store, ONE, keys=[keyed("k")])
        with pytest.raises(IdempotencyMismatch, match="'k' is in use already"):
            await extend(store, TWO, 2, keys=[keyed("new"), keyed("k")])
        assert len(await store.read(TWO)) == 0
        assert await store.summary(TWO) is None
        assert await store.find_answer("anna", "new", now=NOON) is None

    async def test_an_answer_expires_and_its_key_may_be_used_again(self, store: StateStore) -> None:
        soon = NOON + timedelta(hours=1)
        await extend(store, ONE, keys=[keyed("k", expires_at=soon)])
        assert await store.find_answer("anna", "k", now=soon) is None
        assert await store.find_answer("anna", "k", now=soon - timedelta(microseconds=1))
        await extend(store, TWO, at=soon, keys=[keyed("k", expires_at=soon + timedelta(hours=1))])
        answer = await store.find_answer("anna", "k", now=soon)
        assert answer is not None
        assert answer.execution_id == TWO

    async def test_of_a_hundred_appends_with_one_key_one_commits(self, store: StateStore) -> None:
        racing = [extend(store, execution(number), keys=[keyed("k")]) for number in range(100)]
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        assert sum(isinstance(outcome, IdempotencyMismatch) for outcome in outcomes) == 99
        page = await store.list_executions(ExecutionQuery(first=100))
        answer = await store.find_answer("anna", "k", now=NOON)
        assert answer is not None
        assert [item.id for item in page.items] == [answer.execution_id]


class LogLines:
    async def test_lines_are_read_in_the_order_they_were_written(self, store: StateStore) -> None:
        await extend(store, ONE)
        await store.append_logs(ONE, [line("one"), line("two", stream="stderr")])
        await store.append_logs(TWO, [line("of another")])
        await store.append_logs(ONE, [line("three")])
        found = await store.read_logs(ONE)
        assert [each.text for each in found] == ["one", "two", "three"]
        assert [replace(each, cursor=0) for each in found][1] == line("two", stream="stderr")

    async def test_a_cursor_leads_on(self, store: StateStore) -> None:
        await store.append_logs(ONE, [line(str(number)) for number in range(7)])
        seen: list[str] = []
        cursor = 0
        while page := await store.read_logs(ONE, after=cursor, limit=3):
            assert cursor < page[0].cursor
            seen += [each.text for each in page]
            cursor = page[-1].cursor
            if len(seen) == 3:
                await store.append_logs(ONE, [line("7")])
        assert seen == [str(number) for number in range(8)]

    async def test_lines_of_one_node_can_be_asked_for(self, store: StateStore) -> None:
        lines = [line(str(number), node="ab"[number % 2]) for number in range(6)]
        await store.append_logs(ONE, lines)
        found = await store.read_logs(ONE, node="b", limit=2)
        assert [each.text for each in found] == ["1", "3"]
        assert [each.text for each in await store.read_logs(ONE, node="b", after=found[-1].cursor)]

    async def test_no_lines_are_no_matter(self, store: StateStore) -> None:
        await store.append_logs(ONE, [])
        assert len(await store.read_logs(ONE)) == 0


class Closing:
    async def test_a_closed_store_refuses_everything(self, store: StateStore) -> None:
        await extend(store, ONE)
        await store.close()
        await store.close()
        for request in (
            extend(store, TWO),
            store.read(ONE),
            store.summary(ONE),
            store.active(),
            store.list_executions(ExecutionQuery()),
            store.find_answer("anna", "k", now=NOON),
            store.append_logs(ONE, [line("late")]),
            store.read_logs(ONE),
        ):
            with pytest.raises(StorageError, match="closed"):
                await request

    async def test_closing_waits_for_what_was_asked_before(self, store: StateStore) -> None:
        asked = [asyncio.create_task(extend(store, execution(number))) for number in range(1_500)]
        await asyncio.sleep(0)
        await store.close()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(outcome, list) for outcome in outcomes)


class StoreConformance(
    EventLogs, Forks, Deletions, Summaries, Lists, IdempotencyKeys, LogLines, Closing
):
    """All of it; a subclass has the fixture `store`."""
