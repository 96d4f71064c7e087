"""What every store must do with forks: read them through, and keep what they go on from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import ExecutionQuery, StateStore
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import ConcurrentAppend, StorageError
from tests.storage.records import NOON, ONE, TWO, execution, extend, row

COMPLETED = ExecutionStatus.COMPLETED


class Forks:
    async def test_a_fork_is_read_with_the_events_of_its_origin(self, store: StateStore) -> None:
        shared = await extend(store, ONE, 5)
        own = await branch(store, TWO, ONE, at=3, count=2)
        assert list(await store.read(TWO)) == [*shared[:3], *own]
        assert [each.seq for each in await store.read(TWO)] == [1, 2, 3, 4, 5]
        assert list(await store.read(ONE)) == shared

    @pytest.mark.parametrize("after", range(6))
    @pytest.mark.parametrize("limit", [1, 2, 3, 10])
    async def test_any_page_of_a_fork_of_a_fork_is_read(
        self, store: StateStore, after: int, limit: int
    ) -> None:
        shared = await extend(store, ONE, 5)
        between = await branch(store, TWO, ONE, at=2, count=2)
        own = await branch(store, execution(3), TWO, at=3, count=2)
        whole = [*shared[:2], between[0], *own]
        page = await store.read(execution(3), after=Seq(after), limit=limit)
        assert list(page) == whole[after : after + limit]

    async def test_a_fork_may_begin_before_its_origin_does_so_itself(
        self, store: StateStore
    ) -> None:
        shared = await extend(store, ONE, 5)
        await branch(store, TWO, ONE, at=4, count=1)
        own = await branch(store, execution(3), TWO, at=2, count=1)
        assert list(await store.read(execution(3))) == [*shared[:2], *own]

    async def test_a_fork_goes_on_like_any_execution(self, store: StateStore) -> None:
        shared = await extend(store, ONE, 3)
        origin: dict[str, Any] = {"fork_of": ONE, "forked_at": Seq(3)}
        own = await branch(store, TWO, ONE, at=3, count=1)
        own += await extend(store, TWO, 2, after=4, status=COMPLETED, **origin)
        assert list(await store.read(TWO)) == [*shared, *own]
        assert await store.summary(TWO) == row(TWO, 6, COMPLETED, **origin)
        with pytest.raises(ConcurrentAppend, match="ends at 6, not at 3"):
            await branch(store, TWO, ONE, at=3, count=1)

    async def test_what_an_origin_adds_later_is_not_the_forks(self, store: StateStore) -> None:
        await extend(store, ONE, 2)
        await branch(store, TWO, ONE, at=2, count=1)
        before = list(await store.read(TWO))
        await extend(store, ONE, 3, after=2)
        assert list(await store.read(TWO)) == before

    @pytest.mark.parametrize("at", [3, 9])
    async def test_a_fork_needs_an_event_to_go_on_from(self, store: StateStore, at: int) -> None:
        await extend(store, ONE, 2)
        with pytest.raises(StorageError, match=f"has no event {at}"):
            await branch(store, TWO, ONE, at=at, count=1)
        assert await store.summary(TWO) is None
        assert len(await store.read(TWO)) == 0

    async def test_forks_are_listed_below_their_origin(self, store: StateStore) -> None:
        await extend(store, ONE, 2)
        await branch(store, TWO, ONE, at=2, count=1, parent_id=ONE)
        page = await store.list_executions(ExecutionQuery(parent_id=ONE))
        assert [(each.id, each.fork_of, each.forked_at) for each in page.items] == [(TWO, ONE, 2)]
        assert list(await store.active()) == [ONE, TWO]

    async def test_forks_are_listed_by_their_origin_whoever_runs_them(
        self, store: StateStore
    ) -> None:
        await extend(store, ONE, 2)
        for number in (3, 4):
            await extend(store, execution(number), 1, parent_id=ONE)
        await branch(store, TWO, execution(3), at=1, count=1, parent_id=execution(9))
        await branch(store, execution(5), execution(3), at=1, count=1, parent_id=execution(3))
        page = await store.list_executions(ExecutionQuery(fork_of=execution(3)))
        assert [each.id for each in page.items] == [execution(5), TWO]
        assert page.total == 2
        assert (await store.list_executions(ExecutionQuery(fork_of=ONE))).total == 0


async def branch(
    store: StateStore,
    fork: ExecutionID,
    origin: ExecutionID,
    *,
    at: int,
    count: int,
    **columns: Any,
) -> list[Recorded]:
    """Let a fork begin with so many events of its own."""
    return await extend(
        store,
        fork,
        count,
        after=at,
        at=NOON + timedelta(hours=1),
        fork_of=origin,
        forked_at=Seq(at),
        **columns,
    )
