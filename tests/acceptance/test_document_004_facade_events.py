"""Source document 004, events and barriers, as the stream and the handle of a run show them."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from dipeo_server.domains.execution.ids import BarrierID, ExecutionID
from dipeo_server.domains.execution.interventions import EarlyDecisionChanged
from dipeo_server.domains.execution.status import BarrierStatus, ExecutionStatus
from dipeo_server.errors import AlreadyDecided, ExecutionFinished, InvalidInput, NotFound
from dipeo_server.executors import (
    BarrierResolved,
    BarrierWaiting,
    BranchCompleted,
    Decision,
    Graph,
    GraphCancelled,
    GraphComplete,
    GraphExecutor,
    GraphFailed,
    GraphStart,
    MemoryStore,
    NodeEnd,
    NodeExecutionFailed,
    NodeStart,
    ObservedError,
    ParallelCompleted,
    ParallelStarted,
    StateChanged,
    StateView,
    Step,
)
from tests.acceptance.walking import again, follow, gives, line, nodes_of, of, passes, puts

APPROVE = Decision.approve(by="ann")
REJECT = Decision.reject("not good enough", by="bob")


def reviewed() -> Graph:
    """Draft until somebody approves, then publish."""
    return (
        Graph()
        .node("draft", counted)
        .barrier("gate", "Publish version {{n}}?")
        .node("publish", passes)
        .edge("draft", "gate")
        .edge("gate", "publish", when="gate.approved")
        .edge("gate", "draft", when="not gate.approved and not gate.skipped")
        .fallback("gate", "publish")
    )


async def counted(state: StateView) -> dict[str, int]:
    return {"n": state.get("n", 0) + 1}


# --- events -------------------------------------------------------------------------------------


async def test_the_events_of_a_run_come_in_order() -> None:
    """004-09 … 004-13, 004-20, 004-22, 004-24"""
    step = Step({"n": 1, "m": 2}, deletes=("old",), observed={"OLD": "it is old"})
    execution = await GraphExecutor(line("a", "b", a=gives(step))).execute_stream({"old": 0})
    told = await follow(execution)
    assert [type(event).__name__ for event in told] == [
        "GraphStart",
        "NodeStart",
        "StateChanged",
        "StateChanged",
        "StateChanged",
        "ObservedError",
        "NodeEnd",
        "NodeStart",
        "NodeEnd",
        "GraphComplete",
    ]
    assert {event.trace_id for event in told} == {execution.handle.run_id}
    assert [event.at for event in told] == sorted(event.at for event in told)
    starts, ends = of(NodeStart, told), of(NodeEnd, told)
    assert [(e.node, e.step) for e in starts] == [("a", 1), ("b", 2)]
    assert [(e.node, e.step, e.success) for e in ends] == [("a", 1, True), ("b", 2, True)]
    assert [e.span_id for e in starts] == [e.span_id for e in ends] == ["a#1.1", "b#1.1"]
    assert all(end.duration >= 0 for end in ends)
    changed = [(e.key, e.value, e.is_deleted) for e in of(StateChanged, told)]
    assert changed == [("n", 1, False), ("m", 2, False), ("old", None, True)]
    assert [(e.node, e.code) for e in of(ObservedError, told)] == [("a", "OLD")]
    [complete] = of(GraphComplete, told)
    assert complete.result.state == {"n": 1, "m": 2}
    log = complete.result.execution_log
    assert [(entry.step, entry.node, entry.success) for entry in log] == [
        (1, "a", True),
        (2, "b", True),
    ]
    assert all(entry.start <= entry.end for entry in log)
    seconds = complete.result.duration
    assert timedelta(seconds=seconds) == told[-1].at - told[0].at


async def test_a_failure_is_the_last_event_with_the_state() -> None:
    """004-21"""

    async def fails(state: StateView) -> None:
        raise LookupError("gone")

    execution = await GraphExecutor(line("a", "b", a=puts(n=1), b=fails)).execute_stream()
    told = await follow(execution)
    last = told[-1]
    assert isinstance(last, GraphFailed)
    assert (last.error.node, last.state) == ("b", {"n": 1})
    assert [end.success for end in of(NodeEnd, told)] == [True, False]
    assert of(GraphComplete, told) == []


async def test_branches_run_side_by_side_on_copies_and_are_merged() -> None:
    """004-14, 004-15, 004-16, 004-34"""
    met = asyncio.Barrier(2)

    async def meets(state: StateView) -> dict[str, int]:
        await met.wait()
        return {"n": 1, state.node: state["n"]}

    graph = Graph().parallel("both", {"left": meets, "right": meets}).node("after", passes)
    executor = GraphExecutor(graph.edge("both", "after", when="n == 3"))
    executor.register_reducer("n", "add")
    execution = await executor.execute_stream({"n": 1})
    told = await follow(execution)
    result = await execution.handle.result()
    assert nodes_of(result) == ["both", "after"]
    [started] = of(ParallelStarted, told)
    assert (started.node, started.branches) == ("both", ("left", "right"))
    ends = of(BranchCompleted, told)
    assert {(end.branch, end.success) for end in ends} == {("left", True), ("right", True)}
    assert len(of(ParallelCompleted, told)) == 1
    assert max(end.duration for end in ends) >= 0
    kinds = [type(event) for event in told]
    places = [kinds.index(kind) for kind in (ParallelStarted, BranchCompleted, ParallelCompleted)]
    assert places == sorted(places)
    assert result.state == {"n": 3, "left": 1, "right": 1}


async def test_branches_that_change_one_key_without_a_reducer_conflict() -> None:
    """004-35, 004-36"""
    graph = Graph().parallel("both", {"left": puts(n=1), "right": puts(n=2)})
    with pytest.raises(NodeExecutionFailed, match="'n'") as caught:
        await GraphExecutor(graph).execute()
    assert caught.value.code == "CONFLICT"

    async def fails(state: StateView) -> None:
        raise ValueError("no")

    graph = Graph().parallel("both", {"left": puts(n=1), "right": fails})
    with pytest.raises(NodeExecutionFailed, match="ValueError: no"):
        await GraphExecutor(graph).execute()


async def test_a_reader_that_is_slow_stalls_nobody() -> None:
    """004-W20: nothing is read until the run is over, and then everything is there."""
    endless = Graph().node("a", counted).edge("a", "a", when="n < 200").node("b", passes)
    execution = await GraphExecutor(endless.edge("a", "b"), max_steps=300).execute_stream()
    async with asyncio.timeout(20):
        await execution.handle.result()
    assert len(of(NodeEnd, await follow(execution))) == 201


async def test_a_stream_that_is_dropped_leaves_the_run_alone() -> None:
    """004-W13: its result is there for whoever asks."""
    store = MemoryStore()
    execution = await GraphExecutor(line("a", "b", "c"), store=store).execute_stream()
    async with aclosing(execution.stream) as stream:
        async for event in stream:
            if isinstance(event, GraphStart):
                break
    async with asyncio.timeout(20):
        assert nodes_of(await execution.handle.result()) == ["a", "b", "c"]


# --- barriers -----------------------------------------------------------------------------------


async def test_a_barrier_waits_is_decided_and_goes_on() -> None:
    """004-05, 004-17, 004-18, 004-39, 004-42, 004-43, 004-45"""
    execution = await GraphExecutor(reviewed()).execute_stream()
    told = await follow(execution, REJECT, APPROVE)
    waits, ends = of(BarrierWaiting, told), of(BarrierResolved, told)
    assert [wait.barrier_id for wait in waits] == [BarrierID("gate", 1), BarrierID("gate", 2)]
    assert [wait.prompt for wait in waits] == ["Publish version 1?", "Publish version 2?"]
    assert [(end.decision, end.reason, end.decided_by) for end in ends] == [
        (BarrierStatus.REJECTED, "not good enough", "bob"),
        (BarrierStatus.APPROVED, None, "ann"),
    ]
    gates = [event.value for event in of(StateChanged, told) if event.key == "gate"]
    assert [(gate["approved"], gate["reject_reason"]) for gate in gates] == [
        (False, "not good enough"),
        (True, None),
    ]
    result = await execution.handle.result()
    assert nodes_of(result) == ["draft", "gate", "draft", "gate", "publish"]
    assert all(entry.success for entry in result.execution_log)
    first = told.index(waits[0])
    assert isinstance(told[first - 1], NodeStart)  # The draft's changes were applied before.


async def test_a_rejection_without_a_way_on_fails_the_run() -> None:
    """004-42: a normal edge is for an approval."""
    graph = Graph().barrier("gate").node("pay", passes).edge("gate", "pay")
    execution = await GraphExecutor(graph).execute_stream()
    await follow(execution, REJECT)
    with pytest.raises(NodeExecutionFailed, match="not good enough") as caught:
        await execution.handle.result()
    assert caught.value.code == "BARRIER_REJECTED"
    graph.node("explain", passes).edge("gate", "explain", on="rejected")
    execution = await GraphExecutor(graph).execute_stream()
    await follow(execution, REJECT)
    assert nodes_of(await execution.handle.result()) == ["gate", "explain"]


async def test_an_outcome_without_an_edge_of_its_own_takes_the_fallback() -> None:
    """004-27, 004-42"""
    graph = Graph().node("draft", counted).barrier("gate").node("pay", passes)
    graph.node("stop", passes).edge("draft", "gate").edge("gate", "pay", when="gate.approved")
    graph.edge("gate", "draft", when="n < 2").fallback("gate", "stop")
    execution = await GraphExecutor(graph).execute_stream()
    await follow(execution, REJECT, REJECT)
    result = await execution.handle.result()
    assert nodes_of(result) == ["draft", "gate", "draft", "gate", "stop"]
    plain = Graph().barrier("gate").node("pay", passes).node("stop", passes)
    execution = await GraphExecutor(
        plain.edge("gate", "pay").fallback("gate", "stop")
    ).execute_stream()
    await follow(execution, REJECT)
    assert nodes_of(await execution.handle.result()) == ["gate", "stop"]


async def test_skipping_approves_nothing() -> None:
    """004-W6"""
    graph = Graph().barrier("gate").node("pay", passes).node("later", passes)
    graph.edge("gate", "pay").edge("gate", "later", on="skipped")
    execution = await GraphExecutor(graph).execute_stream()
    await follow(execution, Decision.skip("holidays"))
    result = await execution.handle.result()
    assert nodes_of(result) == ["gate", "later"]
    assert (result.state["gate"]["skipped"], result.state["gate"]["approved"]) == (True, False)


async def test_a_decision_may_change_the_state_or_the_way() -> None:
    """004-42"""
    execution = await GraphExecutor(reviewed()).execute_stream()
    await follow(execution, Decision.modify({"n": 40}))
    assert (await execution.handle.result()).state["n"] == 40
    execution = await GraphExecutor(reviewed()).execute_stream()
    await follow(execution, Decision.reroute("draft"), APPROVE)
    assert (await execution.handle.result()).state["n"] == 2
    execution = await GraphExecutor(reviewed()).execute_stream()
    await follow(execution, until=BarrierWaiting)
    with pytest.raises(InvalidInput, match="nowhere"):
        await execution.handle.decide("gate", Decision.reroute("nowhere"))
    await execution.handle.cancel()


async def test_a_decision_for_a_visit_to_come_is_kept_and_used_once() -> None:
    """004-40, 004-41: it goes before one for every visit."""
    execution = await GraphExecutor(reviewed()).execute_stream()
    await follow(execution, until=BarrierWaiting)
    await execution.handle.decide(BarrierID("gate", 3), APPROVE)
    await execution.handle.decide("gate", REJECT)
    async with asyncio.timeout(20):
        result = await execution.handle.result()
    assert result.state["n"] == 3
    with pytest.raises(ExecutionFinished, match="COMPLETED"):
        await execution.handle.decide("gate", APPROVE)


async def test_what_was_decided_early_and_never_needed_is_told() -> None:
    """004-W7: and a decision for every visit may be for some of them only."""
    store = MemoryStore()
    execution = await GraphExecutor(reviewed(), store=store).execute_stream()
    await follow(execution, until=BarrierWaiting)
    await execution.handle.decide(BarrierID("gate", 9), APPROVE)
    await execution.handle.decide("gate", REJECT, max_uses=1, expires_in=3600)
    await execution.handle.decide(BarrierID("gate", 2), APPROVE)
    await execution.handle.result()
    log = await store.read(ExecutionID(execution.handle.run_id), limit=1_000)
    changes = [each.event for each in log if isinstance(each.event, EarlyDecisionChanged)]
    assert [(each.occurrence, each.change) for each in changes if each.change == "unused"] == [
        (9, "unused")
    ]


async def test_the_first_decision_wins() -> None:
    """004-40"""
    execution = await GraphExecutor(reviewed()).execute_stream()
    await follow(execution, until=BarrierWaiting)
    first = BarrierID("gate", 1)
    await execution.handle.decide(first, REJECT)
    with pytest.raises(AlreadyDecided, match="REJECTED"):
        await execution.handle.decide(first, APPROVE)
    with pytest.raises((NotFound, InvalidInput), match="gatt"):
        await execution.handle.decide("gatt", APPROVE)
    await execution.handle.cancel()


@pytest.mark.parametrize(
    "action, nodes",
    [("approve", ["gate", "yes"]), ("reject", ["gate", "no"]), ("skip", ["gate", "none"])],
)
async def test_a_timeout_takes_the_default(action: Any, nodes: list[str]) -> None:
    """004-44"""
    graph = Graph().barrier("gate", timeout=0.01, default_action=action)
    for name in ("yes", "no", "none"):
        graph.node(name, passes)
    graph.edge("gate", "yes").edge("gate", "no", on="rejected").edge("gate", "none", on="skipped")
    execution = await GraphExecutor(graph).execute_stream()
    [resolved] = of(BarrierResolved, await follow(execution))
    assert resolved.decision is BarrierStatus.TIMED_OUT
    assert nodes_of(await execution.handle.result()) == nodes


# --- the handle ---------------------------------------------------------------------------------


async def test_cancelling_ends_the_run_wherever_it_is() -> None:
    """004-06, 004-W3, 004-W4: at a barrier nothing is approved, a running node is stopped."""
    execution = await GraphExecutor(reviewed()).execute_stream()
    await follow(execution, until=BarrierWaiting)
    await execution.handle.cancel("enough")
    await execution.handle.cancel("enough")
    with pytest.raises(GraphCancelled, match="The run was cancelled: enough"):
        await execution.handle.result()

    inside, stopped = asyncio.Event(), asyncio.Event()

    async def held(state: StateView) -> None:
        inside.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            stopped.set()

    execution = await GraphExecutor(line("a", "b", a=held)).execute_stream()
    async with asyncio.timeout(20):
        await inside.wait()
        await execution.handle.cancel()
        with pytest.raises(GraphCancelled) as caught:
            await execution.handle.result()
    assert stopped.is_set()
    assert nodes_of(caught.value.run) == ["a"]


async def test_a_cancelled_barrier_is_told_as_cancelled() -> None:
    """004-W3"""
    execution = await GraphExecutor(reviewed()).execute_stream()
    await follow(execution, until=BarrierWaiting)
    await execution.handle.cancel()
    told = await follow(again(execution))
    assert [event.decision for event in of(BarrierResolved, told)] == [BarrierStatus.CANCELLED]


async def test_dropping_stream_and_handle_decides_nothing() -> None:
    """004-W5, 004-W8: the barrier goes on waiting in the store."""
    store = MemoryStore()
    execution = await GraphExecutor(reviewed(), store=store).execute_stream()
    await follow(execution, until=BarrierWaiting)
    run_id, handle = ExecutionID(execution.handle.run_id), execution.handle
    del execution
    gc.collect()
    await asyncio.sleep(0)
    summary = await store.summary(run_id)
    assert summary is not None
    assert (summary.status, summary.waiting_barriers) == (ExecutionStatus.WAITING, 1)
    await handle.cancel()
