"""Source document 004, "Parallel": branches with the whole engine inside, line by line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.diagram import DomainNode
from dipeo_server.domains.diagram.compile import compile_diagram
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.formats.detect import read_diagram
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BarrierWaiting,
    BranchCompleted,
    Event,
    ParallelCompleted,
    ParallelStarted,
)
from dipeo_server.domains.execution.expression import check_expression
from dipeo_server.domains.execution.handlers import NodeOutput, create_node_output, node_handler
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID, Seq
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.domains.execution.registry import HandlerRegistry, declared
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    BarrierDecided,
    PauseRequested,
    ResumeRequested,
)
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.storage.opening import open_store
from tests.acceptance.running import runner_on

SECONDS_MAX = 20


class Meeting:
    """Where steps say that they have come, and wait until the test lets them go on."""

    def __init__(self) -> None:
        self.come: set[str] = set()
        self.gone: set[str] = set()
        self.changed = asyncio.Event()
        self.gates: dict[str, asyncio.Event] = {}

    def open(self, name: str) -> None:
        """Let this step go on, now or when it comes."""
        self.gates.setdefault(name, asyncio.Event()).set()

    async def wait(self, name: str) -> None:
        """A step has come."""
        self.come.add(name)
        self.changed.set()
        try:
            await self.gates.setdefault(name, asyncio.Event()).wait()
        finally:
            self.gone.add(name)

    async def until_come(self, *names: str) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            while not self.come.issuperset(names):
                self.changed.clear()
                await self.changed.wait()


meeting = Meeting()


@node_handler("branch_step", pure=True)
async def branch_step(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """Puts variables, waits for the test if it is `held`, then fails if it has to."""
    told = node.props.model_extra or {}
    if told.get("held"):
        await meeting.wait(told["held"])
    for key, value in told.get("puts", {}).items():
        ctx.put(key, value)
    if told.get("fails"):
        raise ValueError(told["fails"])
    return create_node_output({"default": told.get("gives", ctx.variables.get("n"))})


@pytest.fixture(autouse=True)
def fresh_meeting() -> None:
    global meeting
    meeting = Meeting()


def branch(**props: Any) -> dict[str, Any]:
    """A branch of one step."""
    return around({"label": "step", "type": "branch_step", **props})


def around(node: Mapping[str, Any]) -> dict[str, Any]:
    """A branch of one node."""
    nodes = [{"label": "s", "type": "start"}, node, {"label": "e", "type": "endpoint"}]
    links = [{"from": "s", "to": node["label"]}, {"from": node["label"], "to": "e"}]
    return {"diagram_data": {"nodes": nodes, "connections": links}}


def grouped(
    branches: Mapping[str, Any], reducers: Mapping[str, str] | None = None, **props: Any
) -> ExecutableDiagram:
    """`s -> group -> e`."""
    group = {"label": "group", "type": "parallel", "props": {"branches": branches, **props}}
    document: dict[str, Any] = {"version": "light"} | around(group)["diagram_data"]
    document["metadata"] = {"reducers": dict(reducers or {})}
    specs = HandlerRegistry(declared().values()).specs
    loaded = read_diagram(json.dumps(document), format="light", path=None, specs=specs)
    assert loaded.diagram is not None, loaded.problems
    return compile_diagram(loaded.diagram, specs, check_expression).executable


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[LocalRunner]:
    async with runner_on(await open_store("memory:"), tmp_path) as running:
        yield running


async def start(runner: LocalRunner, diagram: ExecutableDiagram, **variables: Any) -> ExecutionID:
    return (await runner.start(StartExecution(diagram, variables))).execution_id


async def ended(runner: LocalRunner, id_: ExecutionID) -> ExecutionView:
    async with asyncio.timeout(SECONDS_MAX):
        return await runner.ended(id_)


async def run(runner: LocalRunner, diagram: ExecutableDiagram, **variables: Any) -> ExecutionView:
    return await ended(runner, await start(runner, diagram, **variables))


async def children(runner: LocalRunner, id_: ExecutionID) -> list[ExecutionView]:
    page = await runner.list_executions(ExecutionQuery(parent_id=id_))
    views = [await runner.view(item.id) for item in page.items]
    return [view for view in views if view is not None]


async def told(runner: LocalRunner, id_: ExecutionID, *kinds: type[Event]) -> list[Any]:
    recorded = await runner.read_events(id_, after=Seq(0), limit=1_000)
    return [each.event for each in recorded if isinstance(each.event, kinds)]


async def test_004_34_branches_run_side_by_side_on_copies_and_are_merged(
    runner: LocalRunner,
) -> None:
    diagram = grouped(
        {
            "a": branch(held="a", puts={"n": 1, "x": "of a"}),
            "b": branch(held="b", puts={"n": 10}),
        },
        reducers={"n": "add"},
    )
    id_ = await start(runner, diagram, n=100)
    await meeting.until_come("a", "b")  # Both are inside at once.
    meeting.open("a")
    meeting.open("b")
    view = await ended(runner, id_)
    assert view.status is ExecutionStatus.COMPLETED
    assert view.variables == {"n": 111, "x": "of a"}
    output = view.outputs["group"].body
    assert output == {"a": 100, "b": 100}  # Each saw its copy, and not the other's change.


async def test_004_35_two_branches_that_write_one_variable_are_a_conflict(
    runner: LocalRunner,
) -> None:
    view = await run(runner, grouped({"a": branch(puts={"x": 1}), "b": branch(puts={"x": 2})}))
    assert view.status is ExecutionStatus.FAILED
    assert view.error is not None
    assert view.error.code == "CONFLICT"
    for part in ("'a'", "'b'", "'x'", "1 and 2"):
        assert part in view.error.message
    assert "x" not in view.variables


async def test_004_36_the_first_failure_ends_the_others_which_are_awaited(
    runner: LocalRunner,
) -> None:
    """Also 004-W15: it is the first by time, though it is the last in order."""
    diagram = grouped({"a": branch(held="a"), "b": branch(held="b", fails="no")})
    id_ = await start(runner, diagram)
    await meeting.until_come("a", "b")
    meeting.open("b")
    view = await ended(runner, id_)
    assert view.error is not None
    assert "Branch 'b'" in view.error.message
    assert "no" in view.error.message
    assert meeting.gone == {"a", "b"}  # No sibling is left running.
    statuses = sorted(child.status for child in await children(runner, id_))
    assert statuses == [ExecutionStatus.ABORTED, ExecutionStatus.FAILED]
    ends = {each.branch: each.failure for each in await told(runner, id_, BranchCompleted)}
    assert ends["a"].code == "CANCELLED"


async def test_004_37_collect_lets_all_branches_end_and_tells_all_errors(
    runner: LocalRunner,
) -> None:
    """Also 004-W15: no error hides another one."""
    branches = {"a": branch(fails="one"), "b": branch(puts={"x": 1}), "c": branch(fails="two")}
    view = await run(runner, grouped(branches, error_strategy="collect"))
    assert view.status is ExecutionStatus.FAILED
    assert view.error is not None
    assert "2 of 3 branches" in view.error.message
    assert "one" in view.error.message
    assert "two" in view.error.message


async def test_004_w15_collect_partial_keeps_the_good_branches(runner: LocalRunner) -> None:
    branches = {"a": branch(fails="one"), "b": branch(puts={"x": 1}, gives="good")}
    view = await run(runner, grouped(branches, error_strategy="collect_partial"))
    assert view.status is ExecutionStatus.COMPLETED
    assert view.outputs["group"].body == {"b": "good"}
    assert view.variables == {"x": 1}


async def test_004_38_a_branch_that_breaks_is_a_failed_branch(runner: LocalRunner) -> None:
    branches = {"a": {"diagram_name": "nowhere"}, "b": branch(gives=1)}
    view = await run(runner, grouped(branches, error_strategy="collect_partial"))
    assert view.status is ExecutionStatus.COMPLETED
    assert view.outputs["group"].body == {"b": 1}


async def test_a_group_tells_of_its_branches_in_order(runner: LocalRunner) -> None:
    diagram = grouped({"a": branch(held="a"), "b": branch()})
    id_ = await start(runner, diagram)
    await meeting.until_come("a")
    meeting.open("a")
    await ended(runner, id_)
    events = await told(runner, id_, ParallelStarted, BranchCompleted, ParallelCompleted)
    assert [type(each) for each in events] == [
        ParallelStarted,
        BranchCompleted,
        BranchCompleted,
        ParallelCompleted,
    ]
    assert events[0].branches == ("a", "b")
    assert {each.branch for each in events[1:3]} == {"a", "b"}
    assert all(each.duration_seconds >= 0 for each in events[1:])


async def test_004_w16_a_branch_may_ask_a_person_and_is_linked_to_its_parent(
    runner: LocalRunner,
) -> None:
    gate = around({"label": "gate", "type": "barrier", "prompt": "Go on?"})
    id_ = await start(runner, grouped({"a": gate, "b": branch()}))
    async with asyncio.timeout(SECONDS_MAX):
        child = await _waiting_child(runner, id_)
    decided = BarrierDecided(BarrierID("gate", 1), BarrierAction.APPROVE)
    await runner.signal(child, decided)
    view = await ended(runner, id_)
    assert view.status is ExecutionStatus.COMPLETED
    assert view.variables["gate"]["approved"] is True
    assert {each.parent_id for each in await children(runner, id_)} == {id_}


async def _waiting_child(runner: LocalRunner, id_: ExecutionID) -> ExecutionID:
    async for recorded in runner.events(id_):
        if isinstance(recorded.event, BranchCompleted):
            break  # The other one has ended, so both have begun.
    for child in await children(runner, id_):
        if child.status.is_active:
            async for recorded in runner.events(child.id):
                if isinstance(recorded.event, BarrierWaiting):
                    return child.id
    raise AssertionError("no child waits")


async def test_aborting_the_run_ends_its_branches(runner: LocalRunner) -> None:
    id_ = await start(runner, grouped({"a": branch(held="a"), "b": branch(held="b")}))
    await meeting.until_come("a", "b")
    await runner.signal(id_, AbortRequested("enough"))
    assert (await ended(runner, id_)).status is ExecutionStatus.ABORTED
    for child in await children(runner, id_):
        assert (await ended(runner, child.id)).status is ExecutionStatus.ABORTED


@pytest.mark.parametrize("mode", list(PauseMode))
async def test_004_w16_a_pause_holds_the_branches_and_keeps_them(
    runner: LocalRunner, mode: PauseMode
) -> None:
    """The same branches go on: none is aborted, none begins anew."""
    branches = {"a": branch(held="a", puts={"n": 1}), "b": branch(held="b", puts={"n": 10})}
    id_ = await start(runner, grouped(branches, {"n": "add"}), n=100)
    await meeting.until_come("a", "b")
    await runner.signal(id_, PauseRequested(mode))
    begun = {each.id for each in await children(runner, id_)}
    assert {each.status for each in await children(runner, id_)} == {ExecutionStatus.PAUSED}
    meeting.open("a")
    meeting.open("b")
    await runner.signal(id_, ResumeRequested())
    view = await ended(runner, id_)
    assert view.status is ExecutionStatus.COMPLETED
    assert view.variables == {"n": 111}
    statuses = {each.id: each.status for each in await children(runner, id_)}
    assert statuses == dict.fromkeys(begun, ExecutionStatus.COMPLETED)


@asynccontextmanager
async def lives(folder: Path) -> AsyncIterator[LocalRunner]:
    """One life of a server over the same store."""
    async with runner_on(await open_store(f"sqlite:{folder / 'a.db'}"), folder) as running:
        yield running


async def test_branches_are_found_again_after_a_restart(tmp_path: Path) -> None:
    diagram = grouped(
        {"a": branch(puts={"n": 1}), "b": branch(held="b", puts={"n": 10})}, {"n": "add"}
    )
    async with lives(tmp_path) as runner:
        id_ = await start(runner, diagram, n=100)
        await meeting.until_come("b")
        async with asyncio.timeout(SECONDS_MAX):
            async for recorded in runner.events(id_):
                if isinstance(recorded.event, BranchCompleted):
                    break
    meeting.open("b")
    async with lives(tmp_path) as runner:
        view = await ended(runner, id_)
        assert view.status is ExecutionStatus.COMPLETED
        assert view.variables == {"n": 111}
        assert len(await children(runner, id_)) == 2
