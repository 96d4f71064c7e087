"""Source document 004 as a Python program meets it: GraphExecutor, its routing and its state."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.delta import UnknownReducer
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.errors import InvalidInput
from dipeo_server.executors import (
    End,
    Fallback,
    GoTo,
    GoToNext,
    Graph,
    GraphError,
    GraphExecutor,
    GraphPaused,
    InvalidGraph,
    MissingEdge,
    NodeExecutionFailed,
    NodeNotFound,
    ObservedError,
    StateChanged,
    StateView,
    Step,
    StepsExceeded,
    Unrouted,
    open_store,
)
from tests.acceptance.walking import follow, gives, line, nodes_of, of, passes, puts, walk

# --- run control --------------------------------------------------------------------------------


async def counts(state: StateView) -> Mapping[str, Any]:
    return {"n": state.get("n", 0) + 1}


async def test_the_51st_step_is_one_too_many() -> None:
    """004-01, 004-W22: the run is ended, with its log."""
    endless = Graph().node("a", counts).edge("a", "a")
    with pytest.raises(StepsExceeded, match="not over after 50 steps") as caught:
        await walk(endless)
    assert caught.value.limit == GraphExecutor().max_steps == 50
    assert len(caught.value.execution_log) == 50
    assert caught.value.state == {"n": 50}
    with pytest.raises(InvalidInput, match="at least 1"):
        GraphExecutor(max_steps=0)


async def test_a_stream_pauses_at_the_limit_and_can_be_resumed_with_more() -> None:
    """004-W22"""
    twelve = Graph().node("a", counts).edge("a", "a", when="n < 12").node("b", passes)
    execution = await GraphExecutor(twelve.edge("a", "b"), max_steps=5).execute_stream()
    paused = (await follow(execution, until=GraphPaused))[-1]
    assert isinstance(paused, GraphPaused)
    assert paused.cause == "max_steps"
    with pytest.raises(InvalidInput, match="limit"):
        await execution.handle.resume()
    await execution.handle.resume(max_steps=13)
    result = await execution.handle.result()
    assert len(result.execution_log) == 13


async def test_an_executor_is_made_plain_or_with_everything(tmp_path: Path) -> None:
    """004-03"""
    graph = line("a", "b")
    store = await open_store(f"sqlite:{tmp_path / 'runs.db'}")
    full = GraphExecutor(graph, 50, store, None)
    plain = GraphExecutor()
    with pytest.raises(InvalidGraph, match="no graph to run"):
        await plain.execute()
    plain.set_graph(graph)
    plain.set_store(store)
    plain.set_policy(None)
    assert plain.graph_hash == full.graph_hash
    assert GraphExecutor(line("a", "c")).graph_hash != full.graph_hash
    result = await plain.execute()
    assert [row.id for row in (await store.list_executions(ExecutionQuery())).items] == [
        result.trace_id
    ]
    await store.close()


async def test_a_graph_with_a_barrier_needs_a_stream() -> None:
    """004-04"""
    graph = line("a").barrier("gate").edge("a", "gate")
    with pytest.raises(InvalidGraph, match="'gate'") as caught:
        await GraphExecutor(graph).execute()
    assert caught.value.hint is not None
    assert "execute_stream" in caught.value.hint


@pytest.mark.parametrize(
    "graph, named",
    [
        (line("draft", "b").start("draf"), "The graph names 'draf'"),
        (line("draft", "b").end("c"), "The graph names 'c'"),
        (line("draft", "b").edge("b", "drat"), "The edge b → drat names 'drat'"),
    ],
)
async def test_a_node_that_is_not_there_is_named(graph: Graph, named: str) -> None:
    """004-08"""
    with pytest.raises(NodeNotFound, match=named):
        await GraphExecutor(graph).execute()


@pytest.mark.parametrize(
    "graph, problem",
    [
        (Graph(), "no nodes"),
        (line("a", "b").edge("a", "b", on="rejected"), "is `on` 'rejected'"),
        (line("a", "b").edge("a", "b", when="n <"), "The condition of a → b"),
        (
            Graph().barrier("g").node("b", passes).edge("g", "b", when=bool),
            "is a function",
        ),
        (Graph().node("a", passes, timeout=-1), "`timeout`"),
    ],
)
async def test_a_graph_that_cannot_run_is_refused(graph: Graph, problem: str) -> None:
    with pytest.raises(InvalidGraph, match=problem):
        await GraphExecutor(graph).execute_stream()


def test_names_and_settings_of_nodes_are_checked_at_once() -> None:
    with pytest.raises(InvalidGraph, match="'a' is taken"):
        line("a").node("a", passes)
    with pytest.raises(InvalidGraph, match="no setting 'timeot'") as caught:
        Graph().node("a", passes, timeot=3)
    assert caught.value.hint == "Did you mean 'timeout'?"


# --- state --------------------------------------------------------------------------------------


async def test_nodes_return_changes_and_reducers_apply_them() -> None:
    """004-23: by key; without a reducer the last write counts."""
    graph = line("a", "b", a=puts(n=1, text="a", seen="a"), b=gives(Step({"n": 5}, ("text",))))
    graph.node("c", puts(n=2, seen="c", text="c")).edge("b", "c")
    executor = GraphExecutor(graph)
    executor.register_reducer("n", "add")
    executor.register_reducer("seen", lambda old, new: f"{new} after {old}")
    result = await executor.execute({"n": 10, "other": True})
    assert result.state == {"n": 18, "text": "c", "seen": "c after a", "other": True}
    with pytest.raises(UnknownReducer, match="no reducer named 'sum'"):
        executor.register_reducer("n", "sum")


async def test_a_reducer_that_cannot_merge_fails_the_node_and_changes_nothing() -> None:
    """004-W14"""

    def picky(old: int, new: int) -> int:
        raise ValueError("never")

    for reducer in ("add", picky):
        executor = GraphExecutor(line("a", a=puts(n=[])))
        executor.register_reducer("n", reducer)
        execution = await executor.execute_stream({"n": 1})
        told = await follow(execution)
        assert of(StateChanged, told) == []
        with pytest.raises(NodeExecutionFailed, match="'n'") as caught:
            await execution.handle.result()
        assert caught.value.code == "CONFLICT"


async def test_a_node_sees_a_copy_of_the_state() -> None:
    """004-23"""

    async def meddles(state: StateView) -> None:
        state["list"].append(1)
        with pytest.raises(TypeError):
            state["n"] = 2  # type: ignore[index] # That is the test.

    result = await walk(line("a", "b", a=meddles), {"list": []})
    assert result.state == {"list": []}


# --- routing ------------------------------------------------------------------------------------


async def test_a_node_may_go_to_any_node_that_an_edge_leads_to() -> None:
    """004-26"""
    graph = line("a", "b", a=gives(GoTo("c"))).node("c", passes).edge("a", "c")
    assert nodes_of(await walk(graph)) == ["a", "c"]
    graph = line("a", "b", a=gives(GoTo("c"))).node("c", passes).edge("b", "c")
    with pytest.raises(MissingEdge, match="'a' wants to go to 'c'") as caught:
        await walk(graph)
    assert caught.value.node == "a"


@pytest.mark.parametrize("as_function", [True, False])
@pytest.mark.parametrize(
    "n, path", [(1, ["a", "one"]), (2, ["a", "two"]), (3, ["a", "else"]), (4, ["a", "else"])]
)
async def test_the_first_condition_goes_before_the_normal_edge(
    n: int, path: list[str], as_function: bool
) -> None:
    """004-27: in the order of the edges, whether the condition is an expression or a function."""

    def is_small(state: StateView) -> bool:
        return bool(state["n"] <= 2)

    graph = line("a", "else", a=gives(GoToNext())).node("one", passes).node("two", passes)
    graph.edge("a", "one", when="n == 1")
    graph.edge("a", "two", when=is_small if as_function else "n <= 2")
    assert nodes_of(await walk(graph, {"n": n})) == path


@pytest.mark.parametrize("condition", ["n > 5", lambda state: state["n"] > 5])
async def test_the_fallback_edge_is_taken_when_nothing_else_is(condition: Any) -> None:
    """004-27, 004-W18"""
    graph = line("a").node("b", passes).node("c", passes)
    graph.edge("a", "b", when=condition).fallback("a", "c")
    assert nodes_of(await walk(graph, {"n": 1})) == ["a", "c"]
    assert nodes_of(await walk(graph, {"n": 6})) == ["a", "b"]


async def test_where_nothing_holds_every_condition_is_told_with_its_value() -> None:
    """004-28, 004-W17: and each was evaluated once."""
    asked: list[int] = []

    def is_large(state: StateView) -> bool:
        asked.append(state["n"])
        return False

    graph = line("a").node("b", passes).edge("a", "b", when="n > 5 or n < 0")
    with pytest.raises(Unrouted, match="n > 5 or n < 0 = False") as caught:
        await walk(graph, {"n": 1})
    assert caught.value.node == "a"
    assert caught.value.execution_log[0].success is False
    with pytest.raises(Unrouted, match="n > 5 or n < 0 = False; is_large = False"):
        await walk(graph.edge("a", "b", when=is_large), {"n": 1})
    assert asked == [1]


async def test_a_node_without_edges_is_an_end_or_an_error() -> None:
    """004-29"""
    graph = line("a", "b").node("c", passes).edge("a", "c", when="False").end("b")
    with pytest.raises(InvalidGraph, match="'c' has no outgoing edge and is not an end node"):
        await walk(graph)


async def test_only_an_end_node_may_end_the_run() -> None:
    """004-30"""
    with pytest.raises(MissingEdge, match="'a' wants to end the run, and may not"):
        await walk(line("a", "b", a=gives(End())))
    assert nodes_of(await walk(line("a", "b", b=gives(End())))) == ["a", "b"]


async def test_the_end_node_finishes_the_run_whatever_edges_it_has() -> None:
    """004-31, 004-W21: there may be several."""
    graph = line("a", "b", "c", b=gives(GoTo("c"))).edge("c", "a").end("b", "c")
    assert nodes_of(await walk(graph)) == ["a", "b"]
    group = Graph().parallel("a", {"left": passes}).node("b", passes).edge("a", "b").end("a", "b")
    assert nodes_of(await walk(group)) == ["a"]


async def test_a_node_may_fall_back_and_say_why() -> None:
    """004-32, 004-W19"""
    graph = line("a", "b", a=gives(Fallback("no model", {"rough": True}))).node("c", passes)
    execution = await GraphExecutor(graph.fallback("a", "c")).execute_stream()
    told = await follow(execution)
    result = await execution.handle.result()
    assert [(entry.node, entry.success) for entry in result.execution_log] == [
        ("a", False),
        ("c", True),
    ]
    assert result.state == {"rough": True}
    [observed] = of(ObservedError, told)
    assert (observed.node, observed.code) == ("a", "DEGRADED")
    assert observed.message == "fallback to c: no model"
    with pytest.raises(NodeExecutionFailed, match="no fallback edge"):
        await walk(line("a", "b", a=gives(Fallback("no model"))))


async def test_a_failure_is_an_error_with_everything_that_ran() -> None:
    """004-32, 004-W19"""

    async def fails(state: StateView) -> None:
        raise ValueError("no")

    with pytest.raises(GraphError, match="ValueError: no") as caught:
        await walk(line("a", "b", "c", a=puts(n=1), b=fails))
    error = caught.value
    assert [(e.step, e.node, e.success) for e in error.execution_log] == [
        (1, "a", True),
        (2, "b", False),
    ]
    assert (error.node, error.code, error.state) == ("b", "CODE_ERROR", {"n": 1})
    assert error.trace_id
    assert error.duration >= 0
    graph = line("a", "b", b=fails).node("c", passes).fallback("b", "c")
    assert nodes_of(await walk(graph)) == ["a", "b", "c"]


async def test_what_is_no_step_is_refused() -> None:
    with pytest.raises(NodeExecutionFailed, match="returned int, which is no step"):
        await walk(line("a", a=gives(7)))


async def test_errors_may_accompany_success() -> None:
    """004-33"""
    step = Step({"n": 1}, observed={"STALE": "yesterday's prices"})
    execution = await GraphExecutor(line("a", a=gives(step))).execute_stream()
    [observed] = of(ObservedError, await follow(execution))
    assert (observed.code, observed.message) == ("STALE", "yesterday's prices")
    assert (await execution.handle.result()).state == {"n": 1}


@pytest.mark.parametrize("seed", range(20))
async def test_a_walk_goes_round_circles_however_they_are_entangled(seed: int) -> None:
    """004-26: any graph, any way through it."""
    dice = random.Random(seed)
    names = "abcde"[: dice.randint(2, 5)]
    share = dice.choice([0.3, 0.6, 1.0])
    edges = [(a, b) for a in names for b in names if dice.random() < share]
    dice.shuffle(edges)
    plan = names[0]
    while len(plan) < 25 and (ways := sorted(b for a, b in edges if a == plan[-1])):
        plan += dice.choice(ways)

    async def turn(state: StateView) -> Step:
        path = state["path"] + state.node
        follows = plan[len(path)] if len(path) < len(plan) else "end"
        return Step({"path": path}, next=GoTo(follows))

    graph = Graph()
    for name in names:
        graph.node(name, turn)
    graph.node("end", passes)
    for source, target in [*edges, *((name, "end") for name in names)]:
        graph.edge(source, target)
    assert (await walk(graph, {"path": ""})).state == {"path": plan}
