"""People retry, skip and give results while real handlers run, with a runner and a store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dipeo_server.domains.diagram.fingerprint import node_fingerprint
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import (
    ErrorStrategy,
    GivenOutput,
    NodeFailed,
    NodeOutputSet,
    NodeSkipped,
    NodeStarted,
)
from dipeo_server.domains.execution.signals import (
    OutputGiven,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
)
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.errors import CodeError, InvalidInput
from dipeo_server.storage.memory import MemoryStore
from tests.runtime.world import Gate, soon, world


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    opened = MemoryStore()
    yield opened
    await opened.close()


class Moody:
    """A deed that fails the first time, once its gate is open."""

    def __init__(self, gate: Gate | None = None) -> None:
        self.gate, self.tries = gate, 0

    async def __call__(self, ctx: ExecutionContext) -> str:
        if self.gate is not None:
            await self.gate(ctx)
        self.tries += 1
        if self.tries == 1:
            raise CodeError("not today")
        return "well"


async def test_a_held_failure_is_retried_and_the_run_completes(store: MemoryStore) -> None:
    gate = Gate()
    async with world(store, {"a": Moody(gate), "b": gate}) as running:
        id_ = await running.start("s -> a -> e; s -> b -> e")
        await running.until(id_, NodeStarted, "b")
        await running.runner.signal(id_, PauseRequested())
        gate.opened.set()
        await running.until(id_, NodeFailed, "a")
        await running.runner.signal(id_, RetryRequested("a", "ann"))
        await running.runner.signal(id_, ResumeRequested())
        ended = await running.ended(id_)
        assert ended.status is ExecutionStatus.COMPLETED
        assert ended.nodes[1].attempt == 2


async def test_a_failure_is_retried_while_another_node_runs(store: MemoryStore) -> None:
    gate = Gate()
    async with world(store, {"a": Moody(), "b": gate}) as running:
        id_ = await running.start(
            "s -> a -> d -> e; s -> b -> e", error_strategy=ErrorStrategy.COLLECT
        )
        await running.until(id_, NodeFailed, "a")
        await running.runner.signal(id_, RetryRequested("a"))
        gate.opened.set()
        ended = await running.ended(id_)
        assert ended.status is ExecutionStatus.COMPLETED
        assert sorted(running.visits.entered) == ["a", "a", "b", "d", "e", "s"]


async def test_skipping_a_running_node_cancels_its_handler(store: MemoryStore) -> None:
    gate = Gate()
    async with world(store, {"a": gate}) as running:
        id_ = await running.start("s -> a -> b; s -> e")
        await gate.reached.wait()
        await running.runner.signal(id_, SkipRequested("a", "too slow", "ann"))
        ended = await running.ended(id_)
        await soon(lambda: "a" not in running.visits.inside)
        assert ended.status is ExecutionStatus.COMPLETED
        assert ended.nodes[1].status is NodeExecutionStatus.SKIPPED
        assert "b" not in running.visits.entered
        skipped = [e for e in await running.events(id_) if isinstance(e, NodeSkipped)]
        assert skipped[0] == NodeSkipped("a", "by_user", "ann", "too slow")


async def test_a_given_result_goes_on_to_what_depends_on_it(store: MemoryStore) -> None:
    gate, seen = Gate(), []

    async def sees(ctx: ExecutionContext) -> str:
        seen.append(dict(ctx.inputs))
        return "done"

    async with world(store, {"a": gate, "b": sees}) as running:
        id_ = await running.start("s -> a -> b")
        await gate.reached.wait()
        await running.runner.signal(id_, OutputGiven("a", {"x": 1}, "ann"))
        ended = await running.ended(id_)
        assert ended.status is ExecutionStatus.COMPLETED
        assert seen == [{"default": {"x": 1}}]


async def test_a_run_goes_fast_forward_to_where_an_earlier_one_failed(store: MemoryStore) -> None:
    """003-05, 003-W4: what is listed is not executed again, unless it has changed since."""
    async with world(store, {"b": Moody()}) as running:
        failed = await running.ended(await running.start("s -> a -> b -> e"))
        assert failed.status is ExecutionStatus.FAILED
        nodes = {node.key: node for node in failed.diagram.nodes}
        results = {
            key: GivenOutput(each.body, node_fingerprint(failed.diagram, nodes[key]))
            for key, each in failed.outputs.items()
        }
        assert set(results) == {"s", "a"}
        running.visits.entered.clear()
        again = await running.start("s -> a -> b -> e", initial=results)
        assert (await running.ended(again)).status is ExecutionStatus.COMPLETED
        assert running.visits.entered == ["b", "e"]
        running.visits.entered.clear()
        changed = await running.start("s -> a -> b -> e", props={"a": {"x": 1}}, initial=results)
        ended = await running.ended(changed)
        assert running.visits.entered == ["a", "b", "e"]
        given = [e for e in await running.events(changed) if isinstance(e, NodeOutputSet)]
        assert [event.node_run.node for event in given] == ["s"]
        assert ended.status is ExecutionStatus.COMPLETED


async def test_a_result_of_an_unknown_node_starts_nothing(store: MemoryStore) -> None:
    """003-W4: told at once, with the nearest name."""
    async with world(store) as running:
        with pytest.raises(InvalidInput, match="bb"):
            await running.start("s -> b", initial={"bb": GivenOutput(1)})
        assert running.visits.entered == []
