"""Graphs of operations for the tests of source document 000."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from dipeo_server.executors import (
    ROOT_ID,
    Cell,
    ExecutionGraph,
    ExecutionState,
    MemoryStore,
    OperationCall,
    Stepped,
    open_store,
)
from dipeo_server.executors.operations import AsyncFunction
from dipeo_server.storage.opening import Store

Functions = dict[str, AsyncFunction]


async def price() -> int:
    return 3


async def amount(call: OperationCall) -> int:
    call.log("counting")
    call.log("hm", "stderr")
    return 4


async def total(price: int, amount: int) -> int:
    return price * amount


async def failing() -> None:
    raise ValueError("no")


async def greet(payload: str) -> str:
    return f"hello {payload}"


def given(value: Any) -> AsyncFunction:
    """A function that gives it."""

    async def gives() -> Any:
        return value

    return gives


class Gate:
    """A function that runs until it is let go."""

    def __init__(self) -> None:
        self.has_begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def work(self) -> str:
        self.has_begun.set()
        await self.may_end.wait()
        return "through"


@asynccontextmanager
async def graph_of(*cells: Cell | AsyncFunction, store: Any = None) -> AsyncIterator[Opened]:
    """An open graph, at a state that has these operations with the ids 1, 2, 3 …"""
    async with await ExecutionGraph.new(store or MemoryStore()) as graph:
        yield Opened(graph, await defined(graph, *cells))


class Opened:
    """A graph, and the state at which it has its operations."""

    def __init__(self, graph: ExecutionGraph, state: ExecutionState) -> None:
        self.graph = graph
        self.state = state

    async def steps(self, count: int) -> list[Stepped]:
        """So many steps, each from the state that the one before it came to."""
        found: list[Stepped] = []
        state = self.state
        for _ in range(count):
            found.append(await state.step_execution())
            state = found[-1].state
        return found


async def defined(
    graph: ExecutionGraph, *cells: Cell | AsyncFunction, at: UUID = ROOT_ID
) -> ExecutionState:
    """The state in which these operations were added to another one, all at once."""
    state = await graph.state(at)
    for each in cells:
        state, _ = state.upsert_operation(each if isinstance(each, Cell) else Cell(each))
    if cells:
        await graph.progress_graph(state)
    return await graph.state(state.id)


def ran(stepped: list[Stepped]) -> list[tuple[int, Any]]:
    """What each step ran, and what that gave."""
    return [(operation, output.value) for step in stepped for operation, output in step.outputs]


@asynccontextmanager
async def stored(folder: Path) -> AsyncIterator[Store]:
    """A store on disk."""
    store = await open_store(f"sqlite:{folder / 'graph.db'}")
    try:
        yield store
    finally:
        await store.close()
