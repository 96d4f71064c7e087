"""dipeo_server in this process: the runner over a store, with nodes of the benchmark's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from bench.engine import Prepare
from bench.shapes import Workload
from dipeo_server.domains.diagram.compile import assemble
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec, Ports
from dipeo_server.domains.execution.children import ChildRun
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import Durability
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.output import NodeOutput, create_node_output
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.registry import HandlerRegistry, Registration
from dipeo_server.domains.execution.runner import Accepted, StartExecution
from dipeo_server.errors import FileMissing
from dipeo_server.runtime.clock import SystemClock
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles
from dipeo_server.runtime.llm import ModelServices
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.runtime.runner_ports import RunnerPorts
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.sqlite import SQLiteStore

STEPS_MAX: Final = 1_000_000
FIRST: Final = Seq(0)
UNTIL: Final = Ports(outputs=("again", "done"))


class Turns(NodeProps):
    """How often the loop turns."""

    turns: int


async def add(node: DomainNode[NodeProps], ctx: ExecutionContext) -> NodeOutput:
    """1 + the sum of the inputs."""
    return create_node_output({"default": 1 + _total(ctx.inputs.values())})


async def until(node: DomainNode[Turns], ctx: ExecutionContext) -> NodeOutput:
    """Pass the value on: again, or done."""
    value = _total(ctx.inputs.values())
    return create_node_output({"done" if value > node.props.turns else "again": value})


def _total(values: Iterable[Any]) -> int:
    return sum(sum(value) if isinstance(value, list) else value for value in values)


def node_types(*, is_pure: bool) -> HandlerRegistry:
    """The types of the benchmark. Effectful nodes start when all before them is durable."""
    types = (
        Registration(NodeSpec("start", NodeProps, Ports(inputs=()), is_pure=is_pure), add),
        Registration(NodeSpec("add", NodeProps, is_pure=is_pure), add),
        Registration(NodeSpec("until", Turns, UNTIL, is_pure=is_pure, branches=True), until),
    )
    return HandlerRegistry(types).freeze()


def compiled(workload: Workload, types: HandlerRegistry) -> ExecutableDiagram:
    """The diagram of a workload."""
    diagram = _loop(workload.turns) if workload.turns else _graph(workload)
    return assemble(diagram, types.specs)[0]


def _graph(workload: Workload) -> DomainDiagram:
    """A node each, and an edge for each input."""
    nodes = tuple(
        _node(f"n{index}", "add" if sources else "start")
        for index, sources in enumerate(workload.parents)
    )
    edges = tuple(
        DomainEdge(f"n{source}-n{target}", f"n{source}", f"n{target}")
        for target, sources in enumerate(workload.parents)
        for source in sources
    )
    return DomainDiagram(nodes, edges, name=workload.name)


def _loop(turns: int) -> DomainDiagram:
    """A body and a condition that leads back to it; a first node gives 1."""
    limit = {"max_iteration": turns + 1}
    nodes = (
        _node("first", "start"),
        _node("body", "add", **limit),
        _node("until", "until", turns=turns, **limit),
    )
    edges = (
        DomainEdge("enter", "first", "body"),
        DomainEdge("ask", "body", "until"),
        DomainEdge("again", "until", "body", "again"),
    )
    return DomainDiagram(nodes, edges, name="loop")


def _node(key: str, type_: str, **props: Any) -> DomainNode[Any]:
    return DomainNode(key, key, type_, key, props)


@asynccontextmanager
async def runner(store: StateStore, types: HandlerRegistry) -> AsyncIterator[LocalRunner]:
    """A runner over the store, which is closed with it."""
    files = BaseDirFiles(Path())
    models = ModelServices(base_urls={}, keys={})
    code = ProcessCodeRunner(Path(), files)
    ports = RunnerPorts(SystemClock(), files, code, models, _no_child)
    made = LocalRunner(store, types, ports)
    try:
        yield made
    finally:
        await made.close()
        await models.close()
        await store.close()


async def _no_child(child: ChildRun, parent_path: str | None) -> ExecutableDiagram:
    raise FileMissing(f"There is no diagram {child.path!r}.")


def request(diagram: ExecutableDiagram, durability: Durability) -> StartExecution:
    """A wish to run it."""
    return StartExecution(diagram, max_steps=STEPS_MAX, durability=durability)


async def end(made: LocalRunner, accepted: Accepted) -> None:
    """Wait until the end of a run is durable."""
    async for _ in made.events(accepted.execution_id, after=accepted.sequence):
        pass


async def run(made: LocalRunner, diagram: ExecutableDiagram, durability: Durability) -> ExecutionID:
    """Run it until its end is durable."""
    accepted = await made.start(request(diagram, durability))
    await end(made, accepted)
    return accepted.execution_id


async def result(made: LocalRunner, execution_id: ExecutionID) -> int:
    """What the last node of an execution gave. Raises RuntimeError if it has failed."""
    ended = await made.ended(execution_id)
    if ended.error is not None:
        raise RuntimeError(f"{ended.error.code}: {ended.error.message}")
    found: int = ended.outputs[ended.diagram.nodes[-1].key].body
    return found


class Executions:
    """A job: executions of one diagram, all at once."""

    def __init__(self, made: LocalRunner, workload: Workload, types: HandlerRegistry) -> None:
        self._runner = made
        self._workload = workload
        self._diagram = compiled(workload, types)
        self._ids: list[ExecutionID] = []
        self.durability = Durability.ADAPTIVE

    async def run(self) -> None:
        """Run them all to their durable ends."""
        each = (self._one() for _ in range(self._workload.executions))
        self._ids = await asyncio.gather(*each)

    async def _one(self) -> ExecutionID:
        return await run(self._runner, self._diagram, self.durability)

    async def results(self) -> Sequence[int]:
        """What the last node of each gave."""
        return [await result(self._runner, each) for each in self._ids]


@asynccontextmanager
async def opened(mode: str, folder: Path) -> AsyncIterator[Prepare]:
    """`mode`: "strict" and "adaptive" with effectful nodes, "pure" (adaptive), "memory" (pure)."""
    types = node_types(is_pure=mode in {"pure", "memory"})
    store: StateStore = MemoryStore()
    if mode != "memory":
        store = await SQLiteStore.open(folder / "ours.db")
    async with runner(store, types) as made:

        def prepare(workload: Workload) -> Executions:
            job = Executions(made, workload, types)
            job.durability = Durability.STRICT if mode == "strict" else Durability.ADAPTIVE
            return job

        yield prepare
