"""LangGraph with its SQLite saver, or without a checkpointer.

Its state is what its checkpoints hold, and they hold all of it each time: the graphs keep as little
in it as the workload allows (a number; one layer's results).
"""

from __future__ import annotations

import operator
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from bench.engine import Concurrently, Prepare
from bench.shapes import Parents, Workload

Layer = tuple[int, dict[int, int]]


def newest(held: Layer, new: Layer) -> Layer:
    """Keep the results of the newest layer only."""
    if not held or new[0] > held[0]:
        return new
    return held[0], {**held[1], **new[1]}


class One(TypedDict):
    """The state of a chain or a loop."""

    value: int


class Sum(TypedDict):
    """The state of a fan."""

    value: int
    total: Annotated[int, operator.add]


class Layers(TypedDict):
    """The state of layers."""

    layer: Annotated[Any, newest]
    value: int


@asynccontextmanager
async def opened(mode: str, folder: Path) -> AsyncIterator[Prepare]:
    """`mode` is a durability ("sync", "async") or "none" for no checkpointer."""
    async with AsyncExitStack() as stack:
        saver: Any = None
        if mode != "none":
            path = str(folder / "langgraph.db")
            saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(path))
            await saver.setup()

        def prepare(workload: Workload) -> Concurrently:
            graph, first = _built(workload)
            compiled = graph.compile(checkpointer=saver)
            durability = {} if saver is None else {"durability": mode}

            async def once() -> int:
                config = {
                    "recursion_limit": 10 * workload.node_runs,
                    "configurable": {"thread_id": str(uuid.uuid4())},
                }
                state = await compiled.ainvoke(first, config, **durability)
                value: int = state["value"]
                return value

            return Concurrently(workload, once)

        yield prepare


def _built(workload: Workload) -> tuple[Any, dict[str, Any]]:
    if workload.turns:
        return _loop(workload.turns), {"value": 1}
    if workload.name == "fan":
        return _fan(len(workload.parents)), {"value": 0, "total": 0}
    if workload.name == "layered":
        return _layered(workload.parents), {"layer": (-1, {}), "value": 0}
    return _chain(len(workload.parents)), {"value": 0}


async def _increment(state: One) -> dict[str, Any]:
    return {"value": 1 + state["value"]}


def _chain(nodes: int) -> Any:
    graph: Any = StateGraph(One)
    for index in range(nodes):
        graph.add_node(f"n{index}", _increment)
        graph.add_edge(f"n{index - 1}" if index else START, f"n{index}")
    graph.add_edge(f"n{nodes - 1}", END)
    return graph


def _loop(turns: int) -> Any:
    async def until(state: One) -> dict[str, Any]:
        return {"value": state["value"]}

    graph: Any = StateGraph(One)
    graph.add_node("body", _increment)
    graph.add_node("until", until)
    graph.add_edge(START, "body")
    graph.add_edge("body", "until")
    graph.add_conditional_edges("until", lambda state: "body" if state["value"] <= turns else END)
    return graph


def _fan(nodes: int) -> Any:
    async def between(state: Sum) -> dict[str, Any]:
        return {"total": 1 + state["value"]}

    async def last(state: Sum) -> dict[str, Any]:
        return {"value": 1 + state["total"]}

    graph: Any = StateGraph(Sum)
    graph.add_node("first", _increment)
    graph.add_node("last", last)
    graph.add_edge(START, "first")
    for index in range(1, nodes - 1):
        graph.add_node(f"n{index}", between)
        graph.add_edge("first", f"n{index}")
        graph.add_edge(f"n{index}", "last")
    graph.add_edge("last", END)
    return graph


def _layered(parents: Parents) -> Any:
    """All nodes of a layer run in one step, so an edge from each input is enough."""
    width = sum(not sources for sources in parents)
    graph: Any = StateGraph(Layers)
    for index, sources in enumerate(parents):
        graph.add_node(f"n{index}", _in_layer(index, width, sources))
        for source in sources:
            graph.add_edge(f"n{source}", f"n{index}")
        if not sources:
            graph.add_edge(START, f"n{index}")

    async def last(state: Layers) -> dict[str, Any]:
        return {"value": state["layer"][1][len(parents) - 1]}

    graph.add_node("last", last)
    graph.add_edge(f"n{len(parents) - 1}", "last")
    graph.add_edge("last", END)
    return graph


def _in_layer(index: int, width: int, sources: tuple[int, ...]) -> Callable[[Layers], Any]:
    async def node(state: Layers) -> dict[str, Any]:
        before = state["layer"][1]
        return {"layer": (index // width, {index: 1 + sum(before[each] for each in sources)})}

    return node
