"""What holds, frees or ends a run does so with the runs of its sub-diagrams."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeGuard

import pytest

from dipeo_server.domains.execution.children import ChildRun
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import (
    Event,
    ExecutionStatusChanged,
    NodeInterrupted,
    NodeStarted,
    PauseCause,
)
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    OutputGiven,
    PauseRequested,
    ResumeRequested,
    Signal,
    SkipRequested,
    StepRequested,
)
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.runtime.perform import ConcurrencyLimits
from dipeo_server.storage.memory import MemoryStore
from tests.runtime.world import SECONDS_MAX, Deed, Gate, World, soon, world

_E = ExecutionStatus
CHILDREN: Mapping[str, str] = {"one": "s -> inner -> last -> e", "outer": "s -> middle -> e"}


def runs(name: str) -> Deed:
    """A deed: run that diagram as a child."""

    async def deed(ctx: ExecutionContext) -> str:
        child = ChildRun(name, None, None, {})
        result = await ctx.services.sub_diagrams.run(child)
        assert result.status is _E.COMPLETED, result
        return "done"

    return deed


async def child_of(running: World, parent: ExecutionID) -> ExecutionView:
    page = await running.runner.list_executions(ExecutionQuery(parent_id=parent))
    (row,) = page.items
    found = await running.runner.view(row.id)
    assert found is not None
    return found


async def status_of(running: World, id_: ExecutionID) -> ExecutionStatus:
    found = await running.runner.view(id_)
    assert found is not None
    return found.status


def deeds(gate: Gate) -> dict[str, Any]:
    return {"a": runs("one"), "b": runs("outer"), "middle": runs("one"), "inner": gate}


async def test_a_pause_is_acknowledged_when_the_children_are_paused_too() -> None:
    gate = Gate()
    store = MemoryStore()
    async with world(store, deeds(gate), children=CHILDREN, free=("work",)) as running:
        parent = await running.start("s -> b -> e")
        await gate.reached.wait()
        await running.runner.signal(parent, PauseRequested())
        child = await child_of(running, parent)
        grandchild = await child_of(running, child.id)
        assert (child.pause_cause, grandchild.pause_cause) == (PauseCause.PARENT,) * 2
        gate.opened.set()
        await running.until(grandchild.id, ExecutionStatusChanged)
        entered = list(running.visits.entered)
        assert "last" not in entered
        await running.runner.signal(parent, ResumeRequested())
        assert (await running.ended(parent)).status is _E.COMPLETED
        assert "last" in running.visits.entered


async def test_pause_now_keeps_the_children_and_goes_on_with_them() -> None:
    gate = Gate()
    store = MemoryStore()
    async with world(store, deeds(gate), children=CHILDREN, free=("work",)) as running:
        parent = await running.start("s -> a -> e")
        await gate.reached.wait()
        child = await child_of(running, parent)
        await running.runner.signal(parent, PauseRequested(PauseMode.NOW))
        assert (await child_of(running, parent)).pause_cause is PauseCause.PARENT
        await soon(lambda: not running.visits.inside)
        gate.opened.set()
        await running.runner.signal(parent, ResumeRequested())
        assert (await running.ended(parent)).status is _E.COMPLETED
        assert await status_of(running, child.id) is _E.COMPLETED
        assert running.visits.entered.count("inner") == 2
        assert running.visits.entered.count("a") == 2


async def test_a_child_of_a_step_runs_to_its_end() -> None:
    store = MemoryStore()
    async with world(store, {"a": runs("one")}, children=CHILDREN, free=("work",)) as running:
        parent = await running.start("s -> a -> e", is_paused=True)
        for node in ("s", "a"):
            await running.runner.signal(parent, StepRequested(node))
            async with asyncio.timeout(SECONDS_MAX):
                while await status_of(running, parent) is not _E.PAUSED:  # noqa: ASYNC110 - nobody tells.
                    await asyncio.sleep(0.001)
        assert (await child_of(running, parent)).status is _E.COMPLETED
        started = [e.node_run.node for e in await running.events(parent) if is_start(e)]
        assert started == ["s", "a"]


def is_start(event: Event) -> TypeGuard[NodeStarted]:
    return isinstance(event, NodeStarted)


async def test_an_abort_of_a_held_run_ends_its_children() -> None:
    gate = Gate()
    store = MemoryStore()
    async with world(store, deeds(gate), children=CHILDREN, free=("work",)) as running:
        for mode in PauseMode:
            gate.reached.clear()
            parent = await running.start("s -> a -> e")
            await gate.reached.wait()
            await running.runner.signal(parent, PauseRequested(mode))
            child = await child_of(running, parent)
            await running.runner.signal(parent, AbortRequested())
            assert (await running.ended(parent)).status is _E.ABORTED
            assert (await running.ended(child.id)).status is _E.ABORTED


async def test_a_new_runner_holds_what_was_held() -> None:
    gate = Gate()
    store = MemoryStore()
    async with world(store, deeds(gate), children=CHILDREN, free=("work",)) as running:
        parent = await running.start("s -> a -> e")
        await gate.reached.wait()
        await running.runner.signal(parent, PauseRequested())
    async with world(store, deeds(gate), children=CHILDREN, free=("work",)) as running:
        child = await child_of(running, parent)
        assert (await status_of(running, parent), child.status) == (_E.PAUSED, _E.PAUSED)
        assert running.visits.entered == []
        gate.opened.set()
        await running.runner.signal(parent, ResumeRequested())
        assert (await running.ended(parent)).status is _E.COMPLETED


async def test_what_waits_for_a_place_is_not_entered_behind_a_pause() -> None:
    gate = Gate()
    limits = ConcurrencyLimits(total=1)
    async with world(MemoryStore(), {"a": gate}, limits=limits) as running:
        id_ = await running.start("s -> a -> e; s -> b -> e")
        await gate.reached.wait()
        await running.until(id_, NodeStarted, "b")
        await running.runner.signal(id_, PauseRequested())
        gate.opened.set()
        await running.until(id_, NodeInterrupted, "b")
        assert "b" not in running.visits.entered
        await running.runner.signal(id_, ResumeRequested())
        assert (await running.ended(id_)).status is _E.COMPLETED
        assert running.visits.entered.count("b") == 1


@pytest.mark.parametrize("wish", [SkipRequested("a"), OutputGiven("a", "mine")])
async def test_the_children_of_a_visit_that_is_given_up_are_ended(wish: Signal) -> None:
    gate = Gate()
    store = MemoryStore()
    async with world(store, deeds(gate), children=CHILDREN, free=("work",)) as running:
        parent = await running.start("s -> a -> e; s -> b2 -> e")
        await gate.reached.wait()
        child = await child_of(running, parent)
        await running.runner.signal(parent, PauseRequested(PauseMode.NOW))
        await running.runner.signal(parent, wish)
        assert (await running.ended(child.id)).status is _E.ABORTED
        await running.runner.signal(parent, ResumeRequested())
        assert (await running.ended(parent)).status is _E.COMPLETED
