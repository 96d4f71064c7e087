"""Source document 002: states that keep themselves, and what its notes on performance ask for."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.blobs import BlobRef, Blobs
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.envelope import EnvelopeFactory
from dipeo_server.domains.execution.events import NodeCompleted
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.managed_state import ExecutionStateProtocol, ManagedState
from dipeo_server.domains.execution.output import NodeOutput, create_node_output
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.domains.execution.state_manager import ExecutionStateManager
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.errors import NotFound
from dipeo_server.storage.opening import open_store
from tests.builders import diagram as diagram_of
from tests.runtime.watched import WatchedStore
from tests.runtime.world import world

LARGE = 1024 * 1024
CHAIN = " -> ".join(["s", *(f"q{number}" for number in range(40))])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    opened = await open_store(f"sqlite:{tmp_path / 'states.db'}")
    yield opened
    await opened.close()


# --- ExecutionStateProtocol ---------------------------------------------------------------------


def told(state: ExecutionStateProtocol) -> tuple[str, ExecutionStatus, bool, bool]:
    """Whose it is, how it stands, whether it has begun, whether it has ended."""
    has_begun, has_ended = state.start_time is not None, state.end_time is not None
    return state.execution_id, state.status, has_begun, has_ended


async def test_002_09_a_state_persists_and_restores_itself(store: StateStore) -> None:
    manager = ExecutionStateManager(store)
    context = ExecutionContext(diagram_of("s -> a -> e"), "exec-123")
    kept = ManagedState(manager, context.to_state())
    state: ExecutionStateProtocol = kept
    assert told(state) == ("exec-123", ExecutionStatus.STARTED, False, False)
    with pytest.raises(NotFound):
        await state.restore()
    for key in ("s", "a"):
        context.store_output(key, EnvelopeFactory.create(key, key.upper()))
        kept.value = context.to_state()
        await state.persist()
        assert state.node_states[key].status is NodeExecutionStatus.COMPLETED
    assert told(state) == ("exec-123", ExecutionStatus.RUNNING, True, False)

    other = ManagedState(ExecutionStateManager(store), context.to_state())
    await other.restore()
    assert other.value == kept.value
    context = ExecutionContext.from_state(other.value)
    assert context.completed_nodes == {"s", "a"}
    context.store_output("e", EnvelopeFactory.create("e", 3))
    other.value = context.to_state()
    await other.persist()
    assert told(other) == ("exec-123", ExecutionStatus.COMPLETED, True, True)
    assert told(state) == ("exec-123", ExecutionStatus.RUNNING, True, False)
    await state.restore()
    assert told(state) == told(other)


async def test_002_09_what_persists_can_be_taken_up_by_a_runner(store: StateStore) -> None:
    context = ExecutionContext(diagram_of("s -> a -> e"), "exec-123")
    context.store_output("s", EnvelopeFactory.create("s", 1))
    await ManagedState(ExecutionStateManager(store), context.to_state()).persist()
    async with world(store) as running:
        ended = await running.ended(ExecutionID("exec-123"))
        assert ended.status is ExecutionStatus.COMPLETED
        assert running.visits.entered == ["a", "e"]


# --- notes on performance -----------------------------------------------------------------------


class CountedBlobs:
    """Blobs that count how often one is fetched."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.fetched = 0

    async def put(self, data: bytes) -> BlobRef:
        return await self._blobs.put(data)

    async def get(self, ref: BlobRef) -> bytes:
        self.fetched += 1
        return await self._blobs.get(ref)

    def read(self, ref: BlobRef) -> bytes:
        self.fetched += 1
        return self._blobs.read(ref)


def watched(store: StateStore) -> tuple[WatchedStore, CountedBlobs]:
    watching, blobs = WatchedStore(store), CountedBlobs(store.blobs)
    watching.blobs = blobs
    return watching, blobs


async def gives_much(ctx: ExecutionContext) -> NodeOutput:
    return create_node_output({"default": ctx.node_run.node * LARGE})


async def test_002_11_large_outputs_are_fetched_only_by_who_looks_at_them(
    store: StateStore,
) -> None:
    watching, blobs = watched(store)
    async with world(watching, {"a": gives_much}) as running:
        ended = await running.run("s -> a -> b -> e; a -> d -> e")
    async with world(watching) as running:
        blobs.fetched = 0
        again = await running.runner.view(ended.id)
        assert again is not None
        output = again.outputs["a"]
        assert (output.body, blobs.fetched) == (None, 0)
        whole = await running.runner.loaded(output)
        assert (whole.body, blobs.fetched) == ("a" * LARGE, 1)


async def test_002_11_inputs_that_many_nodes_have_are_fetched_once_at_most(
    store: StateStore,
) -> None:
    seen: list[Any] = []

    async def look(ctx: ExecutionContext) -> str:
        seen.append(len(ctx.inputs["default"]))
        return "seen"

    watching, blobs = watched(store)
    readers = [f"r{number}" for number in range(8)]
    text = "s -> a; " + "; ".join(f"a -> {reader}" for reader in readers)
    async with world(watching, {"a": gives_much, **dict.fromkeys(readers, look)}) as running:
        assert (await running.run(text)).status is ExecutionStatus.COMPLETED
    assert seen == [LARGE] * len(readers)
    assert blobs.fetched <= 1


async def test_002_11_states_are_written_in_batches(store: StateStore) -> None:
    watching, _ = watched(store)
    async with world(watching) as running:
        ended = await running.run(CHAIN)
        events = await running.events(ended.id)
    assert sum(isinstance(event, NodeCompleted) for event in events) > 40
    assert watching.commits < len(events) / 2


async def test_002_11_independent_nodes_run_side_by_side(store: StateStore) -> None:
    names = ["a", "b", "d"]
    meeting = asyncio.Barrier(len(names))

    async def meet(ctx: ExecutionContext) -> str:
        await meeting.wait()  # Nobody leaves before all have come.
        return ctx.node_run.node

    async with world(store, dict.fromkeys(names, meet)) as running:
        ended = await running.run("; ".join(f"s -> {name} -> e" for name in names))
        assert ended.status is ExecutionStatus.COMPLETED
        assert running.visits.most_inside == len(names)


class Text(str):
    """A text that tells when nobody has it any more."""


async def test_002_11_large_outputs_leave_the_memory_and_stay_in_the_store(
    store: StateStore,
) -> None:
    alive: list[weakref.ref[Text]] = []

    async def gives(ctx: ExecutionContext) -> NodeOutput:
        made = Text(ctx.node_run.node * LARGE)
        alive.append(weakref.ref(made))
        return create_node_output({"default": made})

    def left() -> Sequence[Text]:
        gc.collect()
        return [text for text in (ref() for ref in alive) if text is not None]

    held = asyncio.Event()
    counts: list[int] = []

    async def look(ctx: ExecutionContext) -> str:
        counts.append(len(left()))
        held.set()
        return "looked"

    async with world(store, {"a": gives, "b": gives, "d": look}) as running:
        request = StartExecution(diagram_of("s -> a -> b -> d -> e"))
        run = (await running.runner.start(request)).execution_id
        assert (await running.ended(run)).status is ExecutionStatus.COMPLETED
        assert held.is_set()
        # While the run goes on, of what has been taken nothing is left but what is in use.
        assert counts[0] <= 1
        assert left() == []
        found = await running.runner.view(run)
        assert found is not None
        assert (await running.runner.loaded(found.outputs["a"])).body == "a" * LARGE
