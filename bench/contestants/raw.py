"""Bare asyncio: a task per node, nothing is kept. What no engine can be faster than."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.engine import Concurrently, Prepare
from bench.shapes import Parents, Workload


@asynccontextmanager
async def opened(mode: str, folder: Path) -> AsyncIterator[Prepare]:
    """There is nothing to open."""
    yield lambda workload: Concurrently(workload, lambda: _run(workload))


async def _run(workload: Workload) -> int:
    return await (_loop(workload.turns) if workload.turns else _graph(workload.parents))


async def add(values: list[int]) -> int:
    """The trivial node."""
    return 1 + sum(values)


async def _is_due(value: int, turns: int) -> bool:
    return value <= turns


async def _graph(parents: Parents) -> int:
    tasks: list[asyncio.Task[int]] = []

    async def node(sources: tuple[int, ...]) -> int:
        return await add([await tasks[source] for source in sources])

    tasks.extend(asyncio.create_task(node(sources)) for sources in parents)
    return await tasks[-1]


async def _loop(turns: int) -> int:
    value, again = 1, True
    while again:
        value = await asyncio.create_task(add([value]))
        again = await asyncio.create_task(_is_due(value, turns))
    return value
