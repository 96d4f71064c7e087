"""Source document 003, "Async Graph Executor": concurrency, dependence and events, line by line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.diagram import DomainNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.events import NodeCompleted, NodeFailed, NodeStarted
from dipeo_server.domains.execution.handlers import NodeOutput, create_node_output, node_handler
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import StoreLocked
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.storage.opening import open_store
from tests.acceptance.running import compiled, runner_on

gates: dict[str, asyncio.Event] = {}
inside: set[str] = set()
most_inside = 0


@node_handler("quick_step", pure=True)
async def quick_step(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """Comes back at once."""
    return create_node_output({"default": node.key})


@node_handler("held_step", pure=True)
async def held_step(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """Comes back when the test lets it."""
    await gates[node.key].wait()
    return create_node_output({"default": node.key})


@node_handler("counted_step", pure=True)
async def counted_step(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """Counts how many of its kind are inside at once."""
    global most_inside
    inside.add(node.key)
    most_inside = max(most_inside, len(inside))
    await ctx.sleep(0.01)
    inside.discard(node.key)
    return create_node_output({"default": node.key})


@node_handler("failing_step", pure=True)
async def failing_step(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """Fails."""
    raise ValueError("no")


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[LocalRunner]:
    async with runner_on(await open_store(f"sqlite:{tmp_path / 'a.db'}"), tmp_path) as running:
        yield running


async def started(runner: LocalRunner, text: str, **types: str) -> AsyncIterator[Any]:
    chosen = {key: "quick_step" for chain in text.split(";") for key in chain.split(" -> ")}
    clean = {key.strip(): type_ for key, type_ in chosen.items()} | types
    accepted = await runner.start(StartExecution(compiled(text, clean)))
    async for recorded in runner.events(accepted.execution_id):
        yield recorded.event


async def test_003_01_a_slow_branch_never_delays_another(runner: LocalRunner) -> None:
    gates["slow"] = asyncio.Event()
    done: list[str] = []
    text = "s -> slow -> e; s -> a -> b -> c -> d -> e"
    async with asyncio.timeout(20):
        async for event in started(runner, text, slow="held_step"):
            if isinstance(event, NodeCompleted):
                done.append(event.node_run.node)
                if event.node_run.node == "d":
                    assert "slow" not in done  # The whole other branch ran meanwhile.
                    gates["slow"].set()
    assert done[-2:] == ["slow", "e"]


async def test_003_02_a_dependent_node_starts_when_all_its_parents_are_done(
    runner: LocalRunner,
) -> None:
    order: list[str] = []
    async with asyncio.timeout(20):
        async for event in started(runner, "s -> a -> j -> e; s -> b -> j"):
            if isinstance(event, NodeStarted):
                order.append(f"start {event.node_run.node}")
            if isinstance(event, NodeCompleted):
                order.append(f"end {event.node_run.node}")
    assert order.index("start j") > order.index("end a")
    assert order.index("start j") > order.index("end b")


async def test_003_03_events_tell_of_every_node_in_real_time(runner: LocalRunner) -> None:
    gates["held"] = asyncio.Event()
    seen: list[str] = []
    async with asyncio.timeout(20):
        async for event in started(
            runner, "s -> held -> bad", held="held_step", bad="failing_step"
        ):
            if isinstance(event, NodeStarted | NodeCompleted | NodeFailed):
                seen.append(f"{type(event).__name__} {event.node_run.node}")
            if seen[-1:] == ["NodeStarted held"]:
                gates["held"].set()  # Told while it still ran.
    assert seen[-4:] == [
        "NodeStarted held",
        "NodeCompleted held",
        "NodeStarted bad",
        "NodeFailed bad",
    ]


async def test_003_w2_not_everything_runs_at_once(runner: LocalRunner) -> None:
    global most_inside
    most_inside = 0
    names = [f"n{number}" for number in range(100)]
    text = "; ".join(f"s -> {name}" for name in names)
    async with asyncio.timeout(30):
        async for _ in started(runner, text, **dict.fromkeys(names, "counted_step")):
            pass
    assert 1 < most_inside <= 64


async def test_003_w5_one_store_is_served_once(tmp_path: Path, runner: LocalRunner) -> None:
    with pytest.raises(StoreLocked, match="process"):
        await open_store(f"sqlite:{tmp_path / 'a.db'}")


async def test_003_w8_a_run_needs_nobody_who_watches_it(runner: LocalRunner) -> None:
    types = dict.fromkeys("abe", "quick_step")
    accepted = await runner.start(StartExecution(compiled("s -> a -> b -> e", types)))
    async with asyncio.timeout(20):
        ended = await runner.ended(accepted.execution_id)
    assert ended.status is ExecutionStatus.COMPLETED
