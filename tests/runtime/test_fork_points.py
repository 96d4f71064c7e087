"""How runs stood somewhere is found without holding their logs, or holding anybody up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from dipeo_server.domains.execution.checkpoint import CheckpointTrigger, TakenCheckpoint
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.forking import forkable_until, undone
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.runner import ForkExecution
from dipeo_server.domains.execution.signals import CheckpointRequested
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.errors import InvalidInput
from dipeo_server.runtime.fork_points import fork_point, last_by, last_forkable
from dipeo_server.runtime.history import PAGE_EVENTS
from dipeo_server.storage.memory import MemoryStore
from tests.builders import NOON, Story
from tests.histories.folding import LOGS, read
from tests.runtime.test_forking import turning
from tests.runtime.watched import WatchedStore
from tests.runtime.world import world

X = ExecutionID("x")
TURNS = 650


class CountingStore(WatchedStore):
    """Counts the events that are read, and how often others had a turn between two reads."""

    def __init__(self, store: StateStore) -> None:
        super().__init__(store)
        self.events = 0
        self.turns = 0
        self.turns_at: list[int] = []

    async def read(
        self, execution_id: ExecutionID, *, after: Seq = Seq(0), limit: int = 256
    ) -> Sequence[Recorded]:
        found = await super().read(execution_id, after=after, limit=limit)
        self.events += len(found)
        if len(found) == PAGE_EVENTS:
            self.turns_at.append(self.turns)
        return found

    async def count_turns(self) -> None:
        """Take a turn whenever there is one."""
        while True:
            self.turns += 1
            await asyncio.sleep(0)


async def keep(store: StateStore, log: Sequence[Recorded], *taken: TakenCheckpoint) -> None:
    """Write a log as if the run were `x`."""
    state = ExecutionMachine.replay(log).state
    state.id, state.fork_of, state.forked_at = X, None, None
    summary = summary_of(state)
    await store.append(X, log, after=Seq(0), summary=summary, checkpoints=taken)


@pytest.mark.parametrize("file", sorted(LOGS.glob("*.jsonl")), ids=lambda path: path.stem)
async def test_every_place_is_found_as_in_the_whole_log(file: Path) -> None:
    log, store = read(file), MemoryStore()
    await keep(store, log)
    until = forkable_until(log)
    assert await last_forkable(store, X) == until
    for at in range(len(log) + 2):
        for size in (1, 16):
            point = await fork_point(store, X, Seq(at), size=size)
            assert (point is not None) is (1 <= at <= until), at
            if point is None:
                continue
            assert point.last == log[at - 1]
            assert point.undone == undone(log[:at]), at
            expected = ExecutionMachine.replay(log[:at]).state
            expected.touched, point.machine.state.touched = set(), set()
            assert point.machine.state == expected, at


async def test_the_last_event_by_a_moment_is_found() -> None:
    story = Story("s -> a -> b -> e")
    for key in ("s", "a", "b", "e"):
        story.wait(10)
        story.returns(key)
    store = MemoryStore()
    await keep(store, story.log)
    for seconds in range(-5, 60, 5):
        moment = NOON + timedelta(seconds=seconds)
        expected = sum(each.at <= moment for each in story.log)
        assert await last_by(store, X, Seq(len(story.log)), moment) == expected


def long_story(kept_at: int = 0) -> tuple[Story, list[TakenCheckpoint]]:
    """A run of a loop with more than two pages of events, kept behind one of its turns."""
    props = {key: {"max_iteration": 10**6} for key in ("a", "c")}
    wish = {"checkpoints": (CheckpointTrigger.ON_REQUEST,)}
    story = Story("s -> a -> c; c.t -> a; c.f -> e", max_steps=10**6, props=props, wish=wish)
    story.returns("s")
    for turn in range(1, TURNS + 1):
        story.returns("a", turn)
        if turn == kept_at:
            story.tell(CheckpointRequested())
        story.returns("c", turn, port="condtrue" if turn < TURNS else "condfalse")
    story.returns("e")
    assert len(story.log) > 2 * PAGE_EVENTS
    return story, story.machine.taken()


async def test_others_have_their_turns_while_a_long_log_is_folded_for_a_fork() -> None:
    story, _ = long_story()
    store = CountingStore(MemoryStore())
    await keep(store, story.log)
    async with world(store, {"c": turning(TURNS)}) as running:
        ticking = asyncio.create_task(store.count_turns())
        try:
            at = Seq(len(story.log) - 6)  # `a` runs, for the last time.
            fork = (await running.runner.fork(ForkExecution(X, at))).execution_id
        finally:
            ticking.cancel()
        assert len(store.turns_at) >= 2
        assert len(set(store.turns_at)) == len(store.turns_at)
        assert (await running.ended(fork)).status is ExecutionStatus.COMPLETED


async def test_a_fork_is_made_from_the_newest_checkpoint_on() -> None:
    story, taken = long_story(kept_at=TURNS - 5)
    store = CountingStore(MemoryStore())
    await keep(store, story.log, *taken)
    async with world(store, {"c": turning(TURNS)}) as running:
        store.events = 0
        at = Seq(len(story.log) - 6)  # `a` runs, for the last time.
        fork = (await running.runner.fork(ForkExecution(X, at))).execution_id
        # The first page, which tells whether a checkpoint saves anything, and then the end.
        assert store.events < PAGE_EVENTS + 200
        ended = await running.ended(fork)
        assert ended.status is ExecutionStatus.COMPLETED
        assert ended.outputs["a"].body == "a"
        assert (await running.log(fork))[:at] == story.log[:at]


@pytest.mark.parametrize("kept_at", [0, TURNS - 5])
async def test_what_was_is_folded_beside_other_work_and_from_checkpoints_on(kept_at: int) -> None:
    """What a change of the graph would come to is asked of such a state."""
    story, taken = long_story(kept_at)
    store = CountingStore(MemoryStore())
    await keep(store, story.log, *taken)
    async with world(store) as running:
        store.events, store.turns_at = 0, []
        ticking = asyncio.create_task(store.count_turns())
        try:
            state = await running.runner.past(X, Seq(len(story.log) - 6))
        finally:
            ticking.cancel()
        assert state is not None
        assert state.last_seq == len(story.log) - 6
        assert len(set(store.turns_at)) == len(store.turns_at) == (1 if kept_at else 2)
        assert (store.events < PAGE_EVENTS + 100) is bool(kept_at)


async def test_what_is_far_beyond_the_log_is_refused_at_once() -> None:
    story, _ = long_story()
    store = CountingStore(MemoryStore())
    await keep(store, story.log)
    async with world(store) as running:
        store.events = 0
        with pytest.raises(InvalidInput, match=f"at 1 to {len(story.log) - 1}, not at 1000000"):
            await running.runner.fork(ForkExecution(X, Seq(1_000_000)))
        assert store.events <= len(story.log)
