"""A real runner for diagrams whose nodes do what a test says, over a store that can be watched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.execution.children import ChildRun
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import BarrierAction, Event, Recorded
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID, Seq
from dipeo_server.domains.execution.output import HandlerResult, WaitForPerson, create_node_output
from dipeo_server.domains.execution.ports import Clock, StateStore
from dipeo_server.domains.execution.registry import HandlerRegistry, Registration
from dipeo_server.domains.execution.runner import Accepted, StartExecution
from dipeo_server.domains.execution.signals import BarrierDecided
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.errors import FileMissing
from dipeo_server.runtime.clock import SystemClock
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles
from dipeo_server.runtime.llm import ModelServices
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.runtime.perform import ConcurrencyLimits
from dipeo_server.runtime.runner_ports import RunnerPorts
from tests.builders import SPECS, diagram

SECONDS_MAX = 20

Deed: TypeAlias = Callable[[ExecutionContext], Awaitable[Any]]
"""What a node does; a result that is no HandlerResult is its plain output."""


class Visits:
    """What nodes do, and who is inside; a node without a deed passes its name on."""

    def __init__(self, deeds: Mapping[str, Deed]) -> None:
        self.deeds = dict(deeds)
        self.entered: list[str] = []
        self.inside: list[str] = []
        self.most_inside = 0

    async def handle(self, node: DomainNode[Any], ctx: ExecutionContext) -> HandlerResult:
        """The one handler of every node type."""
        self.entered.append(node.key)
        self.inside.append(node.key)
        self.most_inside = max(self.most_inside, len(self.inside))
        try:
            deed = self.deeds.get(node.key)
            result = node.key if deed is None else await deed(ctx)
        finally:
            self.inside.remove(node.key)
        if isinstance(result, str):
            return create_node_output({"default": result})
        given: HandlerResult = result  # Whatever it is: that may be what the test is about.
        return given

    def registry(self, *, free: Sequence[str] = ()) -> HandlerRegistry:
        """The node types of `tests.builders`; those in `free` hold no slot."""
        return HandlerRegistry(
            Registration(replace(spec, holds_slot=type_ not in free), self.handle)
            for type_, spec in SPECS.items()
        )


class Gate:
    """Where nodes wait until the test lets them go on; tells when somebody has come."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.reached = asyncio.Event()
        self.reached_by = 0

    async def __call__(self, ctx: ExecutionContext) -> str:
        """A deed: wait, then give the node's name."""
        self.reached_by += 1
        self.reached.set()
        await self.opened.wait()
        return ctx.node_run.node


@dataclass
class World:
    """A runner, what its nodes do, and the store behind it."""

    runner: LocalRunner
    visits: Visits
    store: StateStore
    children: Mapping[str, str] = field(default_factory=dict)

    async def start(
        self, text: str, *, props: Any = None, edges: Any = None, **options: Any
    ) -> ExecutionID:
        """Start a run of a diagram as `tests.builders` spells it."""
        request = StartExecution(diagram(text, props=props, edges=edges), **options)
        return (await self.runner.start(request)).execution_id

    async def ended(self, execution_id: ExecutionID) -> ExecutionView:
        """The execution once it has ended."""
        async with asyncio.timeout(SECONDS_MAX):
            return await self.runner.ended(execution_id)

    async def run(self, text: str, **options: Any) -> ExecutionView:
        """Start a run and wait for its end."""
        return await self.ended(await self.start(text, **options))

    async def log(self, execution_id: ExecutionID) -> list[Recorded]:
        """The log of a run, as the store has it."""
        return list(await self.store.read(execution_id, limit=100_000))

    async def events(self, execution_id: ExecutionID) -> list[Event]:
        """The events of a run, as the store has them."""
        return [recorded.event for recorded in await self.log(execution_id)]

    async def until(self, execution_id: ExecutionID, kind: type[Event], node: str = "") -> Recorded:
        """Follow a run until such an event (of that node, if named)."""
        events = self.runner.events(execution_id)
        async with asyncio.timeout(SECONDS_MAX), aclosing(events):
            async for recorded in events:
                run = getattr(recorded.event, "node_run", None)
                named = run.node if run else None
                if isinstance(recorded.event, kind) and node in ("", named):
                    return recorded
        raise AssertionError(f"{execution_id} ended without {kind.__name__}")


async def asks(ctx: ExecutionContext) -> WaitForPerson:
    """A deed: ask for approval."""
    return WaitForPerson("approval", f"{ctx.node_run.node}: go on?")


def tell(
    running: World, id_: ExecutionID, action: BarrierAction, node: str = "g"
) -> asyncio.Task[Accepted]:
    """Decide a barrier; the signal is in the inbox as soon as the task has begun."""
    decided = BarrierDecided(BarrierID(node, 1), action)
    return asyncio.create_task(running.runner.signal(id_, decided))


async def soon(is_so: Callable[[], bool]) -> None:
    """Let everybody else run until something is so."""
    async with asyncio.timeout(SECONDS_MAX):
        while not is_so():  # noqa: ASYNC110 - nobody tells of whatever that may be.
            await asyncio.sleep(0.001)


async def no_actor_is_left() -> None:
    """Wait until this process serves no execution any more."""
    await soon(lambda: not any(t.get_name().startswith("execution") for t in asyncio.all_tasks()))


@asynccontextmanager
async def world(
    store: StateStore,
    deeds: Mapping[str, Deed] | None = None,
    *,
    limits: ConcurrencyLimits | None = None,
    children: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    free: Sequence[str] = (),
    idle_seconds: float = 20.0,
) -> AsyncIterator[World]:
    """A recovered runner; `children` are diagrams by name. The store stays open."""
    visits = Visits(deeds or {})
    known = children or {}

    async def load_child(child: ChildRun, parent_path: str | None) -> ExecutableDiagram:
        if child.path is None or child.path not in known:
            raise FileMissing(f"There is no diagram {child.path!r}.")
        return diagram(known[child.path])

    files = BaseDirFiles(Path())
    models = ModelServices(base_urls={}, keys={})
    code = ProcessCodeRunner(Path(), files)
    ports = RunnerPorts(clock or SystemClock(), files, code, models, load_child)
    runner = LocalRunner(
        store, visits.registry(free=free), ports, limits, idle_seconds=idle_seconds
    )
    try:
        await runner.recover()
        yield World(runner, visits, store, known)
    finally:
        await runner.close()
        await models.close()


def seqs(log: Sequence[Recorded]) -> list[Seq]:
    """The sequences of a log."""
    return [recorded.seq for recorded in log]
