"""Whatever is done to an execution graph, no state of it ever changes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipeo_server.errors import Rejected
from dipeo_server.executors import (
    Cell,
    CreateDependencies,
    EvaluationKind,
    ExecutionGraph,
    ExecutionState,
    MemoryStore,
    OperationExecutionStatus,
    Reference,
)
from dipeo_server.executors.operations import AsyncFunction

Deed = tuple[str, int, int]
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["step", "step", "step", "add", "insert", "link", "call", "clone"]),
        st.integers(0, 30),
        st.integers(1, 6),
    ),
    max_size=14,
)


async def seed() -> int:
    return 1


async def fails(seed: int) -> int:
    raise ValueError(f"not {seed}")


async def adds(n: int = 5) -> int:
    return n + 1


async def doubles(payload: int) -> int:
    return payload * 2


FUNCTIONS: dict[str, AsyncFunction] = {
    "seed": seed,
    "fails": fails,
    "doubles": doubles,
    **{f"n{number}": adds for number in range(100)},
}


async def begun(graph: ExecutionGraph) -> ExecutionState:
    state, _ = (await graph.state()).upsert_operation(Cell(seed, functions={"doubles": doubles}))
    state, _ = state.upsert_operation(Cell(fails))
    await graph.progress_graph(state)
    return await graph.state(state.id)


async def do(graph: ExecutionGraph, state: ExecutionState, deed: Deed) -> None:
    """One deed from that state. Raises DipeoError where it cannot be done."""
    kind, _, number = deed
    operation = (number - 1) % max(1, len(state.operations)) + 1
    match kind:
        case "step":
            await state.step_execution()
        case "add":
            name = f"n{len(state.operations)}"
            await graph.mutate_graph(state.id, Cell(adds, name=name))
        case "insert":
            await graph.progress_graph(state.state_insert(operation, number))
        case "link":
            last = len(state.operations)
            links = CreateDependencies(last, ((operation, Reference.keyword("n")),))
            await graph.progress_graph(state.apply_dependency_graph_mutations([links]))
        case "call":
            await state.dispatch("doubles", number)
        case _:
            await graph.progress_graph(state.clone_with_new_id())


async def told(graph: ExecutionGraph) -> dict[UUID, Any]:
    return {each: await graph.get_state_at_id(each) for each in graph.state_ids()}


async def walk(deeds: list[Deed]) -> None:
    store = MemoryStore()
    async with await ExecutionGraph.new(store, functions=FUNCTIONS) as graph:
        await begun(graph)
        known = await told(graph)
        for deed in deeds:
            ids = graph.state_ids()
            with suppress(Rejected):
                await do(graph, await graph.state(ids[deed[1] % len(ids)]), deed)
            now = await told(graph)
            assert {each: now[each] for each in known} == known
            known = now
        check(graph, known)
        elements = graph.get_execution_graph_elements()
    async with await ExecutionGraph.open(store, graph.graph_id, functions=FUNCTIONS) as graph:
        assert await told(graph) == known
        assert graph.get_execution_graph_elements() == elements


def check(graph: ExecutionGraph, known: dict[UUID, Any]) -> None:
    """Every state but the root has one parent, which is older, and one count less."""
    edges = graph.get_execution_graph_elements().edges
    assert sorted(child for _, child in edges) == sorted(known)[1:]
    for parent, child in edges:
        assert parent < child
        assert known[child].kind in (EvaluationKind.COMPLETE, EvaluationKind.ERROR)
        assert known[child].state.parent_id == parent
        assert known[child].state.exec_counter == known[parent].state.exec_counter + 1


@settings(max_examples=15, deadline=None)
@given(DEEDS)
def test_no_state_ever_changes(deeds: list[Deed]) -> None:
    asyncio.run(walk(deeds))


@pytest.mark.prove
@settings(max_examples=300, deadline=None)
@given(DEEDS)
@pytest.mark.timeout(1_200)
def test_no_state_ever_changes_in_many_graphs(deeds: list[Deed]) -> None:
    asyncio.run(walk(deeds))


async def test_states_are_made_side_by_side() -> None:
    """Of all that is asked for at once, each comes to a state of its own."""
    async with await ExecutionGraph.new() as graph:
        state = await begun(graph)
        steps = await asyncio.gather(*(state.step_execution() for _ in range(8)))
        assert len({step.id for step in steps}) == 8
        assert {step.state.parent_id for step in steps} == {state.id}
        assert [step.state.state_get_value("seed") for step in steps] == [1] * 8
        completed = [
            event
            async for event in _first(graph, 16)
            if event.status is OperationExecutionStatus.COMPLETED
        ]
        assert {event.state_id for event in completed} == {step.id for step in steps}


async def _first(graph: ExecutionGraph, count: int) -> Any:
    events = graph.operation_events()
    for _ in range(count):
        yield await anext(events)
    await events.aclose()
