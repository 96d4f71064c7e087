"""DBOS on SQLite: a workflow whose nodes are steps; what can run at once is gathered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dbos import DBOS

from bench.engine import Concurrently, Prepare
from bench.shapes import Parents, Workload


async def add(values: list[int]) -> int:
    """The trivial node."""
    return 1 + sum(values)


async def is_due(value: int, turns: int) -> bool:
    """The condition of the loop."""
    return value <= turns


@asynccontextmanager
async def opened(mode: str, folder: Path) -> AsyncIterator[Prepare]:
    """It has one mode."""
    url = f"sqlite:///{folder / 'dbos.db'}"
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    steps = DBOS.step()(add), DBOS.step()(is_due)
    workloads: dict[str, Workload] = {}

    async def execution(key: str) -> int:
        workload = workloads[key]
        if workload.turns:
            return await _loop(workload.turns, *steps)
        return await _graph(workload.parents, steps[0])

    workflow = DBOS.workflow()(execution)
    DBOS.launch()

    def prepare(workload: Workload) -> Concurrently:
        key = f"{workload.name} {workload.node_runs}"
        workloads[key] = workload
        return Concurrently(workload, lambda: workflow(key))

    try:
        yield prepare
    finally:
        DBOS.destroy()


async def _graph(parents: Parents, step: Any) -> int:
    """Level by level: its replay needs steps that begin in one order."""
    values: dict[int, int] = {}
    level: list[int] = []

    async def run_level() -> None:
        inputs = [[values[source] for source in parents[node]] for node in level]
        found = await asyncio.gather(*(step(each) for each in inputs))
        values.update(zip(level, found, strict=True))
        level.clear()

    for node, sources in enumerate(parents):
        if any(source not in values for source in sources):
            await run_level()
        level.append(node)
    await run_level()
    return values[len(parents) - 1]


async def _loop(turns: int, step: Any, condition: Any) -> int:
    value, again = 1, True
    while again:
        value = await step([value])
        again = await condition(value, turns)
    return value
