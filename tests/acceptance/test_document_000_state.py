"""Source document 000 as a Python program meets it: ExecutionState and its operations."""

from __future__ import annotations

import asyncio
from dataclasses import FrozenInstanceError

import pytest

from dipeo_server.errors import InvalidInput, NodeError
from dipeo_server.executors import (
    DISPATCHED,
    ROOT_ID,
    Cell,
    CreateDependencies,
    DeleteDependencies,
    DependencyGraphMutation,
    EvaluationKind,
    ExecutionGraph,
    ExecutionState,
    FixedPoint,
    FunctionNotFound,
    NameCollision,
    NoGraphSender,
    OperationCall,
    OperationExecutionStatus,
    OperationNotFound,
    OperationNotReady,
    Reference,
    ReferenceKind,
)
from tests.acceptance.operation_graphs import (
    Functions,
    Gate,
    Opened,
    amount,
    defined,
    failing,
    given,
    graph_of,
    greet,
    price,
    ran,
    total,
)

_S = OperationExecutionStatus


# --- statuses and evaluations -------------------------------------------------------------------


async def test_operations_tell_their_statuses() -> None:
    """000-16: each with its state and its operation."""
    long = Cell(given(1), name="long", is_long_running=True)
    async with graph_of(price, long, failing) as opened:
        steps = await opened.steps(3)
        events = opened.graph.operation_events()
        told = [await anext(events) for _ in range(6)]
        await events.aclose()
        assert [(each.operation_id, each.status) for each in told] == [
            (1, _S.RUNNING),
            (1, _S.COMPLETED),
            (2, _S.LONG_RUNNING),
            (2, _S.COMPLETED),
            (3, _S.RUNNING),
            (3, _S.ERROR),
        ]
        assert [each.state_id for each in told] == [step.id for step in steps for _ in range(2)]


async def test_dependency_graph_mutations_replace_and_remove_the_edges_of_one_operation() -> None:
    """000-17"""
    async with graph_of(price, amount, total, given(0)) as opened:
        order = ((1, Reference.ordering()), (4, Reference.keyword("price")))
        mutations: list[DependencyGraphMutation] = [CreateDependencies(3, order)]
        created = opened.state.apply_dependency_graph_mutations(mutations)
        assert created.get_dependency_graph()[3] == (
            (1, (Reference.ordering(),)),
            (4, (Reference.keyword("price"),)),
        )
        deleted = created.apply_dependency_graph_mutations([DeleteDependencies(3)])
        assert deleted.get_dependency_graph()[3] == ()
        anew = deleted.update_op("total", Cell(total))
        assert anew.get_dependency_graph() == opened.state.get_dependency_graph()
        with pytest.raises(OperationNotFound):
            opened.state.apply_dependency_graph_mutations([DeleteDependencies(9)])


async def test_references_are_of_five_kinds() -> None:
    """000-18: positional, keyword, global name, function, and order without a value."""

    async def joins(first: int, second: int, third: int, say: object) -> list[object]:
        assert callable(say)
        return [first, second, third, await say("you")]

    said = Cell(given(0), name="speaker", functions={"say": greet})
    async with graph_of(price, amount, total, said, Cell(joins), failing) as opened:
        uses = (
            (1, Reference.positional(0)),
            (2, Reference.keyword("second")),
            (1, Reference.global_name("third")),
            (4, Reference.function_invocation("say")),
            (3, Reference.ordering()),
        )
        assert [reference.kind for _, reference in uses] == list(ReferenceKind)
        draft = opened.state.apply_dependency_graph_mutations([CreateDependencies(5, uses)])
        await opened.graph.progress_graph(draft)
        steps = await Opened(opened.graph, await opened.graph.state(draft.id)).steps(6)
        assert (5, [3, 4, 3, "hello you"]) in ran(steps)
        order = [operation for operation, _ in ran(steps)]
        assert order.index(5) > order.index(3)


async def test_a_future_state_becomes_the_state_or_none() -> None:
    """000-19: None where what makes it has gone away."""
    gate = Gate()
    async with graph_of(gate.work) as opened:
        future = await opened.graph.begin_step(opened.state.id)
        found = await opened.graph.get_state_at_id(future.id)
        assert found is not None
        assert found.kind is EvaluationKind.EXECUTING
        gate.may_end.set()
        state, again = await future, await future
        assert state is not None
        assert state == again
        assert (state.id, state.state_get_value(1)) == (future.id, "through")
        lost = Gate()
        cell = await defined(opened.graph, Cell(lost.work, name="lost"), at=state.id)
        future = await opened.graph.begin_step(cell.id)
        waiting = asyncio.ensure_future(future)
        await lost.has_begun.wait()
        await opened.graph.shutdown()
        assert await waiting is None
        assert await future is None


async def test_a_state_is_complete_executing_failed_or_was_never_made() -> None:
    """000-20: and COMPLETE stays so."""
    gate = Gate()
    async with graph_of(gate.work) as opened:
        future = await opened.graph.begin_step(opened.state.id)
        executing = await opened.graph.get_state_at_id(future.id)
        gate.may_end.set()
        await future
        complete = await opened.graph.get_state_at_id(future.id)
        more = await defined(opened.graph, failing, at=future.id)
        failed = await opened.graph.external_step_execution(more.id)
        assert executing is not None
        assert complete is not None
        assert executing.kind is EvaluationKind.EXECUTING
        assert (complete.kind, complete.future) == (EvaluationKind.COMPLETE, None)
        assert failed.kind is EvaluationKind.ERROR
        assert failed.failure is not None
        assert failed.failure.code == "CODE_ERROR"
        assert await opened.graph.get_state_at_id(future.id) == complete


# --- values -------------------------------------------------------------------------------------


async def test_a_state_with_a_graph_sender_publishes_what_becomes_of_it() -> None:
    """000-21: and waits until that is committed; one without says so."""
    state, _ = ExecutionState.new().upsert_operation(Cell(price))
    assert (ExecutionState.new().id, len(ExecutionState.new().operations)) == (ROOT_ID, 0)
    with pytest.raises(NoGraphSender):
        await state.step_execution()
    with pytest.raises(NoGraphSender):
        await state.dispatch("greet")
    async with await ExecutionGraph.new() as graph:
        step = await state.with_graph_sender(graph).step_execution()
        assert ran([step]) == [(1, 3)]
        assert graph.state_ids() == [ROOT_ID, state.id, step.id]


async def test_a_clone_has_another_id_a_parent_and_nothing_fresh() -> None:
    """000-22: and counts one on."""
    async with graph_of(price) as opened:
        [step] = await opened.steps(1)
        clone = step.state.clone_with_new_id()
        assert clone.id not in (step.id, step.state.clone_with_new_id().id)
        assert clone.parent_id == step.id
        assert (set(step.state.fresh), set(clone.fresh)) == ({1}, set())
        assert clone.exec_counter == step.state.exec_counter + 1 == 3
        assert clone.outputs == step.state.outputs
        await opened.graph.progress_graph(clone)
        kept = await opened.graph.state(clone.id)
        assert (kept.exec_counter, kept.fresh, kept.parent_id) == (3, frozenset(), step.id)


async def test_values_are_read_and_inserted() -> None:
    """000-23: an insert marks the operation as set; what depends on it runs with it."""
    async with graph_of(price, amount, total) as opened:
        draft = opened.state.state_insert("price", 10)
        assert (opened.state.has_been_set("price"), draft.has_been_set("price")) == (False, True)
        assert (draft.state_get_value(1), set(draft.fresh)) == (10, {1})
        assert draft.state_get("amount") is None
        await opened.graph.progress_graph(draft)
        kept = await opened.graph.state(draft.id)
        assert (kept.state_get_value(1), set(kept.fresh)) == (10, {1})
        done = await Opened(opened.graph, kept).steps(2)
        assert ran(done) == [(2, 4), (3, 40)]
        with pytest.raises(OperationNotFound):
            kept.state_get("prize")


async def test_a_value_that_is_there_is_replaced_in_a_state_of_its_own() -> None:
    """000-23: what was made of it stays; the state before it stays too."""
    async with graph_of(price, amount, total) as opened:
        steps = await opened.steps(2)
        draft = steps[-1].state.state_insert("price", 10)
        await opened.graph.progress_graph(draft)
        kept = await opened.graph.state(draft.id)
        assert ran([await kept.step_execution()]) == [(3, 40)]
        assert ran([await steps[-1].state.step_execution()]) == [(3, 12)]
        early = opened.state.state_insert("total", 1)
        with pytest.raises(OperationNotReady):
            await opened.graph.progress_graph(early)


async def test_a_consumable_value_is_seen_once() -> None:
    """000-23: it is gone from the next state, and was there in the one before."""
    async with graph_of(Cell(given("hi"), name="word", is_consumable=True), price) as opened:
        state = (await opened.steps(2))[-1].state
        values, draft = state.state_consume_marked()
        assert values == {1: "hi"}
        assert set(draft.outputs) == {2}
        await opened.graph.progress_graph(draft)
        kept = await opened.graph.state(draft.id)
        assert (kept.state_get_value("word"), kept.state_get_value("price")) == (None, 3)
        assert kept.state_consume_marked()[0] == {}
        assert state.state_consume_marked(["price"])[0] == {}
        assert (await opened.graph.state(state.id)).state_get_value("word") == "hi"


# --- operations and dependencies ----------------------------------------------------------------


async def test_dependencies_are_drawn_by_name() -> None:
    """000-24"""
    async with graph_of(price, amount, total) as opened:
        dot = opened.state.render_dependency_graph()
        assert dot.startswith("digraph")
        assert dot.count(" -> ") == 2
        for name in ("price", "amount", "total"):
            assert f'label="{name}' in dot


async def test_the_dependency_graph_is_told_by_operation_and_flat() -> None:
    """000-25"""
    async with graph_of(price, amount, total) as opened:
        names = {name: (Reference.global_name(name),) for name in ("price", "amount")}
        needed = ((1, names["price"]), (2, names["amount"]))
        assert opened.state.get_dependency_graph() == {1: (), 2: (), 3: needed}
        flat = opened.state.get_dependency_graph_flattened()
        assert flat == ((1, 3, names["price"]), (2, 3, names["amount"]))


def test_operations_are_defined_by_id_and_found_by_name() -> None:
    """000-26: defining one anew derives its dependencies anew."""
    state, first = ExecutionState.new().upsert_operation(Cell(price))
    state, second = state.upsert_operation(Cell(given(1), name="amount"), 7)
    state, third = state.upsert_operation(Cell(total))
    assert (first, second, third) == (1, 7, 8)
    assert state.operations.name_to_id == {"price": 1, "amount": 7, "total": 8}
    assert len(state.get_dependency_graph_flattened()) == 2
    state = state.update_op("total", Cell("total = price * 2"))
    assert state.get_dependency_graph_flattened() == ((1, 8, (Reference.global_name("price"),)),)
    with pytest.raises(OperationNotFound) as caught:
        state.update_op("totl", Cell(total))
    assert caught.value.hint == "Did you mean 'total'?"
    with pytest.raises(InvalidInput, match="no Python"):
        state.upsert_operation(Cell("total ="))
    with pytest.raises(InvalidInput, match="no async function"):
        state.upsert_operation(Cell(len))  # type: ignore[arg-type] # That is the test.


async def test_who_reads_a_name_depends_on_who_exports_it() -> None:
    """000-27: values and functions, of functions and of code; two exporters collide."""
    code = (
        "import math\nside = math.sqrt(area)\ndef twice(x):\n    return 2 * x * factor\nfactor = 10"
    )
    async with graph_of(
        Cell(given(16), name="area"), Cell(code), Cell("result_ = twice(side)\nlong = result_ + 1")
    ) as opened:
        assert opened.state.get_dependency_graph_flattened() == (
            (1, 2, (Reference.global_name("area"),)),
            (2, 3, (Reference.global_name("side"), Reference.function_invocation("twice"))),
        )
        steps = await opened.steps(3)
        assert steps[1].state.state_get_value(2) == {"side": 4.0, "factor": 10}
        assert steps[2].state.state_get_value(3) == {"result_": 80.0, "long": 81.0}
        with pytest.raises(NameCollision, match="both export 'side'"):
            opened.state.upsert_operation(Cell("side = 1", name="other"))
        with pytest.raises(NameCollision, match="both export 'twice'"):
            opened.state.upsert_operation(Cell(given(1), functions={"twice": greet}))


async def test_what_nobody_exports_is_waited_for() -> None:
    """000-27: the order in which operations are defined does not matter."""
    async with graph_of(total, price) as opened:
        [step] = await opened.steps(1)
        with pytest.raises(FixedPoint):
            await step.state.step_execution()
        late = await defined(opened.graph, amount, at=step.id)
        assert ran(await Opened(opened.graph, late).steps(2)) == [(3, 4), (1, 12)]


async def test_mutations_give_another_state_and_never_change_one() -> None:
    """000-28"""
    async with graph_of(price, amount, total) as opened:
        before = opened.state.get_dependency_graph()
        opened.state.apply_dependency_graph_mutations([DeleteDependencies(3)])
        assert opened.state.get_dependency_graph() == before
        with pytest.raises(FrozenInstanceError):
            opened.state.fresh = frozenset({1})  # type: ignore[misc] # That is the test.


async def test_dispatch_calls_a_function_with_a_state_before_and_after() -> None:
    """000-29: the result is there under a reserved id; calls nest."""

    async def outer(payload: str, call: OperationCall) -> str:
        inner = await call.dispatch("greet", payload)
        return f"{inner}!"

    functions: Functions = {"greet": greet, "outer": outer}
    async with graph_of(Cell(given(0), name="host", functions=functions)) as opened:
        called = await opened.state.dispatch("outer", "you")
        assert called.value == called.state.state_get_value(DISPATCHED) == "hello you!"
        elements = opened.graph.get_execution_graph_elements()
        parents = {child: parent for parent, child in elements.edges}
        before = parents[called.state.id]
        assert parents[before] == opened.state.id
        assert (await opened.graph.state(before)).state_get(DISPATCHED) is None
        assert elements.groups == {called.state.id}
        [inside] = [child for child, parent in parents.items() if parent == called.state.id]
        [behind] = [child for child, parent in parents.items() if parent == inside]
        assert (await opened.graph.state(inside)).state_get(DISPATCHED) is None
        assert (await opened.graph.state(behind)).state_get_value(DISPATCHED) == "hello you"
        again = await called.state.dispatch("greet", "me")
        assert again.state.state_get_value(DISPATCHED) == "hello me"
        assert (await opened.graph.state(called.state.id)).state_get_value(
            DISPATCHED
        ) == "hello you!"


async def test_functions_of_code_are_dispatched_with_the_values_they_refer_to() -> None:
    """000-29"""
    code = "def greeting(name):\n    return f'{word} {name}'\nword = 'good ' + day"
    async with graph_of(Cell(given("day"), name="day"), Cell(code)) as opened:
        state = (await opened.steps(2))[-1].state
        assert (await state.dispatch("greeting", "to you")).value == "good day to you"
        with pytest.raises(FunctionNotFound, match="'greting'"):
            await state.dispatch("greting")


async def test_a_function_that_fails_is_told_to_who_dispatched_it() -> None:
    """000-29"""

    async def fails(payload: object) -> None:
        raise ValueError(f"not {payload}")

    async def calls(call: OperationCall) -> None:
        await call.dispatch("fails", 1)

    async with graph_of(Cell(given(0), name="host", functions={"fails": fails}), calls) as opened:
        with pytest.raises(NodeError, match="ValueError: not 2"):
            await opened.state.dispatch("fails", 2)
        steps = await opened.steps(2)
        assert "not 1" in steps[-1].state.failures[2].message


async def test_a_step_is_recorded_executing_and_then_complete() -> None:
    """000-30: the next operation is chosen, run, and its value is there and fresh."""
    gate = Gate()
    async with graph_of(gate.work) as opened:
        assert opened.state.ready == (1,)
        future = await opened.graph.begin_step(opened.state.id)
        await gate.has_begun.wait()
        found = await opened.graph.get_state_at_id(future.id)
        assert found is not None
        assert found.kind is EvaluationKind.EXECUTING
        gate.may_end.set()
        state = await future
        assert state is not None
        assert (state.id, set(state.fresh), state.ready) == (future.id, {1}, ())
        assert state.state_get_value(1) == "through"
