"""Source document 001, "Simplified Execution State Model": its usage examples as written, and its
lines one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.diagram import DomainNode
from dipeo_server.domains.execution import ExecutionContext, ExecutionID, Seq
from dipeo_server.domains.execution import output as output_module
from dipeo_server.domains.execution.events import NodeCompleted, NodeStarted
from dipeo_server.domains.execution.handlers import NodeOutput, create_node_output, node_handler
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.registry import HandlerRegistry, declared
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.domains.execution.status import (
    EXECUTION_TRANSITIONS,
    NODE_TRANSITIONS,
    ExecutionStatus,
    NodeExecutionStatus,
)
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.storage.opening import open_store
from tests.acceptance.running import compiled, runner_on

seen: list[Any] = []


async def process_node_logic(node: DomainNode[Any], ctx: ExecutionContext) -> str:
    from_output = ctx.get_node_output("s")
    if from_output:
        # Access the value property
        seen.append(from_output.value.get("default"))
    return f"{node.id} processed"


@node_handler("MyNodeType")
async def execute_my_node(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    # Update status
    await ctx.state_store.update_node_status(ctx.execution_id, node.id, NodeExecutionStatus.RUNNING)

    # Process the node
    result = await process_node_logic(node, ctx)

    # Create output
    output = create_node_output(
        value={"default": result},
        metadata={"processed": True},
    )

    # Update completion status
    await ctx.state_store.update_node_status(
        ctx.execution_id, node.id, NodeExecutionStatus.COMPLETED, output
    )

    return output


@node_handler("spends_tokens", pure=True)
async def spends_tokens(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """Uses some tokens."""
    return create_node_output({"default": 1}, token_usage=TokenUsage(3, 4))


@node_handler("begins", pure=True)
async def begins(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """Gives something to read."""
    return create_node_output({"default": "from the start"})


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[LocalRunner]:
    async with runner_on(await open_store(f"sqlite:{tmp_path / 'a.db'}"), tmp_path) as running:
        yield running


async def finished(runner: LocalRunner, text: str, **types: str) -> ExecutionView:
    accepted = await runner.start(StartExecution(compiled(text, types), {"from": "the start"}))
    async with asyncio.timeout(10):
        return await runner.ended(accepted.execution_id)


def test_001_05_07_outputs_are_built_as_the_document_shows() -> None:
    # Simple output
    output = create_node_output(
        value={"default": "Hello World"},
        metadata={"tokens_used": 10},
    )
    assert output.value == {"default": "Hello World"}
    assert output.metadata == {"tokens_used": 10}

    result_data = [1, 2]
    # Multiple outputs
    output = create_node_output(
        value={
            "success": result_data,
            "error": None,
        },
        metadata={"execution_time": 1.5},
    )
    assert output.value["success"] == [1, 2]


async def test_001_08_09_the_documents_handler_runs_as_written(runner: LocalRunner) -> None:
    seen.clear()
    ended = await finished(runner, "s -> mine -> e", mine="MyNodeType", e="begins")
    assert ended.status is ExecutionStatus.COMPLETED
    assert ended.outputs["mine"].body == "mine processed"
    assert ended.outputs["mine"].meta["processed"] is True
    assert seen == [{"from": "the start"}]


async def test_001_w2_reporting_twice_does_not_end_a_node_twice(runner: LocalRunner) -> None:
    ended = await finished(runner, "s -> mine -> e", mine="MyNodeType", e="begins")
    events = [r.event for r in await runner.read_events(ended.id, after=Seq(0), limit=1_000)]
    assert sum(isinstance(e, NodeCompleted) and e.node_run.node == "mine" for e in events) == 1
    assert sum(isinstance(e, NodeStarted) and e.node_run.node == "mine" for e in events) == 1


async def test_001_01_03_states_have_the_documents_fields(runner: LocalRunner) -> None:
    ended = await finished(runner, "s -> e", e="begins")
    assert isinstance(ended.id, str)
    assert isinstance(ended.created_at, datetime)
    assert isinstance(ended.ended_at, datetime)
    assert ended.variables == {"from": "the start"}
    node = ended.nodes[0]
    assert node.status is NodeExecutionStatus.COMPLETED
    assert node.started_at is not None
    assert node.ended_at is not None
    assert (node.failure, node.skip_reason) == (None, None)


def test_001_02_04_the_statuses_are_those_of_the_document_and_more() -> None:
    assert {"STARTED", "RUNNING", "COMPLETED", "FAILED", "ABORTED"} <= set(ExecutionStatus)
    assert {"PENDING", "RUNNING", "COMPLETED", "FAILED", "SKIPPED"} <= set(NodeExecutionStatus)


def test_001_w1_pausing_and_waiting_are_statuses_with_legal_transitions() -> None:
    assert {"PAUSED", "WAITING"} <= set(ExecutionStatus)
    assert {"WAITING", "MAXITER_REACHED"} <= set(NodeExecutionStatus)
    assert set(EXECUTION_TRANSITIONS) == set(ExecutionStatus)
    assert set(NODE_TRANSITIONS) == set(NodeExecutionStatus)
    for status in ExecutionStatus:
        assert status.is_terminal is (not EXECUTION_TRANSITIONS[status])


def test_001_06_node_result_and_execution_result_do_not_exist() -> None:
    assert not hasattr(output_module, "NodeResult")
    assert not hasattr(output_module, "ExecutionResult")


async def test_001_10_the_engine_sets_the_times_itself(runner: LocalRunner) -> None:
    ended = await finished(runner, "s -> mine -> e", mine="MyNodeType", e="begins")
    mine = ended.nodes[1]
    assert mine.started_at is not None
    assert mine.ended_at is not None
    assert mine.started_at <= mine.ended_at


async def test_001_11_history_is_kept_in_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'kept.db'}"
    async with runner_on(await open_store(url), tmp_path) as first:
        ended = await finished(first, "s -> e", e="begins")
    async with runner_on(await open_store(url), tmp_path) as second:
        again = await second.view(ExecutionID(ended.id))
    assert again == ended


async def test_001_w3_every_iteration_of_a_loop_is_kept(runner: LocalRunner) -> None:
    accepted = await runner.start(
        StartExecution(compiled("s -> a; a -> a; a -> e", {"e": "endpoint"}, {"a": 3}))
    )
    ended = await runner.ended(accepted.execution_id)
    events = [r.event for r in await runner.read_events(ended.id, after=Seq(0), limit=1_000)]
    runs = [e.node_run.occurrence for e in events if isinstance(e, NodeStarted)]
    assert [run for run in runs if run > 1] == [2, 3]


async def test_001_14_tokens_sum_to_the_execution(runner: LocalRunner) -> None:
    ended = await finished(
        runner, "s -> a -> b -> e", a="spends_tokens", b="spends_tokens", e="begins"
    )
    assert ended.token_usage == TokenUsage(6, 8)
    assert ended.token_usage.total == 14


async def test_001_w4_a_failure_is_a_status_and_not_data(runner: LocalRunner) -> None:
    ended = await finished(runner, "s -> bad -> e", bad="raises_value_error")
    assert ended.status is ExecutionStatus.FAILED
    assert ended.nodes[1].status is NodeExecutionStatus.FAILED
    assert ended.nodes[2].status is NodeExecutionStatus.PENDING
    assert ended.error is not None
    assert "ValueError: no" in ended.error.message


@node_handler("raises_value_error", pure=True)
async def raises_value_error(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """Fails."""
    raise ValueError("no")


def test_001_08_types_of_a_process_are_found_by_their_decorator() -> None:
    assert HandlerRegistry(declared().values()).get("MyNodeType") is not None
