"""Functions as nodes: whatever they may return, and what they are called with."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dipeo_server.domains.execution.output import End, Fallback, Goto, create_node_output
from dipeo_server.errors import InvalidInput, NodeError
from dipeo_server.executors import AsyncGraphExecutor, NodeCall, RunResults

SECRET = {"token": "correct-horse"}


async def passes(call: NodeCall) -> str:
    return call.node


async def run(first: Any, *, kinds: tuple[str, str] = ("always", "always")) -> RunResults:
    """`a` is the function; edges of these kinds lead to `b` and `c`."""
    workflow = {
        "nodes": [{"id": "a", "data": {"may_end": True, "n": 1}}, {"id": "b"}, {"id": "c"}],
        "edges": [
            {"source": "a", "target": target, "kind": kind}
            for target, kind in zip("bc", kinds, strict=True)
        ],
    }
    handlers = {"a": first, "b": passes, "c": passes}
    executor = AsyncGraphExecutor(workflow, handlers=handlers, global_context=SECRET)
    async with asyncio.timeout(20):
        return await executor.execute()


def returning(result: Any) -> Any:
    async def give(call: NodeCall) -> Any:
        return result

    return give


async def test_a_function_may_return_what_a_handler_may() -> None:
    output = create_node_output({"default": "correct-horse"})
    gone = await run(returning(Goto("c", output)))
    assert gone.outputs == {"a": "[secret token]", "c": "c"}
    ended = await run(returning(End(output)))
    assert ended.outputs == {"a": "[secret token]"}
    less = await run(returning(Fallback("no correct-horse")), kinds=("always", "fallback"))
    assert less.outputs["c"] == "c"
    assert "b" not in less.outputs
    assert (await run(returning(output))).outputs["a"] == "[secret token]"


async def test_a_function_knows_where_it_is() -> None:
    async def looks(call: NodeCall) -> list[Any]:
        call.put("seen", 1)
        call.observe("LATE", "a correct-horse was late")
        assert call.idempotency_key == f"{call.thread_id}/a/1"
        return [call.node, call.occurrence, call.attempt, dict(call.data), call.inputs]

    data = {"may_end": True, "n": 1}
    assert (await run(looks)).outputs["a"] == ["a", 1, 1, data, {}]


@pytest.mark.parametrize(
    "error, code, message",
    [
        (KeyError("correct-horse"), "CODE_ERROR", "KeyError: '[secret token]'"),
        (TimeoutError("correct-horse"), "TIMEOUT", "[secret token]"),
        (NodeError("correct-horse", hint="correct-horse"), "INTERNAL", "[secret token]"),
    ],
)
async def test_what_a_function_raises_is_told_without_secrets(
    error: Exception, code: str, message: str
) -> None:
    async def fails(call: NodeCall) -> None:
        raise error

    told = (await run(fails))["a"].error
    assert told is not None
    assert (told["code"], told["message"]) == (code, message)
    assert "correct-horse" not in str(told)


async def test_what_is_no_json_fails_the_node() -> None:
    told = (await run(returning(object())))["a"].error
    assert told is not None
    assert told["code"] == "OUTPUT_NOT_JSON"


@pytest.mark.parametrize("thread_id", ["", "x" * 201])
def test_a_run_has_an_id_of_bearable_length(thread_id: str) -> None:
    with pytest.raises(InvalidInput, match="1 to 200 characters"):
        AsyncGraphExecutor({"nodes": [{"id": "a"}]}, handlers={"a": passes}, thread_id=thread_id)
