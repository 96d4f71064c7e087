"""What forks take on disk: next to nothing, however much their run has stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import NodeStarted
from dipeo_server.domains.execution.output import HandlerResult, create_node_output
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.storage.sqlite import SQLiteStore
from tests.runtime.test_forking import fork, turning
from tests.runtime.world import Deed, world

MIB = 1024 * 1024


def large(mebibytes: int) -> dict[str, Deed]:
    """Deeds for a loop whose every turn gives another MiB."""

    async def gives(ctx: ExecutionContext) -> HandlerResult:
        return create_node_output({"default": f"{ctx.node_run.occurrence}".rjust(MIB, "x")})

    return {"a": gives, "c": turning(mebibytes)}


def weight(folder: Path) -> dict[str, int]:
    """The bytes of all files below, by the part of the store that they are of."""
    found: dict[str, int] = {"store.db": 0, "store.db-wal": 0, "store.db.blobs": 0}
    for each in folder.rglob("*"):
        if each.is_file():
            part = each.relative_to(folder).parts[0]
            found[part] = found.get(part, 0) + each.stat().st_size
    return found


async def room_for_forks(folder: Path, mebibytes: int, forks: int) -> int:
    """How many bytes so many forks add to a store, its blobs and its write-ahead log."""
    path = folder / "store.db"
    store = await SQLiteStore.open(path)
    async with world(store, large(mebibytes)) as running:
        ended = await running.run("s -> a -> c; c.t -> a; c.f -> e")
        log = await running.log(ended.id)
    await store.close()
    before = weight(folder)
    assert before["store.db.blobs"] > mebibytes * MIB > before["store.db"]
    again = [
        each.seq
        for each in log[-20:]
        if isinstance(each.event, NodeStarted) and each.event.node_run.node in "ae"
    ]
    store = await SQLiteStore.open(path)
    async with world(store, large(mebibytes)) as running:
        for number in range(forks):
            forked = await running.ended(await fork(running, ended.id, again[number % len(again)]))
            assert forked.status is ExecutionStatus.COMPLETED
    await store.close()
    after = weight(folder)
    assert after["store.db.blobs"] == before["store.db.blobs"]
    return sum(after.values()) - sum(before.values())


async def test_forks_of_a_run_with_large_outputs_share_them(tmp_path: Path) -> None:
    assert await room_for_forks(tmp_path, 3, 20) < MIB


@pytest.mark.prove
@pytest.mark.timeout(600)
async def test_a_hundred_forks_of_fifty_mebibytes_of_blobs_share_them(tmp_path: Path) -> None:
    grown = await room_for_forks(tmp_path, 50, 100)
    print(f"100 forks of a run with 50 MiB in blobs: {grown / MIB:.2f} MiB")
    assert grown < 2 * MIB
