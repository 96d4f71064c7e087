"""Graphs change while real handlers run: what is in flight stays in flight, once."""

from __future__ import annotations

from dipeo_server.domains.diagram.mutations import DeleteNode, GraphMutation, apply_mutations
from dipeo_server.domains.execution.events import NodeStarted
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.signals import AbortRequested, GraphMutationRequested
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.storage.memory import MemoryStore
from tests.builders import SPECS
from tests.runtime.world import Gate, World, world


async def change(running: World, id_: ExecutionID, *mutations: GraphMutation) -> None:
    view = await running.runner.view(id_)
    assert view is not None
    new = apply_mutations(view.diagram, mutations, SPECS).executable
    await running.runner.signal(id_, GraphMutationRequested(new, view.revision))


async def test_what_runs_goes_on_though_its_place_in_the_graph_is_another() -> None:
    store, gate = MemoryStore(), Gate()
    async with world(store, {"b": gate}) as running:
        id_ = await running.start("s -> a -> x; s -> b -> e")
        await running.until(id_, NodeStarted, "b")
        await change(running, id_, DeleteNode("x"), DeleteNode("a"))
        gate.opened.set()
        ended = await running.ended(id_)
        assert ended.status is ExecutionStatus.COMPLETED
        assert [node.key for node in ended.diagram.nodes] == ["s", "b", "e"]
        started = [each for each in await running.events(id_) if isinstance(each, NodeStarted)]
        assert [each.node_run.node for each in started].count("b") == 1
        again = ExecutionMachine.replay(await running.log(id_)).state
        assert again.diagram == ended.diagram
    await store.close()


async def test_what_runs_is_stopped_at_its_new_place() -> None:
    store, gate = MemoryStore(), Gate()
    async with world(store, {"b": gate}) as running:
        id_ = await running.start("s -> a -> x; s -> b -> e")
        await running.until(id_, NodeStarted, "b")
        await change(running, id_, DeleteNode("x"), DeleteNode("a"))
        await running.runner.signal(id_, AbortRequested())
        assert (await running.ended(id_)).status is ExecutionStatus.ABORTED
    await store.close()
