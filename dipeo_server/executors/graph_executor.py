"""GraphExecutor: walks a Graph from its start to an end, with people at its barriers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple

from dipeo_server.domains.execution.checkpoint import (
    DELTAS_MAX,
    CheckpointFailurePolicy,
    CheckpointScore,
)
from dipeo_server.domains.execution.delta import ReducerRegistry
from dipeo_server.domains.execution.events import PauseCause
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.errors import InvalidInput
from dipeo_server.executors.graph import Graph
from dipeo_server.executors.graph_compile import CompiledGraph, compile_graph
from dipeo_server.executors.graph_errors import (
    GraphCancelled,
    GraphResult,
    InvalidGraph,
    StepsExceeded,
)
from dipeo_server.executors.graph_events import GraphComplete, GraphEvent, GraphFailed, Narrator
from dipeo_server.executors.graph_nodes import Reduce, Reducers
from dipeo_server.executors.handle import RunHandle
from dipeo_server.executors.hosting import Hosting
from dipeo_server.executors.keeping import Policy, policy_for, settings_of
from dipeo_server.executors.live import LiveRun
from dipeo_server.executors.resuming import IfChanged, Resuming
from dipeo_server.storage.memory import MemoryStore

MAX_STEPS = 50
START_STEPS = 1
"""The start that is added to a graph is a step of the engine's, and none of the graph's."""


class GraphHandle(RunHandle):
    """The handle of a graph's run: steps are counted as the graph counts them."""

    async def resume(self, *, max_steps: int | None = None) -> None:
        """Go on after a pause; `max_steps` raises the limit that paused it."""
        limit = None if max_steps is None else max_steps + START_STEPS
        await super().resume(max_steps=limit)

    async def events(self) -> AsyncGenerator[GraphEvent, None]:
        """Everything the run has told and will tell, from its beginning to its last event."""
        narrator = Narrator(self.run_id)
        async with aclosing(self._run.events()) as log:
            async for recorded in log:
                for event in narrator.tell(recorded):
                    yield event

    async def result(self) -> GraphResult:
        """Wait for the end of the run. Raises GraphError."""
        async with aclosing(self.events()) as events:
            async for event in events:
                match event:
                    case GraphComplete(result=result):
                        return result
                    case GraphFailed(error=error):
                        raise error
                    case _:
                        continue
        raise InvalidGraph("The run ended without an end.")


class GraphExecution(NamedTuple):
    """A run that has begun: what it tells, and how to tell it something.

    Dropping either decides nothing: the run goes on, and a barrier goes on waiting.
    """

    stream: AsyncGenerator[GraphEvent, None]
    handle: GraphHandle


class GraphExecutor:
    """Runs a Graph, as often as one likes; every run has a log of its own in the store.

    `max_steps` bounds how many nodes a run may enter. Without a `store` runs are kept in memory.
    `policy` says when they take checkpoints: a preset or triggers, None = CONSERVATIVE, and none in
    memory. Behind `delta_compact_threshold` differences the next one is a whole state. Where one
    cannot be taken, `checkpoint_failure` says what becomes of the run.
    """

    def __init__(
        self,
        graph: Graph | None = None,
        max_steps: int = MAX_STEPS,
        store: StateStore | None = None,
        policy: Policy = None,
        *,
        delta_compact_threshold: int = DELTAS_MAX,
        checkpoint_failure: CheckpointFailurePolicy | str = CheckpointFailurePolicy.CONTINUE,
    ) -> None:
        """Raises InvalidInput for a limit below 1, and a policy that there is not."""
        if max_steps < 1:
            raise InvalidInput("max_steps must be at least 1.", field=("max_steps",))
        self.max_steps = max_steps
        self._graph = graph
        self._store = store
        self._reducers: dict[str, str] = {}
        self._functions: dict[str, Reduce] = {}
        self._settings = settings_of(checkpoint_failure, delta_compact_threshold)
        self.set_policy(policy)

    def set_graph(self, graph: Graph) -> None:
        """Run this graph from now on."""
        self._graph = graph

    def set_store(self, store: StateStore) -> None:
        """Keep the runs that begin from now on in this store; it is not closed."""
        self._store = store

    def set_policy(self, policy: Policy) -> None:
        """Let the runs that begin from now on take checkpoints so. Raises InvalidInput."""
        if policy is not None and not isinstance(policy, str):
            policy = tuple(policy)
        policy_for(policy, self._store or MemoryStore())
        self._policy = policy

    def set_checkpoint_score(self, score: CheckpointScore) -> None:
        """Let the trigger ADAPTIVE weigh so what runs do that begin from now on."""
        self._settings = replace(self._settings, score=score)

    def register_reducer(self, key: str, reducer: str | Reduce) -> None:
        """Let a key's values meet so, in runs that begin from now on: by name, or by a function.

        Names: last_write (the default), append, extend, add, min, max, merge, union. Raises
        UnknownReducer.
        """
        self._reducers.pop(key, None)
        self._functions.pop(key, None)
        if isinstance(reducer, str):
            self._reducers[key] = ReducerRegistry().get(reducer).name
        else:
            self._functions[key] = reducer

    @property
    def graph_hash(self) -> str:
        """Equal for graphs that run the same: nodes, edges, settings, reducers."""
        return self._compiled().diagram.content_hash

    async def execute(self, state: Mapping[str, Any] | None = None) -> GraphResult:
        """Run the graph from this state to its end. Cancelling this cancels the run.

        Raises GraphError with the log of what ran, InvalidGraph for a graph with a barrier,
        StepsExceeded for a run that was ended because it reached `max_steps`.
        """
        barriers = self._known_graph().barriers
        if barriers:
            message = f"Barrier {barriers[0]!r} waits for a person, and nobody can be asked here."
            raise InvalidGraph(message, hint="Use execute_stream(): its handle decides.")
        run = await self._begun(self._compiled(), state)
        try:
            _, limit = await run.ended_within_limits()
        except asyncio.CancelledError:
            await run.stop("execute() was cancelled")
            raise
        try:
            return await GraphHandle(run).result()
        except GraphCancelled as error:
            if limit in (None, PauseCause.CHECKPOINT):
                raise  # It tells what it was cancelled for.
            raise StepsExceeded(self.max_steps, error.run) from None

    async def execute_stream(self, state: Mapping[str, Any] | None = None) -> GraphExecution:
        """Begin a run from this state: a stream of its events, and a handle to it.

        At `max_steps` the run pauses, so that it can be resumed with more. Raises InvalidGraph.
        """
        compiled = self._compiled()
        run = await self._begun(compiled, state)
        handle = GraphHandle(run, compiled.ways)
        return GraphExecution(handle.events(), handle)

    async def resume_from(
        self,
        trace_id: str,
        *,
        at: int | None = None,
        if_changed: IfChanged = IfChanged.REFUSE,
    ) -> GraphExecution:
        """Go on with a run of the store, whose first events the stream tells once more.

        One that has not ended goes on as itself, with all that was next in it. For one that has
        failed, or was cancelled, another run goes on from its newest checkpoint; with `at` always,
        from the newest one up to there. `if_changed` is for a run that has another graph.

        Raises NotFound where there is no such run or checkpoint, AlreadyRunning, GraphChanged,
        InvalidState for a run that has completed, InvalidGraph.
        """
        compiled = self._compiled()
        place = None if at is None else Seq(at)
        wish = Resuming(ExecutionID(trace_id), compiled.diagram, IfChanged(if_changed), place)
        hosting = Hosting(compiled.registry, self._store or MemoryStore())
        handle = GraphHandle(await LiveRun.of(hosting, wish.begin), compiled.ways)
        return GraphExecution(handle.events(), handle)

    async def _begun(self, compiled: CompiledGraph, state: Mapping[str, Any] | None) -> LiveRun:
        store = self._store or MemoryStore()
        request = StartExecution(
            compiled.diagram,
            dict(state or {}),
            max_steps=self.max_steps + START_STEPS,
            checkpoints=policy_for(self._policy, store),
            checkpointing=self._settings,
        )
        return await LiveRun.begun(Hosting(compiled.registry, store), request)

    def _compiled(self) -> CompiledGraph:
        reducers = Reducers(dict(self._reducers), dict(self._functions))
        return compile_graph(self._known_graph(), reducers)

    def _known_graph(self) -> Graph:
        if self._graph is None:
            raise InvalidGraph("There is no graph to run.", hint="Give one, or call set_graph().")
        return self._graph
