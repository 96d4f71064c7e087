"""pydantic-graph: nothing is kept. Joins of a few inputs each, as in layers, it does not have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic_graph import GraphBuilder, StepContext, reduce_sum

from bench.engine import Concurrently, Prepare
from bench.shapes import Workload


async def add(ctx: StepContext[None, None, int]) -> int:
    """The trivial node."""
    value: int = ctx.inputs
    return 1 + value


async def passed_on(ctx: StepContext[None, None, int]) -> int:
    """The condition of the loop: a decision follows it."""
    value: int = ctx.inputs
    return value


@asynccontextmanager
async def opened(mode: str, folder: Path) -> AsyncIterator[Prepare]:
    """There is nothing to open."""
    yield _prepared


def _prepared(workload: Workload) -> Concurrently:
    builder: Any = GraphBuilder(input_type=int, output_type=int)
    if workload.turns:
        _add_loop(builder, workload.turns)
    elif workload.name == "fan":
        _add_fan(builder, len(workload.parents))
    else:
        _add_chain(builder, len(workload.parents))
    graph = builder.build()
    first = 1 if workload.turns else 0

    async def once() -> int:
        found: int = await graph.run(inputs=first)
        return found

    return Concurrently(workload, once)


def _add_chain(builder: Any, nodes: int) -> None:
    steps = [builder.step(add, node_id=f"n{index}") for index in range(nodes)]
    stops = [builder.start_node, *steps, builder.end_node]
    for before, after in pairwise(stops):
        builder.add_edge(before, after)


def _add_fan(builder: Any, nodes: int) -> None:
    first, last = builder.step(add, node_id="first"), builder.step(add, node_id="last")
    between = [builder.step(add, node_id=f"n{index}") for index in range(nodes - 2)]
    joined = builder.join(reduce_sum, initial=0)
    builder.add_edge(builder.start_node, first)
    builder.add(builder.edge_from(first).to(*between), builder.edge_from(*between).to(joined))
    builder.add_edge(joined, last)
    builder.add_edge(last, builder.end_node)


def _add_loop(builder: Any, turns: int) -> None:
    body, until = builder.step(add, node_id="body"), builder.step(passed_on, node_id="until")
    again = builder.match(int, matches=lambda value: value <= turns).to(body)
    done = builder.match(int).to(builder.end_node)
    builder.add_edge(builder.start_node, body)
    builder.add_edge(body, until)
    builder.add(builder.edge_from(until).to(builder.decision().branch(again).branch(done)))
