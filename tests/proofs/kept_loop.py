"""What runs in the processes that get killed: a loop that is kept at every step."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.executors import CheckpointSaved, Graph, GraphExecution, GraphExecutor, StateView
from dipeo_server.storage.sqlite import SQLiteStore

TURNS = 400
"""More than a page of events, so that a new process comes back by a checkpoint."""


async def _count(state: StateView) -> Mapping[str, Any]:
    count = state["n"] + 1
    return {"n": count, f"k{count % 7}": "x" * (count * 37 % 3_000)}


def executor(store: StateStore) -> GraphExecutor:
    """Counts to TURNS, whoever goes on with it."""
    graph = Graph().node("count", _count, after_crash="rerun")
    graph.node("last", _count, after_crash="rerun")
    graph.edge("count", "count", when=f"n < {TURNS}").edge("count", "last")
    return GraphExecutor(graph, 10 * TURNS, store, ["EVERY_STEP", "ON_REQUEST"])


async def begun(store: StateStore) -> GraphExecution:
    """The run that is in the store, or the first one."""
    active = list(await store.active())
    if active:
        return await executor(store).resume_from(active[0])
    return await executor(store).execute_stream({"n": 0})


def count_until_killed(path: Path, told: Connection) -> None:
    """Run it, and tell of every state that is kept; None = it has come to its end."""
    asyncio.run(_run(path, told))


async def _run(path: Path, told: Connection) -> None:
    store = await SQLiteStore.open(path)
    active = list(await store.active())
    known = await store.summary(active[0]) if active else None
    execution = await begun(store)
    before = known.last_seq if known else 0
    async with aclosing(execution.stream) as events:
        async for event in events:
            if isinstance(event, CheckpointSaved) and event.sequence > before:
                told.send(event.sequence)
    told.send(None)
    await store.close()
