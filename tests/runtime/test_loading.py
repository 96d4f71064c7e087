"""Executions come back from a checkpoint and what is behind it as from the whole log."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dipeo_server.domains.execution.checkpoint import (
    PRESETS,
    CheckpointPreset,
    CheckpointTrigger,
    TakenCheckpoint,
)
from dipeo_server.domains.execution.events import BarrierAction, BarrierWaiting, CheckpointSaved
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.signals import BarrierDecided, CheckpointRequested
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.runtime.loading import load
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.sqlite import SQLiteStore
from tests.builders import Story
from tests.runtime.watched import WatchedStore
from tests.runtime.world import asks, soon, world

X = ExecutionID("x")
PAGE = 5
COUNT = 12


async def stored(store: StateStore, count: int = COUNT, *, body: str = "value") -> Story:
    """A run of a chain with a checkpoint behind every node, in the store; it has not ended."""
    names = ["s", *(f"q{number}" for number in range(1, count + 1))]
    policy = (CheckpointTrigger.EVERY_STEP,)
    story = Story(" -> ".join(names), wish={"checkpoints": policy})
    taken: list[TakenCheckpoint] = []
    for number, name in enumerate(names[:-1]):
        story.returns(name, f"{body} {number}")
        taken += story.machine.taken()
    summary = summary_of(story.state)
    await store.append(X, story.log, after=Seq(0), summary=summary, checkpoints=taken)
    return story


def untouched(state: ExecutionState) -> ExecutionState:
    state.touched.clear()
    return state


async def same(store: StateStore, story: Story) -> None:
    """Every prefix is the same, loaded or folded."""
    for upto in range(len(story.log) + 1):
        machine = await load(store, X, upto=Seq(upto), page=PAGE)
        assert machine.last_seq == upto
        if upto:
            folded = ExecutionMachine.replay(story.log[:upto])
            assert untouched(machine.state) == untouched(folded.state), upto
    newest = await load(store, X, page=PAGE)
    assert untouched(newest.state) == untouched(story.state)


async def test_every_moment_is_loaded_as_it_was() -> None:
    store = MemoryStore()
    await same(store, await stored(store))


@pytest.mark.parametrize("body", ["x" * 3_000, "x" * 1_000])
async def test_large_bodies_are_read_from_the_log(body: str) -> None:
    store = MemoryStore()
    await same(store, await stored(store, body=body))


async def test_less_is_read_behind_a_checkpoint() -> None:
    store = WatchedStore(MemoryStore())
    story = await stored(store, 150)
    store.reads = 0
    await load(store, X, page=PAGE)
    short = store.reads
    await store.checkpoints.prune(X)
    store.reads = 0
    await load(store, X, page=PAGE)
    assert store.reads > len(story.log) // PAGE
    assert short < 10


async def test_short_logs_are_read_as_they_are() -> None:
    store = WatchedStore(MemoryStore())
    story = await stored(store)
    store.reads = 0
    machine = await load(store, X)
    assert untouched(machine.state) == untouched(story.state)
    assert store.reads <= 2


async def test_deleting_all_checkpoints_changes_nothing() -> None:
    store = MemoryStore()
    story = await stored(store)
    await store.checkpoints.prune(X)
    await same(store, story)


async def test_a_log_that_is_not_there_has_no_machine() -> None:
    assert (await load(MemoryStore(), X)).last_seq == 0


async def test_what_is_loaded_goes_on_with_differences() -> None:
    """004-48: what a new process takes rests on what the old one took."""
    store = MemoryStore()
    story = await stored(store, 30)
    machine = await load(store, X, page=PAGE)
    story.machine = machine
    story.returns(next(iter(story.running())), "more")
    (taken,) = machine.taken()
    assert taken.checkpoint.base < taken.checkpoint.at


@pytest.fixture
async def damaged(tmp_path: Path) -> Any:
    """A store on disk, what is in it, and a way to change checkpoints by hand."""
    store = await SQLiteStore.open(tmp_path / "store.db")
    story = await stored(store)

    def change(sql: str) -> None:
        with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
            connection.execute(sql)
            connection.commit()

    yield store, story, change
    await store.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE checkpoints SET payload = CAST('{}' AS BLOB)",
        "UPDATE checkpoints SET payload = substr(payload, 2)",
        "UPDATE checkpoints SET content_hash = 'abc'",
        "UPDATE checkpoints SET reason = 'NONE'",
        "UPDATE checkpoints SET at = at + 1 WHERE at = (SELECT max(at) FROM checkpoints)",
        "DELETE FROM checkpoints WHERE at = base",
    ],
)
async def test_damaged_ones_are_ignored_and_told(damaged: Any, sql: str) -> None:
    """004-50: what is corrupted is found, and the log folded in its place."""
    store, story, change = damaged
    change(sql)
    with capture_logs() as logs:
        machine = await load(store, X, page=PAGE)
    assert untouched(machine.state) == untouched(story.state)
    assert [each["event"] for each in logs] == ["checkpoint_ignored"]


async def test_without_the_table_full_of_them_nothing_is_told(damaged: Any) -> None:
    store, story, change = damaged
    change("DELETE FROM checkpoints")
    with capture_logs() as logs:
        await same(store, story)
    assert logs == []


# --- a live runner --------------------------------------------------------------------------------


def saved(events: Sequence[Any]) -> list[CheckpointSaved]:
    return [event for event in events if isinstance(event, CheckpointSaved)]


async def test_what_is_told_is_stored_in_the_same_commit() -> None:
    store = MemoryStore()
    policy = PRESETS[CheckpointPreset.CONSERVATIVE]
    async with world(store, {"g": asks}) as running:
        id_ = await running.start("s -> g.ok -> b -> d", checkpoints=policy)
        await running.until(id_, BarrierWaiting)
        await running.runner.signal(id_, CheckpointRequested())
        await running.runner.signal(id_, BarrierDecided(BarrierID("g", 1), BarrierAction.APPROVE))
        await running.ended(id_)
        told = saved(await running.events(id_))
        kept = await running.runner.checkpoints.listed(id_)
        assert [(each.checkpoint_id, each.at) for each in told] == [
            (each.id, each.at) for each in kept
        ]
        assert [each.trigger for each in kept] == [
            CheckpointTrigger.ON_REQUEST,
            CheckpointTrigger.BARRIER_RESOLVED,
            CheckpointTrigger.EXECUTION_COMPLETED,
        ]


async def test_a_run_that_was_woken_by_its_checkpoint_goes_on() -> None:
    """A log of more than a page: asleep, awake, restarted, and to its end."""
    store = MemoryStore()
    chain = " -> ".join(["s", *(f"q{number}" for number in range(600)), "g.ok", "b", "d"])
    policy = (CheckpointTrigger.HUMAN_DECISION,)
    async with world(store, {"g": asks}, idle_seconds=0.02) as running:
        id_ = await running.start(chain.replace("g.ok ->", "g; g.ok ->"), checkpoints=policy)
        await running.until(id_, BarrierWaiting)
        await running.runner.signal(id_, CheckpointRequested())
        (kept,) = await running.runner.checkpoints.listed(id_)
        assert kept.at > 1_000
        actor = running.runner._actors[id_]  # noqa: SLF001 - whether it sleeps shows nowhere else.
        await soon(lambda: actor._is_asleep)  # noqa: SLF001 - as above.
        seen = await running.runner.view(id_)
        assert seen is not None
        assert seen.status is ExecutionStatus.WAITING
    async with world(store, {"g": asks}) as running:
        await running.runner.signal(id_, BarrierDecided(BarrierID("g", 1), BarrierAction.APPROVE))
        ended = await running.ended(id_)
        assert ended.status is ExecutionStatus.COMPLETED
        assert running.visits.entered == ["b", "d"]
        folded = ExecutionMachine.replay(await running.log(id_))
        assert ended.outputs == folded.state.outputs
