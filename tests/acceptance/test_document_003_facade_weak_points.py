"""What source document 003 does not say or gets wrong, as AsyncGraphExecutor does it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.errors import InvalidInput, InvalidState
from dipeo_server.executors import (
    SKIP_BRANCH,
    AlreadyRunning,
    AsyncGraphExecutor,
    Decision,
    GivenOutput,
    NodeCall,
    NodeResult,
    open_store,
)
from dipeo_server.storage.memory import MemoryStore
from tests.acceptance.python_graphs import Deed, executor, failing, graph, run

SECRET = "correct-horse-battery"


async def test_a_floating_node_does_not_run_by_accident() -> None:
    """003-W1"""
    workflow = graph("a -> b; alone")
    running = executor(workflow)
    results = await running.execute()
    assert results["alone"].skip_reason == "unreachable"
    assert [warning.code for warning in running.warnings] == ["UNREACHABLE"]
    assert (await executor(workflow, run_orphans=True).execute()).outputs["alone"] == "alone"


async def test_a_circle_does_not_hang_and_not_everything_runs_at_once() -> None:
    """003-W2"""
    inside: set[str] = set()
    most = 0

    async def counted(call: NodeCall) -> None:
        nonlocal most
        inside.add(call.node)
        most = max(most, len(inside))
        await asyncio.sleep(0)
        inside.discard(call.node)

    names = [f"n{number}" for number in range(100)]
    await run("; ".join(f"a -> {name}" for name in names), dict.fromkeys(names, counted))
    assert 1 < most <= 64

    async def turn(call: NodeCall) -> int:
        return call.occurrence

    workflow = graph("a -> b -> c")
    workflow["edges"].append({"source": "b", "target": "b", "condition": "output < 3"})
    workflow["edges"][1]["condition"] = "output >= 3"
    async with asyncio.timeout(20):
        assert (await executor(workflow, {"b": turn}).execute()).outputs["b"] == 3


async def test_one_skipped_parent_does_not_skip_a_join() -> None:
    """003-W3"""

    async def skips(call: NodeCall) -> Any:
        return SKIP_BRANCH

    workflow = graph("a -> b -> d; a -> c -> d", {"d": {"join": "any"}})
    results = await executor(workflow, {"b": skips}).execute()
    assert results.outputs["d"] == "d"


async def test_only_what_was_completed_and_is_unchanged_is_taken_over() -> None:
    """003-W4: and of everything else it is told why it runs again."""
    told: list[dict[str, Any]] = []
    entered: list[str] = []

    async def counted(call: NodeCall) -> None:
        entered.append(call.node)

    deeds: dict[str, Deed] = dict.fromkeys("abcd", counted)
    first = await run("a -> b -> c -> d", {**deeds, "d": failing})
    entered.clear()
    changed = graph("a -> b -> c -> d", {"b": {"temperature": 1}})
    initial = {**first, "gone": NodeResult(first["a"].status)}
    second = await executor(changed, deeds, initial_state=initial, emit_event=told.append).execute()
    assert second.status.value == "COMPLETED"
    assert entered == ["b", "d"]  # c gave null, and that is a result.
    notices = {event["node"]: event for event in told if event["type"] == "notice"}
    assert set(notices) == {"b", "d", "gone"}
    assert notices["b"]["code"] == "INITIAL_STATE_STALE"
    assert "was FAILED" in notices["d"]["message"]
    assert "not in the graph" in notices["gone"]["message"]


async def test_a_value_is_no_result_unless_it_is_given_as_one() -> None:
    """003-W4"""
    with pytest.raises(InvalidInput, match="initial state of 'a' is no result"):
        executor(graph("a -> b"), initial_state={"a": None})
    results = await run("a -> b", {"a": failing}, initial_state={"a": GivenOutput(7)})
    assert results.outputs == {"a": 7, "b": "b"}


async def test_a_second_executor_with_a_running_id_is_refused() -> None:
    """003-W5"""
    store = MemoryStore()
    go, inside = asyncio.Event(), asyncio.Event()

    async def held(call: NodeCall) -> None:
        inside.set()
        await go.wait()

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        first = executor(graph("a"), {"a": held}, thread_id="one", store=store)
        running = tasks.create_task(first.execute())
        await inside.wait()
        with pytest.raises(AlreadyRunning, match="'one' is running already"):
            await executor(graph("a"), thread_id="one", store=store).execute()
        go.set()
        assert (await running).status.value == "COMPLETED"
        with pytest.raises(InvalidState, match="has ended: COMPLETED"):
            await first.execute()


async def test_of_two_executors_that_begin_at_once_one_runs() -> None:
    """003-W5"""
    store, entered = MemoryStore(), []

    async def counted(call: NodeCall) -> None:
        entered.append(call.node)

    both = [executor(graph("a"), {"a": counted}, thread_id="x", store=store) for _ in range(2)]
    async with asyncio.timeout(20):
        ends = await asyncio.gather(*(each.execute() for each in both), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["AlreadyRunning", "RunResults"]
    assert entered == ["a"]


async def test_other_nodes_take_secrets_by_reference() -> None:
    """003-W7"""
    code = 'printf "%s" "${#PASSWORD}"; echo "$PASSWORD" >&2'
    env = {"PASSWORD": "secret://sudo_password"}
    workflow = graph("shell", {"shell": {"language": "bash", "code": code, "env": env}})
    workflow["nodes"][0]["type"] = "code_job"
    told: list[dict[str, Any]] = []
    running = AsyncGraphExecutor(
        workflow, emit_event=told.append, global_context={"sudo_password": SECRET}
    )
    async with asyncio.timeout(20):
        results = (await running.execute()).raise_for_failure()
    assert str(results.outputs["shell"]) == str(len(SECRET))
    lines = [event["line"] for event in told if event.get("stream") == "stderr"]
    assert lines == ["[secret sudo_password]"]


async def test_a_person_can_be_asked_in_a_graph() -> None:
    workflow = graph("a -> gate -> b")
    workflow["nodes"][1]["type"] = "barrier"
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    deeds = {"a": failing, "b": failing}
    running = AsyncGraphExecutor(
        workflow, handlers=deeds, initial_state={"a": GivenOutput(1)}, emit_event=told.put
    )
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(running.execute())
        while (await told.get()).get("status") != "WAITING":
            pass
        await running.handle.decide("gate", Decision.reject("no"))
        results = await ending
    assert results["gate"].error is not None
    assert results["gate"].error["code"] == "BARRIER_REJECTED"


async def test_secrets_are_kept_nowhere(tmp_path: Path) -> None:
    """003-W7: printed, returned, raised, put, observed: the store and the events have none."""
    told: list[dict[str, Any]] = []

    async def leaks(call: NodeCall) -> dict[str, Any]:
        secret = call.secrets["sudo_password"]
        call.log(f"password={secret}")
        call.put("kept", [secret])
        call.observe("LEAK", f"with {secret}")
        return {"value": secret, secret: {"nested": [f"<{secret}>"]}}

    async def raises(call: NodeCall) -> None:
        raise OSError(f"sudo: {call.secrets['sudo_password']} is wrong")

    store = await open_store(f"sqlite:{tmp_path / 'runs.db'}")
    results = await run(
        "a -> b",
        {"a": leaks, "b": raises},
        store=store,
        emit_event=told.append,
        global_context={"sudo_password": SECRET},
    )
    await store.close()
    everything = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    everything += [repr(told).encode(), repr(results.to_dict()).encode()]
    assert sum(map(len, everything)) > 1_000
    assert not any(SECRET.encode() in each for each in everything)
    assert results.error is not None
    assert results.error["message"] == "OSError: sudo: [secret sudo_password] is wrong"
    lines = [event["line"] for event in told if event["type"] == "log"]
    assert lines == ["password=[secret sudo_password]"]


async def test_a_slow_emitter_slows_nobody_and_a_broken_one_breaks_nothing() -> None:
    """003-W8"""
    finished = asyncio.Event()
    told: list[str] = []

    async def slow(event: dict[str, Any]) -> None:
        # It takes the first event only when the whole run is over.
        await finished.wait()
        told.append(event.get("node", event["type"]))

    async def last(call: NodeCall) -> str:
        finished.set()
        return "done"

    text = " -> ".join([*(f"n{number}" for number in range(50)), "last"])
    async with asyncio.timeout(20):
        assert (await run(text, {"last": last}, emit_event=slow)).outputs["last"] == "done"
    assert told[-1] == "run"
    assert told.count("n7") == 2

    async def broken(event: dict[str, Any]) -> None:
        raise ConnectionError("gone")

    assert (await run("a -> b", emit_event=broken)).status.value == "COMPLETED"

    async def stuck(event: dict[str, Any]) -> None:
        await asyncio.get_running_loop().create_future()

    results = await run("a -> b", emit_event=stuck, emit_patience=0.05)
    assert results.status.value == "COMPLETED"


async def test_a_node_says_what_becomes_of_which_failures() -> None:
    """003-W9: by type: tried again, routed to an edge, replaced by a default, or fatal."""
    tries: list[int] = []

    async def flaky(call: NodeCall) -> str:
        tries.append(call.attempt)
        if call.attempt < 3:
            raise ConnectionError("not yet")
        return "at last"

    retry = {"attempts": 3, "initial_seconds": 0, "retry_on": ["ConnectionError"]}
    default: dict[str, Any] = {
        "policy": "default_output",
        "output": "none",
        "match": ["ValueError"],
    }
    data: dict[str, dict[str, Any]] = {
        "flaky": {"retry": retry},
        "default": {"on_error": default},
        "other": {"on_error": default | {"match": ["KeyError"]}},
    }
    text = "a -> flaky; a -> default -> b; a -> other -> c; a -> routed -> d; routed -> e"
    workflow = graph(text, data)
    workflow["edges"][-1]["kind"] = "fallback"
    deeds: dict[str, Deed] = {
        "flaky": flaky,
        **dict.fromkeys(("default", "other", "routed"), failing),
    }
    results = await executor(workflow, deeds | {"flaky": flaky}).execute()
    assert tries == [1, 2, 3]
    assert results.outputs["flaky"] == "at last"
    assert results.outputs["b"] == "b"
    assert results["c"].skip_reason == "upstream_failed"
    assert (results["d"].status.value, results.outputs["e"]) == ("SKIPPED", "e")


async def test_cancelling_execute_aborts_the_run() -> None:
    store = MemoryStore()
    inside = asyncio.Event()

    async def held(call: NodeCall) -> None:
        inside.set()
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(
        executor(graph("a"), {"a": held}, thread_id="x", store=store).execute()
    )
    async with asyncio.timeout(20):
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    summary = await store.summary(ExecutionID("x"))
    assert summary is not None
    assert summary.status.value == "ABORTED"


async def test_a_run_that_reaches_its_limit_is_ended() -> None:
    results = await run("a -> b -> c", max_steps=3)  # The start that was added is one of them.
    assert results.status.value == "ABORTED"
    assert results.error is not None
    assert results.error["code"] == "MAX_STEPS"
    assert results.outputs == {"a": "a", "b": "b"}


async def test_a_run_can_be_held_and_let_go() -> None:
    go, inside = asyncio.Event(), asyncio.Event()

    async def held(call: NodeCall) -> None:
        inside.set()
        await go.wait()

    running = executor(graph("a -> b"), {"a": held})
    with pytest.raises(InvalidState, match="has not begun"):
        _ = running.handle
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(running.execute())
        await inside.wait()
        await running.handle.pause("wait")
        go.set()
        await running.handle.resume()
        assert (await ending).status.value == "COMPLETED"
