"""Source document 000 as a Python program meets it: ExecutionGraph."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from dipeo_server.domains.execution.events import ExecutionStarted
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.errors import InvalidState, NodeError, NotFound, Unavailable
from dipeo_server.executors import (
    OUTPUT,
    ROOT_ID,
    AlreadyRunning,
    Cell,
    EvaluationKind,
    ExecutionGraph,
    ExecutionState,
    FixedPoint,
    MemoryStore,
    Message,
    OperationCall,
    OperationExecutionStatus,
    OperationNotReady,
    StateNotFound,
)
from tests.acceptance.operation_graphs import (
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


async def test_a_new_graph_has_an_input_and_an_output_node_and_a_root() -> None:
    """000-01: the root state has the nil UUID, and is there at once."""
    store = MemoryStore()
    async with await ExecutionGraph.new(store) as graph:
        assert graph.state_ids() == [ROOT_ID] == [UUID(int=0)]
        root = await graph.get_state_at_id(ROOT_ID)
        assert root is not None
        assert root.kind is EvaluationKind.COMPLETE
        first = (await store.read(ExecutionID(graph.graph_id), limit=1))[0].event
        assert isinstance(first, ExecutionStarted)
        assert [(node.key, node.type) for node in first.diagram.nodes] == [
            ("input", "start"),
            ("output", "endpoint"),
        ]


async def test_the_output_node_ends_the_run_and_is_stepped_by_name_only() -> None:
    """000-01: until then the graph is held open, whatever else has run."""
    async with graph_of(price) as opened:
        [step] = await opened.steps(1)
        with pytest.raises(FixedPoint):
            await step.state.step_execution()
        ended = await step.state.step_execution(OUTPUT)
        with pytest.raises(FixedPoint):
            await ended.state.step_execution()
        more = await defined(opened.graph, given(1), at=ended.id)  # Another line, as ever.
        assert ran([await more.step_execution()]) == [(2, 1)]


async def test_one_task_receives_states_and_is_ready_when_the_graph_is() -> None:
    """000-02: whatever runs at the same time, the states come in by themselves."""
    async with graph_of(given(1)) as opened:
        futures = [await opened.graph.begin_step(opened.state.id) for _ in range(5)]
        states = await asyncio.gather(*futures)
        assert [state.state_get_value(1) for state in states if state is not None] == [1] * 5
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert f"graph {opened.graph.graph_id}" in names
    assert f"graph {opened.graph.graph_id}" not in {t.get_name() for t in asyncio.all_tasks()}


async def test_any_number_of_readers_follow_what_operations_do() -> None:
    """000-03: each has a cursor of its own, and sees everything from where it begins."""
    async with graph_of(price, amount) as opened:

        async def follow(after: int) -> list[tuple[int, OperationExecutionStatus]]:
            events = opened.graph.operation_events(after=after)
            return [(event.operation_id, event.status) async for event in events]

        early = asyncio.create_task(follow(0))
        await opened.steps(2)
        late = asyncio.create_task(follow(2))
        await opened.graph.shutdown()
        running, completed = OperationExecutionStatus.RUNNING, OperationExecutionStatus.COMPLETED
        everything = [(1, running), (1, completed), (2, running), (2, completed)]
        assert await early == everything
        assert await late == everything[2:]


async def test_a_shutdown_does_first_what_was_asked_for_before() -> None:
    """000-04: and afterwards nothing, with an error that says so; twice is as good as once."""
    store = MemoryStore()
    async with graph_of(price, store=store) as opened:
        graph, draft = opened.graph, opened.state.clone_with_new_id()
        asked = [asyncio.create_task(graph.push_message(each)) for each in range(3)]
        kept = asyncio.create_task(graph.progress_graph(draft))
        await asyncio.sleep(0)  # They have all begun, and none is done.
        assert not any(each.done() for each in (*asked, kept))
        await graph.shutdown()
        assert [each.result() for each in asked] == [0, 1, 2]
        assert kept.result() == draft.id
        await graph.shutdown()
        with pytest.raises(Unavailable, match="shut down"):
            await graph.push_message(4)
        with pytest.raises(Unavailable, match="shut down"):
            await graph.begin_step(opened.state.id)
    async with await ExecutionGraph.open(store, graph.graph_id) as graph:
        assert draft.id in graph.state_ids()
        assert await graph.push_message(4) == 3


async def test_elements_are_edges_and_the_states_that_call() -> None:
    """000-05: from parent to child; states on a call stack are groups."""

    async def calls(call: OperationCall) -> str:
        answer = await call.dispatch("greet", "you")
        assert isinstance(answer, str)
        return answer

    async with graph_of(Cell(given(0), name="say", functions={"greet": greet}), calls) as opened:
        said, called = await opened.steps(2)
        assert called.outputs[0][1].value == "hello you"
        elements = opened.graph.get_execution_graph_elements()
        inside = [child for parent, child in elements.edges if parent == called.id]
        assert elements.groups == {called.id}
        assert len(inside) == 1
        assert [child for parent, child in elements.edges if parent == inside[0]] != []
        assert (ROOT_ID, opened.state.id) in elements.edges
        assert (opened.state.id, said.id) in elements.edges
        assert (said.id, called.id) in elements.edges
        assert len(elements.edges) == len(opened.graph.state_ids()) - 1
        with pytest.raises(InvalidState, match="one of a call"):
            await opened.graph.begin_step(inside[0])


async def test_the_execution_graph_is_drawn_as_dot() -> None:
    """000-06: states, steps and branches, not the diagram."""
    async with graph_of(price, failing) as opened:
        first, second = await opened.steps(2)
        await opened.graph.external_step_execution(first.id)
        dot = opened.graph.render_execution_graph_to_graphviz()
        assert dot.startswith("digraph")
        assert dot.count(" -> ") == len(opened.graph.get_execution_graph_elements().edges) == 4
        for told in ("root", "price", "failing", str(second.id)):
            assert told in dot


async def test_a_state_is_found_by_its_id_or_is_none() -> None:
    """000-07: any id that was ever made, whatever came of it later."""
    async with graph_of(price, amount) as opened:
        steps = await opened.steps(2)
        for step in steps:
            found = await opened.graph.get_state_at_id(step.id)
            assert found is not None
            assert found.state == step.state
        assert await opened.graph.get_state_at_id(uuid4()) is None
        with pytest.raises(StateNotFound):
            await opened.graph.state(uuid4())


async def test_merged_history_has_each_value_and_the_state_that_set_it() -> None:
    """000-08"""
    async with graph_of(price, amount, total) as opened:
        steps = await opened.steps(3)
        merged = await opened.graph.get_merged_state_history(steps[-1].id)
        told = [(each.operation_id, each.state_id, each.value) for each in merged.values.values()]
        assert told == [(1, steps[0].id, 3), (2, steps[1].id, 4), (3, steps[2].id, 12)]
        earlier = await opened.graph.get_merged_state_history(steps[0].id)
        assert list(earlier.values) == [1]


async def test_progress_graph_keeps_a_state_with_its_edge() -> None:
    """000-09: once; the same state again is the same state."""
    async with graph_of(price) as opened:
        draft = opened.state.clone_with_new_id()
        assert await opened.graph.get_state_at_id(draft.id) is None
        assert await opened.graph.progress_graph(draft) == draft.id
        assert await opened.graph.progress_graph(draft) == draft.id
        edges = opened.graph.get_execution_graph_elements().edges
        assert edges.count((opened.state.id, draft.id)) == 1
        kept = await opened.graph.state(draft.id)
        assert (kept.parent_id, kept.operations) == (opened.state.id, opened.state.operations)
        with pytest.raises(StateNotFound):
            await opened.graph.progress_graph(ExecutionState(uuid4()).clone_with_new_id())


async def test_a_step_runs_exactly_one_operation() -> None:
    """000-10: and gives the new state with its id, and what was emitted."""
    async with graph_of(price, amount, total) as opened:
        step = await opened.graph.step_execution_with_previous_state(opened.state)
        state_id, state, outputs = step
        assert [(operation, output.value) for operation, output in outputs] == [(1, 3)]
        assert state.id == state_id != opened.state.id
        assert state.parent_id == opened.state.id
        assert set(state.outputs) == {1}
        assert ran(await opened.steps(3)) == [(1, 3), (2, 4), (3, 12)]


async def test_stepping_twice_from_one_state_gives_two_branches() -> None:
    """000-11: neither alters the other, nor the state that they come from."""
    counted: list[str] = []

    async def tells(call: OperationCall) -> int:
        counted.append(call.execution_id)
        return len(counted)

    async with graph_of(tells) as opened:
        before = await opened.graph.state(opened.state.id)
        one = await opened.graph.step_execution_with_previous_state(before)
        other = await opened.graph.step_execution_with_previous_state(before)
        assert (one.state.state_get_value(1), other.state.state_get_value(1)) == (1, 2)
        assert one.state.parent_id == other.state.parent_id == before.id
        assert await opened.graph.state(before.id) == before
        assert await opened.graph.state(one.id) == one.state
        assert len(set(counted)) == 2


async def test_mutate_graph_defines_an_operation_in_a_new_state() -> None:
    """000-12: a new one, or that of an id; the state before it stays as it was."""
    async with graph_of(price) as opened:
        added = await opened.graph.mutate_graph(opened.state.id, Cell(amount))
        assert (added.operation_id, added.state.parent_id) == (2, opened.state.id)
        other = Cell(given(5), name="price")
        changed = await opened.graph.mutate_graph(opened.state.id, other, 1)
        assert changed.state.operations.name_to_id == {"price": 1}
        assert ran([await opened.state.step_execution()]) == [(1, 3)]
        assert ran([await changed.state.step_execution()]) == [(1, 5)]
        assert opened.state.operations.name_to_id == {"price": 1}


async def test_an_operation_that_has_run_keeps_its_value_when_it_is_defined_anew() -> None:
    """000-12: what was done stays done; an earlier state has it to do."""
    async with graph_of(price) as opened:
        [step] = await opened.steps(1)
        changed = await opened.graph.mutate_graph(step.id, Cell(given(5), name="price"), 1)
        assert changed.state.state_get_value("price") == 3
        with pytest.raises(OperationNotReady):
            await changed.state.step_execution("price")


async def test_a_failed_operation_is_defined_anew_and_run_again() -> None:
    """000-12, 000-20"""

    async def after(failing: int) -> int:
        return failing + 1

    async with graph_of(failing, after) as opened:
        [step] = await opened.steps(1)
        assert step.outputs == ()
        assert step.state.failures[1].message == "ValueError: no"
        assert step.state.fresh == frozenset()
        mended = await opened.graph.mutate_graph(step.id, Cell(given(1), name="failing"), 1)
        again = await mended.state.step_execution("failing")
        assert again.state.failures == {}
        assert ran([again, await again.state.step_execution()]) == [(1, 1), (2, 2)]


async def test_external_callers_step_by_the_id_of_a_state() -> None:
    """000-13"""
    async with graph_of(price, failing) as opened:
        done = await opened.graph.external_step_execution(opened.state.id)
        assert done.kind is EvaluationKind.COMPLETE
        assert done.state is not None
        assert done.state.state_get_value("price") == 3
        failed = await opened.graph.external_step_execution(done.id)
        assert failed.kind is EvaluationKind.ERROR
        with pytest.raises(StateNotFound):
            await opened.graph.external_step_execution(uuid4())


async def test_ids_are_uuids_that_sort_by_time() -> None:
    """000-14: version 7."""
    async with graph_of(price, amount, total) as opened:
        steps = await opened.steps(3)
        ids = [ROOT_ID, opened.state.id, *(step.id for step in steps)]
        assert ids == sorted(ids) == opened.graph.state_ids()
        assert {each.version for each in ids[1:]} == {7}
        assert {each.variant for each in ids[1:]} == {"specified in RFC 4122"}


async def takes(call: OperationCall) -> object:
    message = await call.take_message()
    return None if message is None else message.payload


async def test_messages_wait_until_an_operation_takes_them(tmp_path: Path) -> None:
    """000-15: each state has a head of its own, so every branch takes them all; kept on disk."""
    async with stored(tmp_path) as store:
        async with graph_of(takes, Cell(takes, name="again"), store=store) as opened:
            graph, start = opened.graph, opened.state
            assert [await graph.push_message(each) for each in ("a", {"b": [1]})] == [0, 1]
            first, second = await opened.steps(2)
            assert ran([first, second]) == [(1, "a"), (2, {"b": [1]})]
            assert [each.message_head for each in (start, first.state, second.state)] == [0, 1, 2]
            branch = await first.state.step_execution()
            assert branch.state.state_get_value("again") == {"b": [1]}
            with pytest.raises(NodeError):
                await graph.push_message(object())
        functions = {"takes": takes, "again": takes}
        async with await ExecutionGraph.open(store, graph.graph_id, functions=functions) as graph:
            assert await graph.push_message("c") == 2
            third = await defined(graph, Cell(takes, name="third"), at=second.id)
            assert ran([await third.step_execution()]) == [(3, "c")]
            fourth = await defined(graph, Cell(takes, name="fourth"), at=third.id)
            assert fourth.message_head == 2


async def test_where_no_message_is_left_none_is_taken() -> None:
    """000-15"""
    async with graph_of(takes) as opened:
        [step] = await opened.steps(1)
        assert (ran([step]), step.state.message_head) == ([(1, None)], 0)


async def test_a_message_of_an_operation_that_fails_is_not_taken() -> None:
    """000-15"""
    seen: list[Message | None] = []

    async def fails(call: OperationCall) -> None:
        seen.append(await call.take_message())
        raise ValueError("no")

    async with graph_of(fails) as opened:
        await opened.graph.push_message("a")
        [step] = await opened.steps(1)
        assert step.state.message_head == 0
        await step.state.step_execution("fails")
        assert seen == [Message(0, "a"), Message(0, "a")]


async def test_a_graph_is_open_once() -> None:
    store = MemoryStore()
    async with await ExecutionGraph.new(store) as graph:
        with pytest.raises(AlreadyRunning):
            await ExecutionGraph.open(store, graph.graph_id)
    with pytest.raises(NotFound):
        await ExecutionGraph.open(store, "exec_0_none")
