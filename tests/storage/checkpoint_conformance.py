"""What every store must do with checkpoints; a test of a store gives the fixture."""

from __future__ import annotations

import pytest

from dipeo_server.domains.execution.checkpoint import StoredCheckpoint
from dipeo_server.domains.execution.checkpoint_store import KEPT_MAX, CheckpointChoice
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import ConcurrentAppend, IdempotencyMismatch, NotFound
from tests.storage.records import NOON, ONE, TWO, events, extend, keyed, row, taken


async def chain(store: StateStore, execution_id: ExecutionID = ONE) -> None:
    """Six events, and checkpoints at 1 (whole), 2, 3 (differences), 5 (whole) and 6."""
    plan = [(1, 1), (2, 1), (3, 1), (5, 5), (6, 5)]
    kept = [taken(execution_id, at, base=base, payload=b"[%d]" % at) for at, base in plan]
    await store.append(
        execution_id, events(6), after=Seq(0), summary=row(execution_id, 6), checkpoints=kept
    )


def parts(found: StoredCheckpoint | None) -> list[bytes]:
    assert found is not None
    return list(found.parts)


async def places(store: StateStore, execution_id: ExecutionID = ONE) -> list[int]:
    return [each.at for each in await store.checkpoints.listed(execution_id)]


class Checkpoints:
    """004-50: save, load, load the latest, list, delete, prune."""

    async def test_a_checkpoint_is_given_back_as_it_was_taken(self, store: StateStore) -> None:
        """004-49"""
        await chain(store)
        for at in (1, 2, 3, 5, 6):
            found = await store.checkpoints.find(ONE, Seq(at))
            base = 1 if at < 5 else 5
            assert found == taken(ONE, at, base=base, payload=b"[%d]" % at).checkpoint
        assert await store.checkpoints.find(ONE, Seq(4)) is None

    async def test_the_newest_is_loaded_with_what_it_is_made_up_from(
        self, store: StateStore
    ) -> None:
        await chain(store)
        assert parts(await store.checkpoints.load(ONE)) == [b"[5]", b"[6]"]

    @pytest.mark.parametrize(
        "upto, expected",
        [(1, [b"[1]"]), (2, [b"[1]", b"[2]"]), (4, [b"[1]", b"[2]", b"[3]"]), (5, [b"[5]"])],
    )
    async def test_the_newest_up_to_a_sequence_is_loaded(
        self, store: StateStore, upto: int, expected: list[bytes]
    ) -> None:
        await chain(store)
        assert parts(await store.checkpoints.load(ONE, upto=Seq(upto))) == expected

    async def test_where_none_was_taken_none_is_found(self, store: StateStore) -> None:
        await extend(store, ONE, 3)
        await chain(store, TWO)
        assert await store.checkpoints.load(ONE) is None
        assert await store.checkpoints.load(TWO, upto=Seq(0)) is None
        assert await places(store) == []

    async def test_a_checkpoint_is_not_there_without_its_events(self, store: StateStore) -> None:
        await extend(store, ONE, 2)
        with pytest.raises(ConcurrentAppend):
            await chain(store)
        assert await places(store) == []

    @pytest.mark.parametrize(
        "choice, left",
        [
            (CheckpointChoice((Seq(1), Seq(5))), [2, 3, 6]),
            (CheckpointChoice((Seq(3), Seq(3), Seq(4), Seq(99))), [1, 2, 5, 6]),
            (CheckpointChoice(()), [1, 2, 3, 5, 6]),
            (CheckpointChoice(keep=2), [5, 6]),
            (CheckpointChoice(), []),
        ],
    )
    async def test_those_that_are_chosen_are_deleted_and_counted_in_the_answer(
        self, store: StateStore, choice: CheckpointChoice, left: list[int]
    ) -> None:
        """G3: the key is stored with the deletion."""
        await chain(store)
        count = await store.delete_checkpoints(ONE, choice, now=NOON, answer=keyed("go"))
        assert (count, await places(store)) == (5 - len(left), left)
        answer = await store.find_answer("anna", "go", now=NOON)
        assert answer is not None
        assert (answer.execution_id, answer.answer["deleted"]) == (ONE, count)
        assert await store.delete_checkpoints(ONE, choice, now=NOON) == 0

    async def test_with_a_key_that_is_in_use_none_is_deleted(self, store: StateStore) -> None:
        """G3"""
        await chain(store)
        await extend(store, TWO, 1, keys=[keyed("go")])
        for choice in (CheckpointChoice(), CheckpointChoice((Seq(3),))):
            with pytest.raises(IdempotencyMismatch):
                await store.delete_checkpoints(ONE, choice, now=NOON, answer=keyed("go"))
        assert await places(store) == [1, 2, 3, 5, 6]

    async def test_checkpoints_are_listed_in_order(self, store: StateStore) -> None:
        await chain(store)
        assert await places(store) == [1, 2, 3, 5, 6]

    async def test_a_deleted_one_is_gone_and_others_stay_whole(self, store: StateStore) -> None:
        await chain(store)
        await store.checkpoints.delete(ONE, Seq(1))
        await store.checkpoints.delete(ONE, Seq(3))
        assert await places(store) == [2, 5, 6]
        assert parts(await store.checkpoints.load(ONE, upto=Seq(3))) == [b"[1]", b"[2]"]
        with pytest.raises(NotFound, match="at 3"):
            await store.checkpoints.delete(ONE, Seq(3))

    async def test_pruning_keeps_the_newest(self, store: StateStore) -> None:
        await chain(store)
        assert await store.checkpoints.prune(ONE, keep=2) == 3
        assert await places(store) == [5, 6]
        assert await store.checkpoints.prune(ONE, keep=2) == 0
        assert await store.checkpoints.prune(ONE) == 2
        assert await store.checkpoints.load(ONE) is None

    async def test_behind_deleted_ones_differences_go_on(self, store: StateStore) -> None:
        await chain(store)
        await store.checkpoints.prune(ONE)
        more = [taken(ONE, 7, base=5, payload=b"[7]")]
        new = events(1, after=6)
        await store.append(ONE, new, after=Seq(6), summary=row(ONE, 7), checkpoints=more)
        assert parts(await store.checkpoints.load(ONE)) == [b"[5]", b"[6]", b"[7]"]
        assert await places(store) == [7]

    async def test_a_fork_begins_from_those_of_its_origin(self, store: StateStore) -> None:
        await chain(store)
        fork = row(TWO, 5, fork_of=ONE, forked_at=Seq(4))
        own = [taken(TWO, 5, payload=b"[own]")]
        await store.append(TWO, events(1, after=4), after=Seq(4), summary=fork)
        assert parts(await store.checkpoints.load(TWO)) == [b"[1]", b"[2]", b"[3]"]
        assert await places(store, TWO) == []
        longer = row(TWO, 6, fork_of=ONE, forked_at=Seq(4), status=ExecutionStatus.COMPLETED)
        await store.append(TWO, events(1, after=5), after=Seq(5), summary=longer, checkpoints=own)
        assert parts(await store.checkpoints.load(TWO)) == [b"[own]"]
        assert parts(await store.checkpoints.load(TWO, upto=Seq(4))) == [b"[1]", b"[2]", b"[3]"]

    @pytest.mark.parametrize("is_all_whole", [True, False])
    async def test_no_more_than_so_many_are_kept(
        self, store: StateStore, *, is_all_whole: bool
    ) -> None:
        """The oldest are forgotten; what others are made up from stays, unseen."""
        count = KEPT_MAX + 100
        bases = (
            range(1, count + 1) if is_all_whole else [(at - 1) // 10 * 10 + 1 for at in _to(count)]
        )
        kept = [taken(ONE, at, base=base) for at, base in zip(_to(count), bases, strict=True)]
        for after in range(0, count, 50):
            await store.append(
                ONE,
                events(50, after=after),
                after=Seq(after),
                summary=row(ONE, after + 50),
                checkpoints=kept[after : after + 50],
            )
            assert len(await places(store)) <= KEPT_MAX + 50
        found = await places(store)
        assert found == list(range(count - len(found) + 1, count + 1))
        assert KEPT_MAX <= len(found) <= KEPT_MAX + 9
        for at in found[:12]:
            loaded = await store.checkpoints.load(ONE, upto=Seq(at))
            assert loaded is not None
            assert (loaded.checkpoint.at, len(loaded.parts)) == (at, at - bases[at - 1] + 1)
        assert await store.checkpoints.load(ONE, upto=Seq(found[0] - 1)) is None


def _to(count: int) -> range:
    return range(1, count + 1)
