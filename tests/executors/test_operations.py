"""Cells as operations: what they may export, how they are drawn, and what is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.errors import DipeoError, InvalidInput
from dipeo_server.executors import (
    ROOT_ID,
    Cell,
    CreateDependencies,
    ExecutionGraph,
    ExecutionState,
    FunctionNotFound,
    MemoryStore,
    NameCollision,
    OperationCall,
    Reference,
    Stepped,
)
from dipeo_server.executors.family_store import family_of
from dipeo_server.executors.hosting import Hosting
from dipeo_server.executors.messages import MessageQueue
from dipeo_server.executors.operation_diagram import Program, compile_program
from dipeo_server.executors.operation_nodes import OperationNodes
from dipeo_server.executors.operations import AsyncFunction, Functions
from dipeo_server.executors.state_ids import actor_of
from dipeo_server.node_types import node_types_with


async def one() -> int:
    return 1


async def doubles(payload: int) -> int:
    return 2 * payload


async def stepped(*cells: Cell) -> list[Stepped]:
    """One step for each cell."""
    async with await ExecutionGraph.new() as graph:
        state = (await graph.state()).with_graph_sender(graph)
        for cell in cells:
            state, _ = state.upsert_operation(cell)
        found: list[Stepped] = []
        for _ in cells:
            found.append(await state.step_execution())
            state = found[-1].state
        return found


async def test_a_function_may_export_several_names() -> None:
    async def parts() -> dict[str, int]:
        return {"left": 1, "right": 2}

    async def both(left: int, right: int) -> int:
        return left + right

    steps = await stepped(Cell(parts, exports=("left", "right")), Cell(both))
    assert steps[-1].state.state_get_value("both") == 3


async def test_what_is_exported_and_not_given_fails_who_reads_it() -> None:
    async def parts() -> dict[str, int]:
        return {"left": 1}

    async def reads(right: int) -> int:
        return right

    steps = await stepped(Cell(parts, exports=("left", "right")), Cell(reads))
    assert "'parts' has not given 'right'" in steps[-1].state.failures[2].message


async def test_code_gets_values_by_position_and_keyword_too() -> None:
    async with await ExecutionGraph.new() as graph:
        state, first = (await graph.state()).upsert_operation(Cell(one))
        state, second = state.upsert_operation(Cell("x = given + other"))
        uses = ((first, Reference.positional(0)), (first, Reference.keyword("other")))
        state = state.apply_dependency_graph_mutations([CreateDependencies(second, uses)])
        step = await state.with_graph_sender(graph).step_execution()
        step = await step.state.step_execution()
        assert step.state.state_get_value(second) == {"x": 2}
        dot = state.render_dependency_graph()
        assert 'label=" argument 0, other"' in dot


def test_every_kind_of_use_is_drawn() -> None:
    state, host = ExecutionState.new().upsert_operation(Cell(one, functions={"doubles": doubles}))
    uses = [Reference.function_invocation("doubles"), Reference.ordering()]
    for number, use in enumerate(uses):
        state, key = state.upsert_operation(Cell(one, name=f"n{number}"))
        links = CreateDependencies(key, ((host, use),))
        state = state.apply_dependency_graph_mutations([links])
    dot = state.render_dependency_graph()
    assert 'label=" doubles()"' in dot
    assert 'label=" after"' in dot


async def test_a_time_limit_fails_the_operation() -> None:
    [step] = await stepped(Cell("while True: pass", name="endless", timeout=0.2))
    assert step.state.failures[1].code == "TIMEOUT"


async def test_a_call_knows_its_run_and_its_visit() -> None:
    async def tells(call: OperationCall) -> list[object]:
        return [call.execution_id.startswith("exec_"), call.occurrence]

    [step] = await stepped(Cell(tells))
    assert step.state.state_get_value("tells") == [True, 1]


@pytest.mark.parametrize(
    "cell, problem",
    [
        (lambda: Cell("x = 1", exports=("y",)), "assigns no 'y'"),
        (lambda: Cell("x = 1", functions={"doubles": doubles}), "no others"),
        (lambda: Cell(one, functions={"f": len}), "no async function"),  # type: ignore[dict-item] # That is the test.
        (lambda: Cell(one, timeout=-1), "timeout"),
    ],
)
def test_a_cell_that_is_none_is_refused(cell: Callable[[], Cell], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        ExecutionState.new().upsert_operation(cell())


def test_two_operations_of_one_name_collide() -> None:
    state, _ = ExecutionState.new().upsert_operation(Cell("x = 1", name="a"))
    with pytest.raises(NameCollision, match="both called 'a'"):
        state.upsert_operation(Cell("y = 1", name="a"))


async def test_a_call_of_a_function_that_was_not_given_fails_who_calls() -> None:
    async def calls(call: OperationCall) -> object:
        return await call.dispatch("doubles", 2)

    store = MemoryStore()
    async with await ExecutionGraph.new(store) as graph:
        host = await graph.mutate_graph(ROOT_ID, Cell(one, functions={"doubles": doubles}))
        added = await graph.mutate_graph(host.id, Cell(calls))
    graph_id = graph.graph_id
    given: dict[str, AsyncFunction] = {"one": one, "calls": calls}
    async with await ExecutionGraph.open(store, graph_id, functions=given) as graph:
        step = await (await graph.state(added.id)).step_execution("calls")
        assert step.state.failures[2].code == "FUNCTION_NOT_FOUND"
        with pytest.raises(FunctionNotFound):
            await step.state.dispatch("doubles", 2)


async def test_a_graph_that_was_only_just_begun_is_opened_at_its_root() -> None:
    store, graph_id = MemoryStore(), ExecutionID("exec_0_begun")

    async def ignores(execution_id: ExecutionID) -> None:
        assert execution_id

    nodes = OperationNodes(Functions(), MessageQueue(graph_id, store), ignores)
    registry = node_types_with(nodes.registrations())
    async with Hosting(registry, store).runner() as runner:
        diagram = compile_program(Program(), registry.specs)
        actor = actor_of(ROOT_ID)
        start = StartExecution(diagram, execution_id=graph_id, is_paused=True, actor=actor)
        await runner.start(start)
    async with await ExecutionGraph.open(store, graph_id) as graph:
        assert graph.state_ids() == [ROOT_ID]
        assert (await graph.state()).operations.by_id == {}


async def test_a_family_is_found_page_by_page() -> None:
    store = MemoryStore()
    async with await ExecutionGraph.new(store) as graph:
        added = await graph.mutate_graph(ROOT_ID, Cell(one))
        steps = [await added.state.step_execution() for _ in range(6)]
        assert {step.state.parent_id for step in steps} == {added.id}
        root = ExecutionID(graph.graph_id)
        assert len(await family_of(store, root, page_size=2)) == 6
        assert set(await family_of(store, root, page_size=2)) == set(await family_of(store, root))


async def test_nothing_follows_a_state_of_another_graph() -> None:
    async with await ExecutionGraph.new() as one_graph, await ExecutionGraph.new() as other:
        added = await one_graph.mutate_graph(ROOT_ID, Cell(one))
        wishes: list[Awaitable[object]] = [
            other.begin_step(added.id),
            other.progress_graph(added.state.clone_with_new_id()),
            other.dispatch(added.state, "doubles"),
        ]
        for wish in wishes:
            with pytest.raises(DipeoError, match="has no state"):
                await wish
