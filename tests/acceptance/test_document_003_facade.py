"""Source document 003 as a Python program meets it: AsyncGraphExecutor, line by line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.errors import InvalidInput
from dipeo_server.executors import (
    SKIP_BRANCH,
    AsyncGraphExecutor,
    DiagramInvalid,
    NodeCall,
    RunFailed,
    open_store,
    stored_results,
)
from tests.acceptance.python_graphs import executor, failing, graph, named, run


async def test_the_usage_example_runs_as_it_is_written() -> None:
    """003-08, 003-09: the document's own example, with nodes and edges filled in."""
    told: list[dict[str, Any]] = []

    async def websocket_emitter(event: dict[str, Any]) -> None:
        told.append(event)

    async def install(call: NodeCall) -> int:
        return len(call.secrets["sudo_password"])

    workflow_data = {
        "nodes": [{"id": "fetch", "type": "work"}, {"id": "install"}],
        "edges": [{"source": "fetch", "target": "install"}],
    }

    # 1. Initialize
    executor = AsyncGraphExecutor(
        workflow_data,
        emit_event=websocket_emitter,
        thread_id="unique-run-id",
        global_context={"sudo_password": "..."},
        handlers={"work": named, "install": install},
    )

    # 2. Execute
    results = await executor.execute()

    assert results.thread_id == "unique-run-id"
    assert results.outputs == {"fetch": "fetch", "install": 3}
    assert {event["thread_id"] for event in told} == {"unique-run-id"}


async def test_a_slow_branch_never_delays_another() -> None:
    """003-01"""
    far = asyncio.Event()

    async def slow(call: NodeCall) -> str:
        await far.wait()
        return "slow"

    async def last(call: NodeCall) -> str:
        far.set()
        return "last"

    results = await run("a -> slow -> e; a -> b -> c -> last -> e", {"slow": slow, "last": last})
    assert results.outputs["slow"] == "slow"


async def test_a_node_starts_when_all_its_parents_are_done() -> None:
    """003-02"""

    async def join(call: NodeCall) -> dict[str, Any]:
        return call.inputs

    results = await run("a -> b -> d; a -> c -> d", {"d": join})
    assert results.outputs["d"] == {"b": "b", "c": "c"}


async def test_every_node_is_told_of_while_it_runs() -> None:
    """003-03"""
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    go = asyncio.Event()

    async def held(call: NodeCall) -> str:
        await go.wait()
        return "held"

    running = executor(
        graph("held -> bad -> after"), {"held": held, "bad": failing}, emit_event=told.put
    )
    seen: list[tuple[str, str]] = []
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(running.execute())
        while ("run", "FAILED") not in seen:
            event = await told.get()
            seen.append((event.get("node", event["type"]), event["status"]))
            if event.get("node") == "held":
                assert not ending.done()
                go.set()  # It was told of while it still ran.
    nodes = [each for each in seen if each[0] != "run"]
    assert nodes == [
        ("held", "RUNNING"),
        ("held", "COMPLETED"),
        ("bad", "RUNNING"),
        ("bad", "FAILED"),
        ("after", "SKIPPED"),
    ]


async def test_lines_are_told_in_order_with_node_and_stream() -> None:
    """003-04, 003-W6: a process's two streams stay apart, its last line needs no newline."""
    told: list[dict[str, Any]] = []
    code = "for n in 1 2 3; do echo line $n; done; echo wrong >&2; printf rest"
    workflow = graph("a -> shell", {"shell": {"language": "bash", "code": code}})
    workflow["nodes"][1]["type"] = "code_job"

    async def talks(call: NodeCall) -> None:
        for number in range(200):
            call.log(f"{number}")

    running = AsyncGraphExecutor(workflow, handlers={"a": talks}, emit_event=told.append)
    async with asyncio.timeout(20):
        (await running.execute()).raise_for_failure()
    lines = [event for event in told if event["type"] == "log"]
    assert [e["line"] for e in lines if e["node"] == "a"] == [str(n) for n in range(200)]
    shell = [(e["stream"], e["line"]) for e in lines if e["node"] == "shell"]
    printed = [("stdout", f"line {n}") for n in (1, 2, 3)] + [("stdout", "rest")]
    assert [each for each in shell if each[0] == "stdout"] == printed
    assert ("stderr", "wrong") in shell
    order = [(e["node"], e.get("status", e["type"])) for e in told if e["type"] != "run"]
    for node in ("a", "shell"):
        places = [place for place, each in enumerate(order) if each[0] == node]
        assert order[places[0]] == (node, "RUNNING")
        assert order[places[-1]] == (node, "COMPLETED")


async def test_a_run_goes_on_from_the_results_of_an_earlier_one(tmp_path: Path) -> None:
    """003-05: nothing that was completed runs again, and a stored run will do as well."""
    entered: list[str] = []

    async def counted(call: NodeCall) -> str:
        entered.append(call.node)
        if call.node == "c" and entered.count("c") == 1:
            raise OSError("the line was dead")
        return f"{call.node}({', '.join(call.inputs.values())})"

    deeds = dict.fromkeys("abcd", counted)
    text = "a -> b -> c -> d"
    store = await open_store(f"sqlite:{tmp_path / 'runs.db'}")
    first = await run(text, deeds, thread_id="first", store=store)
    assert {key: each.status.value for key, each in first.items()} == {
        "a": "COMPLETED",
        "b": "COMPLETED",
        "c": "FAILED",
        "d": "SKIPPED",
    }
    loaded = await stored_results(store, "first")
    assert loaded.to_dict() == first.to_dict()
    second = await run(text, deeds, thread_id="second", store=store, initial_state=loaded)
    await store.close()
    assert entered == ["a", "b", "c", "c", "d"]
    assert second.outputs["d"] == "d(c(b(a())))"


async def test_a_skipped_branch_is_skipped_to_its_end() -> None:
    """003-06"""

    async def skips(call: NodeCall) -> Any:
        return SKIP_BRANCH

    results = await run("a -> b -> c -> d; a -> e", {"b": skips})
    assert results["c"].skip_reason == results["d"].skip_reason == "skip_branch"
    assert results.outputs["e"] == "e"


async def test_a_failure_goes_on_to_children_and_to_nobody_else() -> None:
    """003-07"""
    results = await run("a -> bad -> b -> c; a -> d -> e", {"bad": failing})
    assert results["b"].skip_reason == results["c"].skip_reason == "upstream_failed"
    assert results.outputs["e"] == "e"
    assert results.error is not None
    assert results.error["message"] == "ValueError: no"
    with pytest.raises(RunFailed, match="ValueError: no") as caught:
        results.raise_for_failure()
    assert caught.value.results is results


async def test_functions_see_the_global_context_and_the_run_id() -> None:
    """003-08"""

    async def looks(call: NodeCall) -> list[Any]:
        return [call.thread_id, sorted(call.secrets), call.variables]

    told = await run(
        "a -> b",
        {"b": looks},
        thread_id="run 7",
        global_context={"key": object()},
        variables={"n": 1},
    )
    assert told.outputs["b"] == ["run 7", ["key"], {"n": 1}]


@pytest.mark.parametrize(
    "workflow, problem",
    [
        ([], "A graph is a map of nodes and edges, not list."),
        ({}, "`nodes` is missing."),
        ({"nodes": []}, "`nodes`: list should have at least 1 item"),
        ({"nodes": [{"type": "start"}]}, "`nodes.0.id` is missing."),
        ({"nodes": [{"id": 7}]}, "`nodes.0.id`: input should be a valid string."),
        ({"nodes": [{"id": "a", "typ": "x"}]}, "`nodes.0.typ` is no field."),
        ({"nodes": [{"id": "a"}], "edge": []}, "`edge` is no field."),
        ({"nodes": [{"id": "b"}]}, "Node 'b' has no type, and no function is given for it."),
        ({"nodes": [{"id": "b", "type": "x"}]}, "b: there is no node type 'x'."),
        ({"nodes": [{"id": "a"}, {"id": "a"}]}, "Two nodes have the key 'a'."),
        (
            {"nodes": [{"id": "a"}], "edges": [{"source": "a", "target": "aa"}]},
            "The target of edge 'arrow_0' is no node: 'aa'.",
        ),
        (
            {
                "nodes": [{"id": "a"}, {"id": "c", "type": "a"}],
                "edges": [{"source": "a", "target": "c"}, {"source": "c", "target": "a"}],
            },
            "The diagram has no start node.",
        ),
    ],
)
def test_a_malformed_graph_is_refused_precisely(workflow: Any, problem: str) -> None:
    """003-09"""
    with pytest.raises(DiagramInvalid) as caught:
        AsyncGraphExecutor(workflow, handlers={"a": named})
    assert problem in " ".join(each.message for each in caught.value.problems)


def test_a_function_that_blocks_is_refused() -> None:
    """003-09"""

    def blocking(call: NodeCall) -> None:
        """Not async."""

    with pytest.raises(InvalidInput, match="no async function"):
        AsyncGraphExecutor(graph("a"), handlers={"a": blocking})  # type: ignore[dict-item] # That is the test.
