"""A large body lies beside the log, once; whoever needs it gets it, and nobody else."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.blobs import BlobRef
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import NodeCompleted
from dipeo_server.domains.execution.output import NodeOutput, create_node_output
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import StorageFull
from dipeo_server.runtime.bodies import INLINE_BYTES_MAX, Bodies
from dipeo_server.storage.blobs import MemoryBlobs
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.sqlite import SQLiteStore
from tests.runtime.watched import WatchedStore
from tests.runtime.world import Gate, world

LARGE = "x" * (INLINE_BYTES_MAX + 1)


async def large(ctx: ExecutionContext) -> NodeOutput:
    return create_node_output({"default": {"text": LARGE, "size": len(LARGE)}})


async def test_a_body_goes_out_of_the_log_only_where_it_is_large() -> None:
    bodies = Bodies(MemoryBlobs())
    within = "x" * (INLINE_BYTES_MAX - 2)  # With its quotes it is just as large as may be.
    small: list[Any] = [None, True, 7, 1.5, "text", [], within]
    for body in small:
        assert await bodies.put_if_large(body) is None
    ref = await bodies.put_if_large(within + "x")
    assert ref is not None
    assert ref.size == INLINE_BYTES_MAX + 1


@pytest.mark.parametrize("ahead", ["a", "q"])
async def test_whoever_comes_behind_gets_the_whole_body(ahead: str, tmp_path: Path) -> None:
    seen: list[Any] = []

    async def look(ctx: ExecutionContext) -> str:
        seen.append(ctx.visit.inputs["default"])
        seen.append(ctx.node_outputs[ahead].body)
        output = ctx.get_node_output(ahead)
        assert output is not None
        seen.append(output.value["default"])
        return "seen"

    store = await SQLiteStore.open(tmp_path / "store.db")
    async with world(store, {ahead: large, "b": look}) as running:
        id_ = await running.start(f"s -> {ahead} -> b -> c")
        assert (await running.ended(id_)).status is ExecutionStatus.COMPLETED
        events = await running.events(id_)
    ends = {e.node_run.node: e.output for e in events if isinstance(e, NodeCompleted)}
    assert ends[ahead].body is None
    assert ends[ahead].blob is not None
    assert ends["b"].blob is None
    assert seen == [{"text": LARGE, "size": len(LARGE)}] * 3
    await store.close()
    assert (tmp_path / "store.db").stat().st_size < INLINE_BYTES_MAX


async def test_conditions_on_edges_see_it(tmp_path: Path) -> None:
    async with world(MemoryStore(), {"a": large}) as running:
        edges = {
            "a>b": {"kind": "when", "condition": f"size > {INLINE_BYTES_MAX}"},
            "a>d": {"kind": "default"},
        }
        ended = await running.run("s -> a -> b; a -> d", edges=edges)
        assert set(ended.outputs) == {"s", "a", "b"}


async def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "store.db")
    gate = Gate()
    async with world(store, {"a": large, "b": gate}) as running:
        id_ = await running.start("s -> a -> b -> d")
        await gate.reached.wait()
    lengths: list[int] = []

    async def measure(ctx: ExecutionContext) -> str:
        lengths.append(len(ctx.visit.inputs["default"]["text"]))
        return "measured"

    async with world(store, {"b": measure}) as again:
        assert (await again.ended(id_)).status is ExecutionStatus.COMPLETED
    assert lengths == [len(LARGE)]
    await store.close()


async def test_the_same_body_is_kept_once(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "store.db")
    async with world(store, {"a": large, "b": large}) as running:
        await running.run("s -> a -> b")
        await running.run("s -> a -> b")
    await store.close()
    assert len([path for path in tmp_path.rglob("*.blobs/*/*") if path.is_file()]) == 1


async def test_what_is_kept_takes_no_more_memory_than_it_has_bytes() -> None:
    bodies = Bodies(MemoryBlobs())
    body = LARGE * 4
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        ref = await bodies.put_if_large(body)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ref is not None
    assert after - before < 1.5 * ref.size


class _NoRoom(MemoryBlobs):
    async def put(self, data: bytes) -> BlobRef:
        raise StorageFull(f"There is no room for {len(data)} bytes.")


async def test_where_the_disk_takes_no_blob_the_log_decides() -> None:
    """It stays in the event: if the log is full too, everything waits for space, and nothing is
    lost."""
    store = WatchedStore(MemoryStore())
    store.blobs = _NoRoom()
    async with world(store, {"a": large}) as running:
        id_ = await running.start("s -> a -> b")
        assert (await running.ended(id_)).status is ExecutionStatus.COMPLETED
        events = await running.events(id_)
    (end,) = [e for e in events if isinstance(e, NodeCompleted) and e.node_run.node == "a"]
    assert end.output.blob is None
    assert end.output.body["size"] == len(LARGE)


async def test_a_body_that_is_gone_fails_its_reader_with_a_word_on_it(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "store.db")
    gate = Gate()
    async with world(store, {"a": large, "b": gate}) as running:
        id_ = await running.start("s -> a -> b -> d")
        await gate.reached.wait()
    for path in tmp_path.rglob("*.blobs/*/*"):
        path.unlink()
    async with world(store) as again:
        ended = await again.ended(id_)
        assert ended.status is ExecutionStatus.FAILED
        assert ended.error is not None
        assert "is not there" in ended.error.message
    await store.close()
