"""What every store must do when an execution is deleted: all of it goes, or nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.ports import ExecutionQuery, StateStore
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import IdempotencyMismatch, InvalidState, NotFound
from tests.storage.fork_conformance import branch
from tests.storage.records import NOON, ONE, TWO, execution, extend, keyed, line, row, taken

COMPLETED, WAITING = ExecutionStatus.COMPLETED, ExecutionStatus.WAITING
THREE, FOUR = execution(3), execution(4)


class Deletions:
    async def test_everything_of_an_execution_goes(self, store: StateStore) -> None:
        await extend(store, ONE, 2, keys=[keyed("start")])
        kept = await extend(store, TWO, 2)
        await store.append_logs(ONE, [line("printed")])
        summary = row(ONE, 2, COMPLETED)
        await store.append(
            ONE, [], after=Seq(2), summary=summary, checkpoints=[taken(ONE, 2, base=2)]
        )
        assert list(await store.delete(ONE, now=NOON)) == [ONE]
        assert await store.summary(ONE) is None
        assert list(await store.read(ONE)) == []
        assert list(await store.read_logs(ONE)) == []
        assert list(await store.checkpoints.listed(ONE)) == []
        assert list(await store.read(TWO)) == kept
        page = await store.list_executions(ExecutionQuery())
        assert ([each.id for each in page.items], page.total) == ([TWO], 1)

    async def test_whoever_repeats_a_mutation_of_it_still_gets_its_answer(
        self, store: StateStore
    ) -> None:
        await extend(store, ONE, 1, status=COMPLETED, keys=[keyed("start")])
        await store.delete(ONE, now=NOON)
        answer = await store.find_answer("anna", "start", now=NOON)
        assert answer is not None
        assert answer.execution_id == ONE

    async def test_it_is_answered_under_its_own_key(self, store: StateStore) -> None:
        await extend(store, ONE, 1, status=COMPLETED)
        await extend(store, TWO, 1, status=COMPLETED)
        await store.delete(ONE, now=NOON, answer=keyed("go"))
        answer = await store.find_answer("anna", "go", now=NOON)
        assert answer is not None
        assert answer.execution_id == ONE
        with pytest.raises(IdempotencyMismatch):
            await store.delete(TWO, now=NOON, answer=keyed("go"))
        assert await store.summary(TWO) is not None

    async def test_what_ran_below_it_goes_with_it(self, store: StateStore) -> None:
        await extend(store, ONE, 2, status=COMPLETED)
        await extend(store, TWO, 2, status=COMPLETED, parent_id=ONE)
        await extend(store, THREE, 2, status=COMPLETED, parent_id=TWO)
        await extend(store, FOUR, 2, status=COMPLETED)
        assert sorted(await store.delete(ONE, now=NOON)) == [ONE, TWO, THREE]
        page = await store.list_executions(ExecutionQuery())
        assert [each.id for each in page.items] == [FOUR]

    async def test_what_has_not_ended_stays(self, store: StateStore) -> None:
        shared = await extend(store, ONE, 2, status=WAITING)
        with pytest.raises(InvalidState, match="has not ended: it is WAITING"):
            await store.delete(ONE, now=NOON, answer=keyed("go"))
        assert list(await store.read(ONE)) == shared
        assert await store.find_answer("anna", "go", now=NOON) is None

    async def test_nothing_goes_while_something_below_runs(self, store: StateStore) -> None:
        await extend(store, ONE, 2, status=COMPLETED)
        await extend(store, TWO, 2, status=WAITING, parent_id=ONE)
        with pytest.raises(InvalidState, match=f"{TWO} has not ended"):
            await store.delete(ONE, now=NOON)
        assert await store.summary(ONE) is not None

    async def test_a_sub_diagrams_run_goes_only_with_its_parent(self, store: StateStore) -> None:
        await extend(store, ONE, 2, status=COMPLETED)
        await extend(store, TWO, 2, status=COMPLETED, parent_id=ONE)
        with pytest.raises(InvalidState, match=f"sub-diagram of {ONE}") as caught:
            await store.delete(TWO, now=NOON)
        assert caught.value.hint is not None

    async def test_what_forks_go_on_from_stays_until_they_are_gone(self, store: StateStore) -> None:
        await extend(store, ONE, 3, status=COMPLETED)
        own = await branch(store, TWO, ONE, at=2, count=1, parent_id=ONE, status=COMPLETED)
        with pytest.raises(InvalidState, match=f"Forks go on from {ONE}: {TWO}"):
            await store.delete(ONE, now=NOON)
        assert list(await store.read(TWO))[-1:] == own
        assert list(await store.delete(TWO, now=NOON)) == [TWO]
        assert list(await store.delete(ONE, now=NOON)) == [ONE]

    async def test_what_is_not_there_cannot_be_deleted(self, store: StateStore) -> None:
        with pytest.raises(NotFound):
            await store.delete(ONE, now=NOON)
        await extend(store, ONE, 1, status=COMPLETED)
        await store.delete(ONE, now=NOON)
        with pytest.raises(NotFound):
            await store.delete(ONE, now=NOON + timedelta(hours=1))
