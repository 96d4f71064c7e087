"""Runs of Graphs in a store on disk, and processes that leave them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.executors import (
    BarrierWaiting,
    Decision,
    Graph,
    GraphComplete,
    GraphExecution,
    GraphExecutor,
    open_store,
)
from tests.acceptance.walking import follow, passes

APPROVE = Decision.approve(by="ann")


@asynccontextmanager
async def on_disk(folder: Path) -> AsyncIterator[StateStore]:
    """A new store in that folder."""
    opened = await open_store(f"sqlite:{folder / 'runs.db'}")
    try:
        yield opened
    finally:
        await opened.close()


def gated(**functions: Any) -> Graph:
    """draft → gate → publish."""
    graph = Graph().node("draft", functions.get("draft", passes)).barrier("gate")
    graph.node("publish", functions.get("publish", passes))
    return graph.edge("draft", "gate").edge("gate", "publish")


async def die() -> None:
    """Whatever runs in this process is not run any more."""
    runs = [task for task in asyncio.all_tasks() if task.get_name() == "executor"]
    for task in runs:
        task.cancel()
    await asyncio.gather(*runs, return_exceptions=True)


async def waiting(executor: GraphExecutor) -> str:
    """A run that waits at its barrier, and that nobody runs any more."""
    execution = await executor.execute_stream({"n": 1})
    await follow(execution, until=BarrierWaiting)
    await die()
    return execution.handle.run_id


async def done(execution: GraphExecution, *decisions: Decision) -> list[Any]:
    """Everything that a run tells which completes."""
    told = await follow(execution, *decisions)
    assert isinstance(told[-1], GraphComplete)
    return told
