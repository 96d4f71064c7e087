"""What nodes and their sub-diagrams spend counts for the run, however they end."""

from __future__ import annotations

from dipeo_server.domains.execution.children import ChildRun
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import Budget, ErrorStrategy, PauseCause
from dipeo_server.domains.execution.output import TokenUsage, create_node_output
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import NodeError
from dipeo_server.storage.memory import MemoryStore
from tests.runtime.world import soon, world


async def costs(ctx: ExecutionContext) -> object:
    return create_node_output({"default": 1}, token_usage=TokenUsage(100, 20))


async def runs_one(ctx: ExecutionContext) -> object:
    result = await ctx.services.sub_diagrams.run(ChildRun("one", None, None, {}))
    ctx.spend(result.token_usage)
    return create_node_output({"default": result.last}, token_usage=TokenUsage(1, 1))


async def fails_costly(ctx: ExecutionContext) -> object:
    ctx.spend(TokenUsage(7, 3))
    raise NodeError("too bad")


async def test_the_tokens_of_a_sub_diagram_are_those_of_its_parent_too() -> None:
    deeds = {"inner": costs, "a": runs_one}
    async with world(
        MemoryStore(), deeds, children={"one": "s -> inner -> e"}, free=("work",)
    ) as running:
        ended = await running.run("s -> a -> e")
        assert ended.token_usage == TokenUsage(101, 21)


async def test_what_a_node_spent_that_failed_counts() -> None:
    async with world(MemoryStore(), {"a": fails_costly}) as running:
        ended = await running.run("s -> a -> e")
        assert (ended.status, ended.token_usage) == (ExecutionStatus.FAILED, TokenUsage(7, 3))


async def test_a_budget_counts_what_sub_diagrams_spend() -> None:
    deeds = {"inner": costs, "a": runs_one}
    async with world(
        MemoryStore(), deeds, children={"one": "s -> inner -> e"}, free=("work",)
    ) as running:
        id_ = await running.start(
            "s -> a -> b -> e",
            budget=Budget(max_tokens=100),
            error_strategy=ErrorStrategy.COLLECT,
        )
        await soon(lambda: "a" in running.visits.entered and not running.visits.inside)
        view = await running.runner.view(id_)
        while view is not None and view.status is not ExecutionStatus.PAUSED:
            view = await running.runner.view(id_)
        assert view is not None
        assert (view.pause_cause, "b" in running.visits.entered) == (PauseCause.MAX_TOKENS, False)
