"""Readers of one run: gapless, without duplicates, sharing what is read, never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.events import ExecutionAborted, NodeSkipped, Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.ports import ExecutionSummary, StateStore
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import StorageError, Unavailable
from dipeo_server.runtime.feed import PAGE_EVENTS, RING_EVENTS_MAX, EventFeed
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.opening import open_store
from tests.builders import NOON
from tests.runtime.watched import WatchedStore
from tests.runtime.world import seqs, soon

ID = ExecutionID("exec_0_read")


class Writer:
    """What an actor does for a feed: append, then publish."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.feed = EventFeed(store, ID, Seq(0))
        self.tail = 0

    async def write(self, count: int, *, end: bool = False) -> None:
        """Commit so many events, the last of them terminal if it is the end."""
        last = self.tail + count
        events = [
            Recorded(Seq(seq), NOON, NodeSkipped(f"node {seq}", "by_user"))
            for seq in range(self.tail + 1, last + 1)
        ]
        if end:
            events[-1] = Recorded(Seq(last), NOON, ExecutionAborted(None, None, TokenUsage()))
        row = ExecutionSummary(ID, ExecutionStatus.RUNNING, Seq(last))
        await self.store.append(ID, events, after=Seq(self.tail), summary=row)
        self.tail = last
        self.feed.publish(events)

    def later(self) -> EventFeed:
        """The feed that a process makes which did not see the events happen."""
        return EventFeed(self.store, ID, Seq(self.tail), has_ended=True)


@pytest.fixture(params=["memory", "sqlite"])
async def writer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Writer]:
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'read.db'}"
    store = await open_store(url)
    yield Writer(store)
    await store.close()


async def read(feed: EventFeed, after: int = 0) -> list[Seq]:
    """The sequences that a reader sees until the end."""
    async with asyncio.timeout(20):
        return [recorded.seq async for recorded in feed.read(Seq(after))]


async def test_a_reader_catches_up_and_goes_on_live(writer: Writer) -> None:
    await writer.write(10)
    reading = asyncio.create_task(read(writer.feed))
    await soon(lambda: writer.feed.readers == 1)
    await writer.write(1)
    await writer.write(5, end=True)
    assert await reading == list(range(1, 17))
    assert writer.feed.readers == 0


async def test_what_left_the_memory_is_read_from_the_store(writer: Writer) -> None:
    count = RING_EVENTS_MAX + 700
    await writer.write(count, end=True)
    for after in (0, 1, 699, 700, 701, count - 1):
        assert await read(writer.feed, after) == list(range(after + 1, count + 1))


async def test_behind_the_end_there_is_nothing_to_wait_for(writer: Writer) -> None:
    await writer.write(3, end=True)
    assert await read(writer.feed, 3) == []
    assert await read(writer.later(), 3) == []
    assert await read(writer.later(), 1) == [2, 3]


async def test_a_hundred_readers_share_their_reads() -> None:
    store = WatchedStore(MemoryStore())
    writer = Writer(store)
    await writer.write(10 * PAGE_EVENTS, end=True)
    feed = writer.later()
    found = await asyncio.gather(*(read(feed) for _ in range(100)))
    assert all(each == list(range(1, 10 * PAGE_EVENTS + 1)) for each in found)
    assert store.reads == 10


@given(
    batches=st.lists(st.integers(1, 400), min_size=1, max_size=8),
    readers=st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 7)), max_size=10),
    is_new_process=st.booleans(),
)
def test_whatever_a_reader_has_seen_it_sees_the_rest_once(
    batches: Sequence[int], readers: Sequence[tuple[int, int]], *, is_new_process: bool
) -> None:
    """Readers begin behind any event, before any batch, at any speed."""

    async def story() -> None:
        writer = Writer(MemoryStore())
        total = sum(batches)
        tasks: list[tuple[int, asyncio.Task[list[Seq]]]] = []
        for number, count in enumerate(batches):
            for after, begins in readers:
                if begins == number and after <= total:
                    tasks.append((after, asyncio.create_task(read(writer.feed, after))))
            await asyncio.sleep(0)
            await writer.write(count, end=number == len(batches) - 1)
        if is_new_process:
            feed = writer.later()
            tasks += [(a, asyncio.create_task(read(feed, a))) for a, _ in readers if a <= total]
        for after, task in tasks:
            assert await task == list(range(after + 1, total + 1))

    asyncio.run(story())


async def test_a_stalled_reader_slows_nobody_and_misses_nothing(writer: Writer) -> None:
    await writer.write(1)
    stalled = writer.feed.read(Seq(0))
    assert (await anext(stalled)).seq == 1
    others = [asyncio.create_task(read(writer.feed)) for _ in range(10)]
    count = 3 * RING_EVENTS_MAX
    for _ in range(0, count, 64):
        await writer.write(64)
    await writer.write(1, end=True)
    for other in others:
        assert await other == list(range(1, count + 3))
    assert seqs([recorded async for recorded in stalled]) == list(range(2, count + 3))


async def test_memory_holds_a_bounded_number_of_events_whoever_reads(writer: Writer) -> None:
    reader = writer.feed.read(Seq(0))
    for _ in range(4):
        await writer.write(RING_EVENTS_MAX)
    first = await anext(reader)
    assert first.seq == 1
    await reader.aclose()
    assert writer.feed.readers == 0


async def test_a_reader_that_leaves_takes_nobodys_read_along() -> None:
    store = WatchedStore(MemoryStore())
    writer = Writer(store)
    await writer.write(PAGE_EVENTS, end=True)
    feed = writer.later()
    first, second = (asyncio.create_task(read(feed)) for _ in range(2))
    await asyncio.sleep(0)
    assert feed.readers == 2
    first.cancel()
    assert await second == list(range(1, PAGE_EVENTS + 1))
    await asyncio.wait([first])
    assert (feed.readers, store.reads) == (0, 1)


async def test_a_store_that_fails_ends_its_readers_and_nobody_else() -> None:
    store = WatchedStore(MemoryStore())
    writer = Writer(store)
    await writer.write(RING_EVENTS_MAX + 1)
    store.read_fault = StorageError("no disk")
    with pytest.raises(StorageError, match="no disk"):
        await read(writer.feed)
    live = asyncio.create_task(read(writer.feed, 1))
    await soon(lambda: writer.feed.readers == 1)
    await writer.write(1, end=True)
    assert (await live)[-1] == writer.tail
    store.read_fault = None
    assert len(await read(writer.feed)) == writer.tail


async def test_readers_are_told_when_no_more_will_come(writer: Writer) -> None:
    await writer.write(2)
    found: list[Seq] = []

    async def follow() -> None:
        async with aclosing(writer.feed.read(Seq(0))) as events:
            async for recorded in events:
                found.append(recorded.seq)  # noqa: PERF401 - what comes before the error counts.

    following = asyncio.create_task(follow())
    await soon(lambda: found == [1, 2])
    writer.feed.fail(Unavailable("stopped"))
    with pytest.raises(Unavailable, match="stopped"):
        await following
    with pytest.raises(Unavailable):
        await read(writer.feed, 2)


async def test_a_run_that_has_ended_cannot_fail_its_readers(writer: Writer) -> None:
    await writer.write(2, end=True)
    writer.feed.fail(Unavailable("stopped"))
    assert await read(writer.feed) == [1, 2]


async def test_a_log_that_is_shorter_than_its_row_says_is_no_endless_wait(writer: Writer) -> None:
    await writer.write(2)
    feed = EventFeed(writer.store, ID, Seq(5))
    reader = feed.read(Seq(0))
    assert [(await anext(reader)).seq, (await anext(reader)).seq] == [1, 2]
    with pytest.raises(StorageError, match="should go on to 5, and ends at 2"):
        await anext(reader)


async def test_being_woken_for_nothing_is_no_event(writer: Writer) -> None:
    await writer.write(1)
    reading = asyncio.create_task(read(writer.feed))
    await soon(lambda: writer.feed.readers == 1)
    writer.feed.publish([])
    writer.feed.wake()
    await writer.write(1, end=True)
    assert await reading == [1, 2]
