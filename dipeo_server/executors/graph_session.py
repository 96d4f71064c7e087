"""What keeps an execution graph going: a runner, and a task that takes in what it commits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.execution.events import (
    TERMINAL,
    DiagramMutated,
    ExecutionForked,
    ExecutionStarted,
    ExecutionStatusChanged,
    NodeCompleted,
    NodeFailed,
    NodeOutputSet,
    NodeStarted,
)
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.errors import StorageError, Unavailable
from dipeo_server.executors.execution_changes import Author
from dipeo_server.executors.execution_line import Line
from dipeo_server.executors.execution_states import Place, States
from dipeo_server.executors.family_store import family_of, store_of
from dipeo_server.executors.hosting import Hosting
from dipeo_server.executors.live import AlreadyRunning
from dipeo_server.executors.messages import MessageQueue
from dipeo_server.executors.operation_diagram import INPUT, Program, compile_program
from dipeo_server.executors.operation_nodes import OperationNodes
from dipeo_server.executors.operations import Functions
from dipeo_server.executors.state_ids import ROOT_ID, actor_of
from dipeo_server.node_types import node_types_with
from dipeo_server.runtime.local import LocalRunner

log = structlog.get_logger(__name__)

STEPS_MAX: Final = 1_000_000_000
"""A cycle is bounded by whoever steps it, and by nothing else."""

RETRY_SECONDS: Final = 1.0
_KINDS: Final = (
    ExecutionStarted,
    ExecutionForked,
    ExecutionStatusChanged,
    DiagramMutated,
    NodeStarted,
    NodeCompleted,
    NodeFailed,
    NodeOutputSet,
    *TERMINAL,
)
_open: Final[set[ExecutionID]] = set()


class GraphSession:
    """One execution graph while it is open: only one program at a time has it open."""

    def __init__(
        self,
        graph_id: ExecutionID,
        runner: LocalRunner,
        store: StateStore,
        specs: Mapping[str, NodeSpec],
        messages: MessageQueue,
        functions: Functions,
    ) -> None:
        self.graph_id = graph_id
        self.runner = runner
        self.specs = specs
        self.messages = messages
        self.states = States(store, runner)
        self.author = Author(runner, self.states, specs, functions)
        self.lock = asyncio.Lock()
        self.is_closed = False
        self._opening: set[UUID] = set()
        self._problem: StorageError | None = None
        self._resources = AsyncExitStack()
        self._receiver: asyncio.Task[None] | None = None

    @classmethod
    async def begun(
        cls,
        store: StateStore,
        graph_id: ExecutionID,
        functions: Functions,
        base_dir: Path,
        *,
        is_new: bool,
    ) -> GraphSession:
        """A graph that is open, with its task ready. Raises AlreadyRunning, StorageError."""
        if graph_id in _open:
            raise AlreadyRunning(f"The graph {graph_id!r} is open already.")
        _open.add(graph_id)
        async with AsyncExitStack() as resources:
            resources.callback(_open.discard, graph_id)
            family = [graph_id] if is_new else await family_of(store, graph_id)
            messages = MessageQueue(graph_id, store)
            own = store_of(store, family)

            async def called(execution_id: ExecutionID) -> None:
                with suppress(StorageError):  # Then it is taken in by the task.
                    await session.states.take(execution_id)

            nodes = OperationNodes(functions, messages, called)
            registry = node_types_with(nodes.registrations())
            runner = await resources.enter_async_context(Hosting(registry, own, base_dir).runner())
            session = cls(graph_id, runner, own, registry.specs, messages, functions)
            await session._start_receiver(resources)
            await session._load(family, is_new=is_new)
            session._resources = resources.pop_all()
            return session

    async def close(self) -> None:
        """Let what was asked for be done, take in what was committed, and stop.

        What runs then is found again when the graph is opened again.
        """
        async with self.lock:
            if self.is_closed:
                return
            self.is_closed = True
            try:
                await self.runner.close()
                for line in list(self.states.lines.values()):
                    await self.states.take(line.id)
            finally:
                await self._resources.aclose()
                self._wake()
        async with self.states.news:
            self.states.news.notify_all()

    def _wake(self) -> None:
        """Let everybody look again who waits for a state."""
        for line in self.states.lines.values():
            for segment in line.segments[-2:]:
                segment.changed.set()

    def check_open(self) -> None:
        """Raises Unavailable once it is closed."""
        if self.is_closed:
            raise Unavailable("The execution graph was shut down.")

    # --- states that are made -------------------------------------------------------------------

    def is_whole(self, place: Place) -> bool:
        """Is the state there, rather than being made?"""
        return place.segment.is_whole and place.segment.id not in self._opening

    async def wait(self, state_id: UUID) -> Place | None:
        """Where a state is, once it is whole; None if the graph is closed before.

        Raises StateNotFound, and StorageError where a log cannot be read any more.
        """
        place = self.states.place(state_id)
        while not self.is_whole(place):
            if self.is_closed:
                return None
            if self._problem is not None:
                raise self._problem
            place.segment.changed.clear()
            await place.segment.changed.wait()
        return place

    async def settled(self, state_id: UUID) -> Place:
        """Where a state is, once it is whole. Raises StateNotFound, Unavailable."""
        place = await self.wait(state_id)
        if place is None:
            raise Unavailable("The execution graph was shut down.")
        return place

    @contextmanager
    def opening(self, state_id: UUID) -> Iterator[None]:
        """While a state is begun, in several commits, it is not whole."""
        self._opening.add(state_id)
        try:
            yield
        finally:
            self._opening.discard(state_id)
            place = self.states.find(state_id)
            if place is not None:
                place.segment.changed.set()

    # --- the task -------------------------------------------------------------------------------

    async def _start_receiver(self, resources: AsyncExitStack) -> None:
        is_ready = asyncio.Event()
        task = asyncio.create_task(self._receive(is_ready), name=f"graph {self.graph_id}")
        self._receiver = task

        async def stop() -> None:
            task.cancel()
            await asyncio.wait({task})

        resources.push_async_callback(stop)
        await is_ready.wait()

    async def _receive(self, is_ready: asyncio.Event) -> None:
        with self.runner.watching(_KINDS) as commits:
            is_ready.set()
            async for commit in commits:
                await self._follow(commit.execution_id)

    async def _follow(self, execution_id: ExecutionID) -> None:
        """Take in what a run has committed; a store that fails for a while only delays that."""
        while True:
            try:
                line = await self.states.follow(execution_id)
                if line is not None:
                    await self._run_again(line)
                return
            except Unavailable:
                return  # It is being shut down.
            except StorageError as error:
                log.warning("graph_not_followed", execution_id=execution_id, error=error.message)
                if error.is_lasting:
                    self._problem = error
                    self._wake()
                    return
            await asyncio.sleep(RETRY_SECONDS)

    async def _run_again(self, line: Line) -> None:
        """Let what a crash has stopped run, in the state that it was stopped in.

        What needs a function that this program has not given stays as it is.
        """
        run, segment = line.stopped, line.newest
        if run is None or segment is None or segment.id in self._opening:
            return
        if not self.author.can_run(line, run.node):
            return
        with self.opening(segment.id):
            await self.author.step_node(line, segment.id, run.node)
            await self.states.take(line.id)

    async def _load(self, family: list[ExecutionID], *, is_new: bool) -> None:
        if is_new:
            request = StartExecution(
                compile_program(Program(), self.specs),
                max_steps=STEPS_MAX,
                execution_id=self.graph_id,
                is_paused=True,
                actor=actor_of(ROOT_ID),
            )
            await self.runner.start(request)
        else:
            await self.messages.load()
            await self.runner.recover()
        for execution_id in family:
            await self._run_again(await self.states.take(execution_id))
        root = self.states.lines[self.graph_id]
        if not root.segments[0].runs:
            await self.author.step_node(root, ROOT_ID, INPUT)
        await self.settled(ROOT_ID)
