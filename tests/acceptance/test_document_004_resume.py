"""Source document 004, resuming: a new process goes on where the old one was, with all it knew."""

from __future__ import annotations

from pathlib import Path

from dipeo_server.domains.execution.events import BarrierAction, BarrierWaiting, NodeStarted
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.signals import DecisionMade
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.domains.execution.status import BarrierStatus, ExecutionStatus
from dipeo_server.storage.sqlite import SQLiteStore
from tests.runtime.world import Gate, World, asks, tell, world


async def seen(running: World, id_: ExecutionID) -> ExecutionView:
    found = await running.runner.view(id_)
    assert found is not None
    return found


async def test_a_new_process_goes_on_with_every_node_that_was_next(tmp_path: Path) -> None:
    """004-W1: not at the start node, and not at one node alone."""
    gate = Gate()
    text = "s -> a -> b -> e; s -> c1 -> d -> e"
    store = await SQLiteStore.open(tmp_path / "a.db")
    async with world(store, {"b": gate, "d": gate}) as running:
        id_ = await running.start(text)
        await running.until(id_, NodeStarted, "b")
        await running.until(id_, NodeStarted, "d")
    await store.close()
    store = await SQLiteStore.open(tmp_path / "a.db")
    async with world(store) as running:
        assert (await running.ended(id_)).status is ExecutionStatus.COMPLETED
        assert sorted(running.visits.entered) == ["b", "d", "e"]
    await store.close()


async def test_a_new_process_knows_whatever_the_old_one_knew(tmp_path: Path) -> None:
    """004-W2: id, steps, log, occurrences, and the decisions made ahead of time are rows."""
    text = "s -> a -> g; g.no -> a; g.ok -> e"
    store = await SQLiteStore.open(tmp_path / "a.db")
    async with world(store, {"g": asks}) as running:
        id_ = await running.start(text)
        await running.until(id_, BarrierWaiting)
        approve = BarrierAction.APPROVE
        await running.runner.signal(id_, DecisionMade("g", 2, approve, reason="fine", actor="ann"))
        before, log = await seen(running, id_), await running.log(id_)
    await store.close()
    store = await SQLiteStore.open(tmp_path / "a.db")
    async with world(store, {"g": asks}) as running:
        assert await seen(running, id_) == before
        assert await running.log(id_) == log
        await tell(running, id_, BarrierAction.REJECT)
        ended = await running.ended(id_)
    await store.close()
    assert ended.status is ExecutionStatus.COMPLETED
    assert [barrier.status for barrier in ended.barriers] == [
        BarrierStatus.REJECTED,
        BarrierStatus.APPROVED,
    ]
    assert (ended.barriers[1].decided_by, ended.steps) == ("ann", before.steps + 3)
    assert ended.nodes[ended.diagram.index_of["g"]].occurrence == 2
