"""Source document 000 as a Python program meets it: which operation is next, and cycles."""

from __future__ import annotations

import pytest

from dipeo_server.errors import InvalidState
from dipeo_server.executors import (
    Cell,
    CreateDependencies,
    DependencyGraphMutation,
    FixedPoint,
    NameCollision,
    NoCounterpart,
    Reference,
    TriggerMode,
)
from tests.acceptance.operation_graphs import Opened, amount, given, graph_of, price, ran


async def test_the_next_operation_is_the_one_that_has_been_ready_for_longest() -> None:
    """000-31: without inputs once; then nothing is fresh: fixed point, no further execution."""

    async def behind(price: int) -> int:
        return price

    async with graph_of(behind, price, amount) as opened:
        steps = await opened.steps(3)
        assert [operation for operation, _ in ran(steps)] == [2, 3, 1]
        with pytest.raises(FixedPoint, match="no further execution"):
            await steps[-1].state.step_execution()


async def test_what_is_printed_is_part_of_the_output() -> None:
    """000-32"""
    code = "import sys\nprint('one')\nprint('two', file=sys.stderr)\nvalue = 3"
    async with graph_of(amount, Cell(code)) as opened:
        first, second = await opened.steps(2)
        told = first.outputs[0][1]
        assert (told.value, told.stdout, told.stderr) == (4, ("counting",), ("hm",))
        told = second.outputs[0][1]
        assert (told.value, told.stdout, told.stderr) == ({"value": 3}, ("one",), ("two",))


async def test_a_manual_operation_runs_where_a_step_names_it() -> None:
    """000-32"""
    async with graph_of(Cell(price, trigger=TriggerMode.MANUAL), amount) as opened:
        assert ran([await opened.state.step_execution()]) == [(2, 4)]
        step = await opened.state.step_execution("price")
        assert ran([step]) == [(1, 3)]
        [other] = await opened.steps(1)
        with pytest.raises(FixedPoint):
            await other.state.step_execution()


async def add(n: int) -> int:
    return n + 1


async def double(add: int) -> int:
    return add * 2


def in_a_circle() -> list[DependencyGraphMutation]:
    """1 begins, 2 and 3 go round: what begins it and what goes round are one input of 2."""
    return [CreateDependencies(2, ((1, Reference.keyword("n")), (3, Reference.keyword("n"))))]


async def test_cycles_run_step_by_step_for_ever() -> None:
    """000-33, 000-31: each value that is fresh runs the next; states of a cycle branch as any."""
    async with graph_of(Cell(given(0), name="zero"), add, double) as opened:
        draft = opened.state.apply_dependency_graph_mutations(in_a_circle())
        await opened.graph.progress_graph(draft)
        cycle = Opened(opened.graph, await opened.graph.state(draft.id))
        steps = await cycle.steps(9)
        assert [value for _, value in ran(steps)] == [0, 1, 2, 3, 6, 7, 14, 15, 30]
        changed = steps[4].state.state_insert("double", 100)
        await opened.graph.progress_graph(changed)
        other = await Opened(opened.graph, await opened.graph.state(changed.id)).steps(2)
        assert ran(other) == [(2, 101), (3, 202)]
        assert ran(await Opened(opened.graph, steps[-1].state).steps(1)) == [(2, 31)]


async def test_what_follows_a_cycle_runs_in_every_turn() -> None:
    """000-33: but what waits for something else as well has no counterpart, and is refused."""

    async def told(double: int) -> int:
        return double

    async def both(double: int, zero: int) -> int:
        return double + zero

    async with graph_of(Cell(given(0), name="zero"), add, double, told) as opened:
        draft = opened.state.apply_dependency_graph_mutations(in_a_circle())
        await opened.graph.progress_graph(draft)
        cycle = Opened(opened.graph, await opened.graph.state(draft.id))
        steps = await cycle.steps(9)
        assert [value for operation, value in ran(steps) if operation == 4] == [2, 6]
        with pytest.raises(NoCounterpart, match="from a cycle, and something else"):
            await opened.graph.mutate_graph(draft.id, Cell(both))


async def test_a_cycle_that_has_begun_keeps_its_shape() -> None:
    """000-33: what its operations do may change, and an earlier state has any shape."""

    async def bigger(add: int) -> int:
        return add * 10

    async with graph_of(Cell(given(0), name="zero"), add, double) as opened:
        draft = opened.state.apply_dependency_graph_mutations(in_a_circle())
        await opened.graph.progress_graph(draft)
        begun = (await Opened(opened.graph, await opened.graph.state(draft.id)).steps(3))[-1]
        changed = await opened.graph.mutate_graph(begun.id, Cell(bigger, name="double"), 3)
        assert ran(await Opened(opened.graph, changed.state).steps(2)) == [(2, 3), (3, 30)]
        straight = [CreateDependencies(2, ((1, Reference.keyword("n")),))]
        with pytest.raises(InvalidState, match="has begun"):
            await opened.graph.progress_graph(
                begun.state.apply_dependency_graph_mutations(straight)
            )
        early = await opened.graph.state(draft.id)
        other = early.apply_dependency_graph_mutations(straight)
        await opened.graph.progress_graph(other)
        steps = await Opened(opened.graph, await opened.graph.state(other.id)).steps(3)
        with pytest.raises(FixedPoint):
            await steps[-1].state.step_execution()


async def test_one_input_has_one_source() -> None:
    """000-33: but for a cycle, which begins somewhere."""
    async with graph_of(price, amount, add) as opened:
        both = ((1, Reference.keyword("n")), (2, Reference.keyword("n")))
        draft = opened.state.apply_dependency_graph_mutations([CreateDependencies(3, both)])
        with pytest.raises(NameCollision, match="both give 'add' its 'n'"):
            await opened.graph.progress_graph(draft)


async def test_a_cycle_that_nothing_begins_never_runs() -> None:
    """000-31: its signatures are never satisfied."""

    async def egg(hen: int) -> int:
        return hen

    async def hen(egg: int) -> int:
        return egg

    async with graph_of(egg, hen) as opened:
        assert opened.state.ready == ()
        with pytest.raises(FixedPoint):
            await opened.state.step_execution()
