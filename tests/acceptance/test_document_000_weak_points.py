"""Weak points of source document 000, each with the behaviour that is right."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from pathlib import Path
from textwrap import dedent
from uuid import uuid4

import pytest

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.domains.execution.signals import AbortRequested
from dipeo_server.errors import InvalidState, NotFound
from dipeo_server.executors import (
    ROOT_ID,
    Cell,
    EvaluationKind,
    ExecutionGraph,
    FunctionNotFound,
    MemoryStore,
    OperationCall,
    OperationNotFound,
    StateBusy,
    StateNotFound,
)
from dipeo_server.executors.hosting import Hosting
from dipeo_server.node_types import node_types
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
    stored,
    total,
)


async def test_in_a_merged_history_the_nearest_value_wins() -> None:
    """000-W1: over cycles, inserts and branches; as a state has one parent, nothing conflicts."""
    async with graph_of(price, amount, total) as opened:
        steps = await opened.steps(2)
        newer = steps[1].state.state_insert("price", 10)
        await opened.graph.progress_graph(newer)
        last = await (await opened.graph.state(newer.id)).step_execution()
        merged = await opened.graph.get_merged_state_history(last.id)
        told = [(key, each.state_id, each.value) for key, each in merged.values.items()]
        assert told == [(2, steps[1].id, 4), (1, newer.id, 10), (3, last.id, 40)]
        assert merged.conflicts == ()
        before = await opened.graph.get_merged_state_history(steps[1].id)
        assert before.values[1].value == 3


async def test_what_is_not_there_is_a_typed_error() -> None:
    """000-W2: no panic, and no bare KeyError."""
    async with graph_of(price) as opened:
        graph = opened.graph
        [step] = await opened.steps(1)
        nowhere = uuid4()
        wishes: list[Awaitable[object]] = [
            graph.state(nowhere),
            graph.begin_step(nowhere),
            graph.mutate_graph(nowhere, Cell(amount)),
            graph.get_merged_state_history(nowhere),
        ]
        for wish in wishes:
            with pytest.raises(StateNotFound) as caught:
                await wish
            assert isinstance(caught.value, NotFound)
        with pytest.raises(FunctionNotFound):
            await step.state.dispatch("greet")
        with pytest.raises(OperationNotFound):
            await step.state.step_execution("prize")


async def test_stepping_an_executing_state_gives_its_pending_handle() -> None:
    """000-W2: nothing runs twice; where a whole state is needed, StateBusy has the handle."""
    gate = Gate()
    async with graph_of(gate.work) as opened:
        first = await opened.graph.begin_step(opened.state.id)
        again = await opened.graph.begin_step(first.id)
        seen = await opened.graph.external_step_execution(first.id)
        assert first.id == again.id == seen.id
        assert seen.kind is EvaluationKind.EXECUTING
        with pytest.raises(StateBusy) as caught:
            await opened.graph.step_execution_with_previous_state(seen)
        with pytest.raises(StateBusy):
            await opened.graph.state(first.id)
        gate.may_end.set()
        assert seen.future is not None
        for handle in (first, again, caught.value.pending, seen.future):
            state = await handle
            assert state is not None
            assert state.id == first.id
        assert len(opened.graph.state_ids()) == 3


async def test_readers_are_not_held_up_by_what_executes() -> None:
    """000-W3: nothing is locked while an operation runs, and nobody polls."""
    gate = Gate()
    async with graph_of(price, gate.work) as opened:
        [step] = await opened.steps(1)
        future = await opened.graph.begin_step(step.id)
        await gate.has_begun.wait()
        assert (await opened.graph.state(step.id)).state_get_value("price") == 3
        assert len(opened.graph.get_execution_graph_elements().edges) == 3
        branch = await opened.graph.mutate_graph(step.id, Cell(amount))
        assert ran([await branch.state.step_execution("amount")]) == [(3, 4)]
        gate.may_end.set()
        assert await future is not None


async def test_states_outlive_the_program(tmp_path: Path) -> None:
    """000-W4: ids, edges, values, what was printed, and what can be done next."""
    async with stored(tmp_path) as store:

        async def calls(call: OperationCall, total: int) -> str:
            return f"{await call.dispatch('greet', 'you')} {total}"

        speaker = Cell(given(0), name="speaker", functions={"greet": greet})
        async with graph_of(price, amount, total, speaker, calls, store=store) as opened:
            steps = await opened.steps(5)
            await steps[1].state.step_execution()
            ids, elements = opened.graph.state_ids(), opened.graph.get_execution_graph_elements()
            dot = opened.graph.render_execution_graph_to_graphviz()
            before = [await opened.graph.get_state_at_id(each) for each in ids]
        async with await ExecutionGraph.open(store, opened.graph.graph_id) as graph:
            assert graph.state_ids() == ids
            assert graph.get_execution_graph_elements() == elements
            assert graph.render_execution_graph_to_graphviz() == dot
            assert [await graph.get_state_at_id(each) for each in ids] == before
            with pytest.raises(FunctionNotFound, match="'total'"):
                await graph.begin_step(steps[1].id, "total")
        functions = {"total": total}
        async with await ExecutionGraph.open(store, graph.graph_id, functions=functions) as graph:
            again = await (await graph.state(steps[1].id)).step_execution("total")
            assert ran([again]) == [(3, 12)]


async def test_a_store_may_hold_several_graphs(tmp_path: Path) -> None:
    """000-W4: each is taken over alone."""
    async with stored(tmp_path) as store, graph_of(price, store=store) as one:
        async with graph_of(amount, store=store) as other:
            [step] = await other.steps(1)
        async with await ExecutionGraph.open(store, other.graph.graph_id) as graph:
            assert graph.state_ids() == [ROOT_ID, other.state.id, step.id]
            assert ran(await one.steps(1)) == [(1, 3)]
        assert await one.graph.get_state_at_id(step.id) is None


CRASHES = """
import asyncio, os, sys
from dipeo_server.executors import ROOT_ID, Cell, ExecutionGraph, open_store


async def first():
    return 1


async def crashes(first):
    os._exit(9)


async def main():
    store = await open_store("sqlite:" + sys.argv[1])
    graph = await ExecutionGraph.new(store)
    one = await graph.mutate_graph(ROOT_ID, Cell(first))
    two = await graph.mutate_graph(one.id, Cell(crashes))
    step = await two.state.step_execution()
    print(graph.graph_id, two.id, step.id, flush=True)
    await graph.begin_step(step.id)
    await asyncio.Event().wait()


asyncio.run(main())
"""


async def test_a_graph_goes_on_after_a_crash(tmp_path: Path) -> None:
    """000-W4: what had completed does not run again, what was executing does."""
    script = tmp_path / "crashes.py"
    script.write_text(dedent(CRASHES))
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, tmp_path / "graph.db", stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert process.returncode == 9
    graph_id, start, done = told.decode().split()

    async def first() -> int:
        raise AssertionError("it had completed")

    functions: Functions = {"first": first, "crashes": total_of_first}
    async with (
        stored(tmp_path) as store,
        await ExecutionGraph.open(store, graph_id, functions=functions) as graph,
    ):
        ids = graph.state_ids()
        assert [str(each) for each in ids[-3:-1]] == [start, done]
        evaluation = await graph.get_state_at_id(ids[-1])
        assert evaluation is not None
        state = evaluation.state or (await evaluation.future if evaluation.future else None)
        assert state is not None
        assert (state.state_get_value("first"), state.state_get_value("crashes")) == (1, 2)
        assert str(state.parent_id) == done


async def total_of_first(first: int) -> int:
    return first + 1


async def test_a_call_that_had_ended_is_not_made_again(tmp_path: Path) -> None:
    """000-W4, 000-29: what called it runs again, and is given what it gave."""
    gate, made = Gate(), list[object]()

    async def counts(payload: object) -> int:
        made.append(payload)
        return len(made)

    async def calls(call: OperationCall) -> object:
        number = await call.dispatch("counts", "a")
        await gate.work()
        return number

    functions: Functions = {"calls": calls, "counts": counts, "host": given(0)}
    host = Cell(functions["host"], name="host", functions={"counts": counts})
    async with stored(tmp_path) as store:
        async with graph_of(host, calls, store=store) as opened:
            [step] = await opened.steps(1)
            future = await opened.graph.begin_step(step.id)
            await gate.has_begun.wait()
        edges = opened.graph.get_execution_graph_elements().edges
        gate.may_end.set()
        graph_id = opened.graph.graph_id
        async with await ExecutionGraph.open(store, graph_id, functions=functions) as graph:
            found = await graph.get_state_at_id(future.id)
            assert found is not None
            state = found.state or (await found.future if found.future else None)
            assert state is not None
            assert state.state_get_value("calls") == 1
            assert made == ["a"]
            assert graph.get_execution_graph_elements().edges == edges


async def test_what_called_and_failed_calls_anew_on_every_branch() -> None:
    """000-29, 000-W2: as each is another attempt; and no state is there twice."""
    made = list[object]()

    async def counts(payload: object) -> int:
        made.append(payload)
        return len(made)

    async def calls(call: OperationCall) -> object:
        raise ValueError(await call.dispatch("counts", "a"))

    host = Cell(given(0), name="host", functions={"counts": counts})
    async with graph_of(host, calls, store=(store := MemoryStore())) as opened:
        failed = (await opened.steps(2))[-1]
        for _ in range(2):
            again = await failed.state.step_execution("calls")
            assert again.state.failures[2].message.startswith("ValueError: ")
            assert again.state.parent_id == failed.id
        assert made == ["a"] * 3
        ids, elements = opened.graph.state_ids(), opened.graph.get_execution_graph_elements()
        children = [child for _, child in elements.edges]
        assert sorted(children) == sorted(set(children)) == ids[1:]
        before = [await opened.graph.get_state_at_id(each) for each in ids]
    async with await ExecutionGraph.open(store, opened.graph.graph_id) as graph:
        assert graph.state_ids() == ids
        assert graph.get_execution_graph_elements() == elements
        assert [await graph.get_state_at_id(each) for each in ids] == before


async def test_functions_that_were_replaced_are_named_in_turn(tmp_path: Path) -> None:
    """000-W4: earlier states run the earlier one, also when the graph is opened again."""
    one, other = given(1), given(2)
    async with stored(tmp_path) as store:
        async with graph_of(Cell(one, name="n"), store=store) as opened:
            changed = await opened.graph.mutate_graph(opened.state.id, Cell(other, name="n"), 1)
        functions = {"n": one, "n#2": other}
        graph_id = opened.graph.graph_id
        async with await ExecutionGraph.open(store, graph_id, functions=functions) as graph:
            for state_id, value in ((opened.state.id, 1), (changed.id, 2)):
                assert ran([await (await graph.state(state_id)).step_execution()]) == [(1, value)]


async def test_a_state_whose_run_was_ended_was_never_made(tmp_path: Path) -> None:
    """000-20, 000-W2: EVAL_FAILURE; the state before it goes on."""
    gate = Gate()
    async with stored(tmp_path) as store:
        async with graph_of(price, gate.work, store=store) as opened:
            [step] = await opened.steps(1)
            future = await opened.graph.begin_step(step.id)
            await gate.has_begun.wait()
        graph_id = ExecutionID(opened.graph.graph_id)
        async with Hosting(node_types(), store).runner() as runner:
            await runner.recover()
            await runner.signal(graph_id, AbortRequested())
            await runner.ended(graph_id)
        functions = {"price": price, "work": given("late")}
        async with await ExecutionGraph.open(store, graph_id, functions=functions) as graph:
            lost = await graph.get_state_at_id(future.id)
            assert lost is not None
            assert (lost.kind, lost.state) == (EvaluationKind.EVAL_FAILURE, None)
            with pytest.raises(InvalidState, match="never made"):
                await graph.begin_step(future.id)
            with pytest.raises(InvalidState, match="never made"):
                await graph.state(future.id)
            again = await (await graph.state(step.id)).step_execution()
            assert ran([again]) == [(2, "late")]


async def test_a_change_of_an_executing_state_waits_until_it_is_whole() -> None:
    """000-W5: and is the run's next revision; changes are made in the order of asking."""
    gate = Gate()
    async with graph_of(gate.work) as opened:
        graph = opened.graph
        future = await graph.begin_step(opened.state.id)
        await gate.has_begun.wait()
        waiting = asyncio.create_task(graph.mutate_graph(future.id, Cell(amount)))
        await asyncio.sleep(0)
        elsewhere = await graph.mutate_graph(opened.state.id, Cell(price))
        assert not waiting.done()
        assert elsewhere.state.operations.name_to_id == {"work": 1, "price": 2}
        gate.may_end.set()
        changed = await waiting
        assert changed.state.parent_id == future.id
        assert changed.state.state_get_value("work") == "through"
        assert changed.state.operations.name_to_id == {"work": 1, "amount": 2}
        dot = graph.render_execution_graph_to_graphviz()
        assert "graph: revision 2" in dot


async def test_a_failure_is_a_state_that_can_be_gone_on_from() -> None:
    """000-W2"""
    async with graph_of(failing, price) as opened:
        steps = await opened.steps(2)
        assert [set(step.state.failures) for step in steps] == [{1}, {1}]
        assert ran(steps) == [(2, 3)]
        more = await defined(opened.graph, amount, at=steps[-1].id)
        assert ran(await Opened(opened.graph, more).steps(1)) == [(3, 4)]


async def test_messages_are_no_states_and_runs_of_others_are_none_either(tmp_path: Path) -> None:
    """000-W4"""
    async with stored(tmp_path) as store, graph_of(store=store) as opened:
        await opened.graph.push_message("a")
        assert opened.graph.state_ids() == [ROOT_ID]
        listed = await store.list_executions(ExecutionQuery())
        assert len(listed.items) == 2
