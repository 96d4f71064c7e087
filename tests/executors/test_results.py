"""Results of a run are kept as JSON, and are where another run begins."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from dipeo_server.domains.execution.output import SKIP_BRANCH
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.errors import InvalidInput, NotFound
from dipeo_server.executors import (
    AsyncGraphExecutor,
    MemoryStore,
    NodeCall,
    NodeResult,
    stored_results,
)

entered: list[str] = []

WORKFLOW = {
    "nodes": [
        {"id": "a"},
        {"id": "skips"},
        {"id": "b"},
        {"id": "asks", "type": "condition", "data": {"expression": "True"}},
        {"id": "large"},
    ],
    "edges": [
        {"source": "a", "target": "skips"},
        {"source": "skips", "target": "b"},
        {"source": "a", "target": "asks"},
        {"source": "asks", "target": "large", "source_handle": "condtrue"},
    ],
}


async def counted(call: NodeCall) -> Any:
    entered.append(call.node)
    if call.node == "skips":
        return SKIP_BRANCH
    return "x" * 300_000 if call.node == "large" else call.node


def executor(**options: Any) -> AsyncGraphExecutor:
    handlers = dict.fromkeys(("a", "skips", "b", "large"), counted)
    return AsyncGraphExecutor(WORKFLOW, handlers=handlers, **options)


async def test_results_survive_as_json_and_nothing_that_chose_a_way_is_taken_over() -> None:
    entered.clear()
    async with asyncio.timeout(20):
        first = await executor().execute()
        kept = json.loads(json.dumps(first.to_dict()))
        assert kept["skips"]["skip_reason"] == "skip_branch"
        assert len(first.outputs["large"]) == 300_000
        second = await executor(initial_state=kept).execute()
    assert entered == ["a", "skips", "large", "skips"]  # What it skipped is skipped again.
    assert second["b"].status is NodeExecutionStatus.SKIPPED
    assert {key: each.to_dict() for key, each in second.items()} == kept
    assert "a: COMPLETED" in repr(second)


def test_a_result_reads_what_it_wrote() -> None:
    result = NodeResult(NodeExecutionStatus.FAILED, None, {"code": "X"}, None, "f")
    assert NodeResult.from_dict(result.to_dict()) == result
    with pytest.raises(InvalidInput, match="'done' is no status of a node"):
        NodeResult.from_dict({"status": "done"})


async def test_a_run_that_is_not_there_has_no_results() -> None:
    with pytest.raises(NotFound, match="no run 'x'"):
        await stored_results(MemoryStore(), "x")
