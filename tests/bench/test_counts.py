"""What a node costs, counted instead of timed: commits, thread hops, calls."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import pytest

from bench.contestants import ours
from bench.shapes import SHAPES, workload
from dipeo_server.domains.execution.commands import RunNode
from dipeo_server.domains.execution.events import Durability
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import create_node_output
from dipeo_server.domains.execution.signals import NodeReturned, StartRequested
from dipeo_server.storage.sqlite import SQLiteStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NODES = 200


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    store = await SQLiteStore.open(tmp_path / "store.db")
    yield store
    await store.close()


async def run_chain(store: SQLiteStore, durability: Durability, *, is_pure: bool) -> None:
    types = ours.node_types(is_pure=is_pure)
    async with ours.runner(store, types) as runner:
        await ours.run(runner, ours.compiled(workload("chain", NODES), types), durability)


async def test_a_node_of_a_strict_chain_takes_one_commit_and_one_thread_hop(
    store: SQLiteStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "aiosqlite")
    await run_chain(store, Durability.STRICT, is_pure=True)
    hops = [each for each in caplog.messages if each.startswith("executing")]
    assert NODES <= store.commits <= 1.05 * NODES
    # Opening and closing the store hop as well, a few times however long the chain is.
    assert len(hops) <= 1.05 * NODES + 30


async def test_a_node_with_effects_takes_one_commit_whatever_the_durability(
    store: SQLiteStore,
) -> None:
    await run_chain(store, Durability.ADAPTIVE, is_pure=False)
    assert NODES <= store.commits <= 1.05 * NODES


async def test_pure_nodes_share_commits(store: SQLiteStore) -> None:
    await run_chain(store, Durability.ADAPTIVE, is_pure=True)
    assert store.commits < NODES / 2


@pytest.mark.parametrize("shape", SHAPES)
def test_an_event_costs_as_many_calls_in_a_large_diagram_as_in_a_small_one(shape: str) -> None:
    assert calls_per_node(shape, 2_000) <= 1.1 * calls_per_node(shape, 100)


def calls_per_node(shape: str, nodes: int) -> float:
    """How many Python functions the machine calls for a node, from its start to its end."""
    work = workload(shape, nodes)
    diagram = ours.compiled(work, ours.node_types(is_pure=True))
    machine = ExecutionMachine()
    start = StartRequested(ExecutionID("x"), diagram, {}, max_steps=100_000)
    machine.receive(start, now=NOON)
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        run_all(machine)
    finally:
        sys.setprofile(before)
    assert machine.state.status.is_terminal
    return calls / work.node_runs


def run_all(machine: ExecutionMachine) -> None:
    result = create_node_output({"default": 1})
    while commands := machine.take_changes():
        for command in commands.values():
            if isinstance(command, RunNode):
                machine.receive(NodeReturned(command.node_run, result), now=NOON)
