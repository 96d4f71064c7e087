"""Graphs change while real handlers run: what is in flight stays in flight, once."""

from __future__ import annotations

from structlog.testing import capture_logs

from dipeo_server.domains.diagram.mutations import (
    DeleteNode,
    GraphMutation,
    UpsertEdge,
    UpsertNode,
    apply_mutations,
)
from dipeo_server.domains.execution.checkpoint import CheckpointTrigger, TakenCheckpoint
from dipeo_server.domains.execution.events import NodeStarted
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.signals import AbortRequested, GraphMutationRequested
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.runtime.loading import load
from dipeo_server.storage.memory import MemoryStore
from tests.builders import SPECS, Story
from tests.runtime.watched import WatchedStore
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


async def test_checkpoints_behind_a_change_have_its_graph() -> None:
    names = ["s", *(f"q{number}" for number in range(1, 12))]
    story = Story(" -> ".join(names), wish={"checkpoints": (CheckpointTrigger.EVERY_STEP,)})
    taken: list[TakenCheckpoint] = []
    for number, name in enumerate(names[:-1]):
        if number == 4:
            between = UpsertNode({"key": "more", "type": "pure"})
            new = apply_mutations(
                story.state.diagram,
                [
                    DeleteNode("q9"),
                    between,
                    UpsertEdge({"source": "q8", "target": "more"}),
                    UpsertEdge({"source": "more", "target": "q10"}),
                ],
                SPECS,
            ).executable
            story.tell(GraphMutationRequested(new, 0))
        story.returns("more" if name == "q9" else name, f"value {number}")
        taken += story.machine.taken()
    store = WatchedStore(MemoryStore())
    summary, x = summary_of(story.state), ExecutionID("x")
    await store.append(x, story.log, after=Seq(0), summary=summary, checkpoints=taken)
    with capture_logs() as logs:
        for upto in range(1, len(story.log) + 1):
            loaded = (await load(store, x, upto=Seq(upto), page=5)).state
            folded = ExecutionMachine.replay(story.log[:upto]).state
            loaded.touched.clear()
            folded.touched.clear()
            assert loaded == folded, upto
    assert logs == []
