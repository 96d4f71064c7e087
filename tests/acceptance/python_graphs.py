"""Graphs of async functions for an AsyncGraphExecutor, from one line of text."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dipeo_server.executors import AsyncGraphExecutor, NodeCall, RunResults

Deed = Callable[[NodeCall], Awaitable[Any]]


async def named(call: NodeCall) -> str:
    return call.node


async def failing(call: NodeCall) -> None:
    raise ValueError("no")


def graph(text: str, data: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """`a -> b -> c; a -> d` as nodes and edges."""
    chains = [[stop.strip() for stop in chain.split("->")] for chain in text.split(";")]
    keys = list(dict.fromkeys(key for chain in chains for key in chain))
    nodes = [{"id": key, "data": dict((data or {}).get(key, {}))} for key in keys]
    pairs = [pair for chain in chains for pair in itertools.pairwise(chain)]
    return {"nodes": nodes, "edges": [{"source": a, "target": b} for a, b in pairs]}


def executor(
    workflow: dict[str, Any], deeds: Mapping[str, Deed] | None = None, **options: Any
) -> AsyncGraphExecutor:
    """Nodes without a deed give their names."""
    handlers = {node["id"]: named for node in workflow["nodes"]} | dict(deeds or {})
    return AsyncGraphExecutor(workflow, handlers=handlers, **options)


async def run(text: str, deeds: Mapping[str, Deed] | None = None, **options: Any) -> RunResults:
    async with asyncio.timeout(20):
        return await executor(graph(text), deeds, **options).execute()
