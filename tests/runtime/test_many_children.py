"""Children of one node run side by side, within a limit, and end with their parent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.children import BranchEnd, ChildResult, ChildRun
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import ExecutionStarted, Failure, Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.domains.execution.signals import AbortRequested, Signal
from dipeo_server.domains.execution.state import ExecutionState, ExecutionView, view
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import FileMissing, NodeError, NotFound
from dipeo_server.runtime.sub_diagrams import ChildExecutions

PARENT = ExecutionID("exec_0_parent")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DIAGRAM = ExecutableDiagram((), (), (), "")


@dataclass
class Nursery:
    """A host whose children end when the test says so; a child is named by its variable `name`."""

    is_closing: bool = False
    running: dict[str, asyncio.Future[ExecutionStatus]] = field(default_factory=dict)
    names: dict[ExecutionID, str] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    freed: list[ExecutionID] = field(default_factory=list)
    put_off: set[tuple[ExecutionID, NodeRun]] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def start_child(self, request: StartExecution) -> ExecutionID:
        assert request.execution_id is not None
        name = str(request.variables["name"])
        self.names[request.execution_id] = name
        self.running[name] = asyncio.get_running_loop().create_future()
        self.started.append(name)
        self.changed.set()
        return request.execution_id

    async def ended(self, execution_id: ExecutionID) -> ExecutionView:
        name = self.names.get(execution_id)
        if name is None:
            raise NotFound(f"There is no execution {execution_id}.")
        status = await asyncio.shield(self.running[name])
        error = Failure("OF_CHILD", name, name) if status is ExecutionStatus.FAILED else None
        return view(ExecutionState(execution_id, DIAGRAM, status, error=error))

    async def tell_child(self, execution_id: ExecutionID, signal: Signal) -> None:
        assert signal == AbortRequested(reason="its parent ended")
        if execution_id not in self.names:
            raise NotFound(f"There is no execution {execution_id}.")
        self.aborted.append(self.names[execution_id])
        self.changed.set()

    def free_child(self, execution_id: ExecutionID, parent: ExecutionID) -> None:
        assert parent == PARENT
        self.freed.append(execution_id)

    def is_put_off(self, parent: ExecutionID, run: NodeRun) -> bool:
        return (parent, run) in self.put_off

    async def loaded(self, envelope: Envelope) -> Envelope:
        return envelope

    async def read_events(
        self, execution_id: ExecutionID, *, after: Seq, limit: int
    ) -> Sequence[Recorded]:
        assert (after, limit) == (0, 1)
        variables = {"name": self.names[execution_id]}
        return [Recorded(Seq(1), NOON, ExecutionStarted(execution_id, DIAGRAM, variables, 10))]

    async def depth(self, execution_id: ExecutionID) -> int:
        return {PARENT: 0}[execution_id]

    async def until_started(self, count: int) -> None:
        while len(self.started) < count:
            self.changed.clear()
            await self.changed.wait()

    async def until_aborted(self, count: int) -> None:
        while len(self.aborted) < count:
            self.changed.clear()
            await self.changed.wait()

    def end(self, name: str, status: ExecutionStatus = ExecutionStatus.COMPLETED) -> None:
        self.running[name].set_result(status)

    def name_of(self, end: ChildResult | NodeError) -> str:
        return end.message if isinstance(end, NodeError) else self.names[end.execution_id]


async def load(child: ChildRun, parent_path: str | None) -> ExecutableDiagram:
    if child.path is None:
        raise FileMissing(f"no diagram for {child.variables['name']}")
    return DIAGRAM


@pytest.fixture
def nursery() -> Nursery:
    return Nursery()


def children(names: str) -> list[ChildRun]:
    """One child per letter; a capital one has no diagram."""
    return [
        ChildRun(None if name.isupper() else "c", None, None, {"name": name}, str(index))
        for index, name in enumerate(names)
    ]


def run_many(
    nursery: Nursery, names: str, *, max_concurrent: int
) -> asyncio.Task[list[ChildResult | NodeError]]:
    parent = ChildExecutions(nursery, load, PARENT, (NodeRun("Sub", 1), 0, None))
    return asyncio.create_task(parent.run_many(children(names), max_concurrent=max_concurrent))


def names_of(nursery: Nursery, ends: Sequence[ChildResult | NodeError]) -> list[str]:
    return [nursery.name_of(end) for end in ends]


async def test_results_are_in_the_order_of_the_children_whoever_ends_first(
    nursery: Nursery,
) -> None:
    task = run_many(nursery, "abc", max_concurrent=3)
    await nursery.until_started(3)
    for name in "cab":
        nursery.end(name)
    assert names_of(nursery, await task) == ["a", "b", "c"]


async def test_no_more_run_at_once_than_allowed(nursery: Nursery) -> None:
    task = run_many(nursery, "abcd", max_concurrent=2)
    await nursery.until_started(2)
    assert nursery.started == ["a", "b"]
    nursery.end("b")
    await nursery.until_started(3)
    assert nursery.started == ["a", "b", "c"]
    for name in "ca":
        nursery.end(name)
    await nursery.until_started(4)
    nursery.end("d")
    assert names_of(nursery, await task) == ["a", "b", "c", "d"]


async def test_a_child_that_cannot_start_or_fails_leaves_the_others_alone(
    nursery: Nursery,
) -> None:
    task = run_many(nursery, "aXb", max_concurrent=1)
    await nursery.until_started(1)
    nursery.end("a", ExecutionStatus.FAILED)
    await nursery.until_started(2)
    nursery.end("b")
    failed, missing, completed = await task
    assert isinstance(failed, ChildResult)
    assert (failed.status, failed.error) == (
        ExecutionStatus.FAILED,
        {"code": "OF_CHILD", "message": "a", "node": "a"},
    )
    assert isinstance(missing, FileMissing)
    assert isinstance(completed, ChildResult)
    assert completed.status is ExecutionStatus.COMPLETED


async def test_children_that_run_end_with_their_parent_and_no_other_starts(
    nursery: Nursery,
) -> None:
    task = run_many(nursery, "abcd", max_concurrent=2)
    await nursery.until_started(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(nursery.aborted) == ["a", "b"]
    assert nursery.started == ["a", "b"]


async def test_a_process_that_stops_leaves_its_children_to_the_next(nursery: Nursery) -> None:
    task = run_many(nursery, "ab", max_concurrent=2)
    await nursery.until_started(2)
    nursery.is_closing = True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nursery.aborted == []


async def test_a_visit_that_was_put_off_leaves_its_children_to_its_next_attempt(
    nursery: Nursery,
) -> None:
    task = run_many(nursery, "ab", max_concurrent=2)
    await nursery.until_started(2)
    nursery.put_off.add((PARENT, NodeRun("Sub", 1)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nursery.aborted == []
    again = run_many(nursery, "ab", max_concurrent=2)
    for name in "ab":
        nursery.end(name)
    assert names_of(nursery, await again) == ["a", "b"]
    assert nursery.started == ["a", "b"]
    assert set(nursery.names) <= set(nursery.freed)  # They may have been held with their parent.


async def test_children_are_found_again(nursery: Nursery) -> None:
    first = run_many(nursery, "ab", max_concurrent=2)
    await nursery.until_started(2)
    for name in "ab":
        nursery.end(name)
    assert await first == await run_many(nursery, "ab", max_concurrent=2)
    assert nursery.started == ["a", "b"]


async def test_no_children_are_no_results(nursery: Nursery) -> None:
    assert await run_many(nursery, "", max_concurrent=2) == []


# --- branches of a group


def run_branches(
    nursery: Nursery, names: str, told: dict[str, BranchEnd], *, at_once: int = 9
) -> asyncio.Task[None]:
    def tell(index: int, end: BranchEnd) -> None:
        told[names[index]] = end

    parent = ChildExecutions(nursery, load, PARENT, (NodeRun("Group", 1), 0, None))
    group = parent.run_branches(children(names), tell, max_concurrent=at_once, is_fail_fast=True)
    return asyncio.create_task(group)


async def test_a_branch_that_fails_ends_the_others_which_are_awaited(nursery: Nursery) -> None:
    told: dict[str, BranchEnd] = {}
    task = run_branches(nursery, "abcd", told, at_once=3)
    await nursery.until_started(3)
    nursery.end("b", ExecutionStatus.FAILED)
    await nursery.until_aborted(2)
    assert not task.done()
    assert list(told) == ["b"]
    for name in "ca":
        nursery.end(name, ExecutionStatus.ABORTED)
    await task
    assert nursery.started == ["a", "b", "c"]  # What has not begun never does.
    assert sorted(told) == ["a", "b", "c"]
    assert not any(end.is_good for end in told.values())


async def test_a_branch_that_completes_while_it_is_aborted_has_completed(nursery: Nursery) -> None:
    told: dict[str, BranchEnd] = {}
    task = run_branches(nursery, "ab", told)
    await nursery.until_started(2)
    nursery.end("b", ExecutionStatus.FAILED)
    await nursery.until_aborted(1)
    nursery.end("a")
    await task
    assert told["a"].is_good


async def test_branches_that_ended_in_another_life_are_all_told(nursery: Nursery) -> None:
    """So that the first failure is the first by time, whichever is found first."""
    told: dict[str, BranchEnd] = {}
    first = run_branches(nursery, "ab", told)
    await nursery.until_started(2)
    nursery.end("b", ExecutionStatus.FAILED)
    await nursery.until_aborted(1)
    nursery.end("a", ExecutionStatus.ABORTED)
    await first
    again: dict[str, BranchEnd] = {}
    await run_branches(nursery, "ab", again)
    assert again == told
    assert nursery.started == ["a", "b"]


async def test_a_branch_tells_what_it_began_with(nursery: Nursery) -> None:
    told: dict[str, BranchEnd] = {}
    task = run_branches(nursery, "a", told)
    await nursery.until_started(1)
    nursery.end("a")
    await task
    assert told["a"].began_with == {"name": "a"}


async def test_a_branch_that_cannot_start_is_a_failure(nursery: Nursery) -> None:
    told: dict[str, BranchEnd] = {}
    task = run_branches(nursery, "aX", told)
    await nursery.until_aborted(1)
    nursery.end("a", ExecutionStatus.ABORTED)
    await task
    assert isinstance(told["X"].end, FileMissing)
    assert nursery.aborted == ["a"]


async def test_a_group_that_is_not_wanted_any_more_ends_its_branches(nursery: Nursery) -> None:
    told: dict[str, BranchEnd] = {}
    task = run_branches(nursery, "ab", told)
    await nursery.until_started(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(nursery.aborted) == ["a", "b"]
    assert told == {}
