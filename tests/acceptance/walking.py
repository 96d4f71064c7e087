"""Runs of Graphs, and what they told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from dipeo_server.executors import (
    BarrierWaiting,
    Decision,
    Graph,
    GraphEvent,
    GraphExecution,
    GraphExecutor,
    GraphResult,
    StateView,
)

E = TypeVar("E")


async def passes(state: StateView) -> None:
    """Changes nothing, and goes on as the edges say."""


def puts(**changes: Any) -> Any:
    """A node that puts these into the state."""

    async def put(state: StateView) -> Mapping[str, Any]:
        return changes

    return put


def gives(result: Any) -> Any:
    """A node that returns this."""

    async def give(state: StateView) -> Any:
        return result

    return give


def line(*names: str, **functions: Any) -> Graph:
    """Nodes one behind the other; those without a function change nothing."""
    graph = Graph()
    for name in names:
        graph.node(name, functions.get(name, passes))
    for source, target in itertools.pairwise(names):
        graph.edge(source, target)
    return graph


def nodes_of(result: GraphResult) -> list[str]:
    """The nodes of a result's log, in order."""
    return [entry.node for entry in result.execution_log]


async def walk(graph: Graph, state: Mapping[str, Any] | None = None) -> GraphResult:
    """Run a graph without people."""
    async with asyncio.timeout(20):
        return await GraphExecutor(graph).execute(state)


async def follow(
    execution: GraphExecution, *decisions: Decision, until: type[Any] | None = None
) -> list[GraphEvent]:
    """Everything a run tells, its barriers decided one after the other as they wait."""
    told: list[GraphEvent] = []
    left = list(decisions)
    async with asyncio.timeout(20), aclosing(execution.stream) as stream:
        async for event in stream:
            told.append(event)
            if until is not None and isinstance(event, until):
                return told
            if isinstance(event, BarrierWaiting) and left:
                await execution.handle.decide(event.barrier_id, left.pop(0))
    return told


def again(execution: GraphExecution) -> GraphExecution:
    """The same run, told once more from its beginning."""
    return GraphExecution(execution.handle.events(), execution.handle)


def of(kind: type[E], told: list[GraphEvent]) -> list[E]:
    """The events of that kind."""
    return [event for event in told if isinstance(event, kind)]
