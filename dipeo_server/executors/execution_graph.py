"""ExecutionGraph: operations that are run step by step, with every state kept and gone back to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from dipeo_server.domains.diagram.rendering.dot import to_dot
from dipeo_server.domains.execution.events import Failure
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.errors import InvalidState, NodeError, NotFound
from dipeo_server.executors.execution_answers import (
    GraphElements,
    MergedStateHistory,
    MergedValue,
    Mutated,
)
from dipeo_server.executors.execution_evaluation import (
    EvaluationKind,
    ExecutionStateEvaluation,
    FutureExecutionState,
    OperationExecutionEvent,
)
from dipeo_server.executors.execution_graph_errors import StateBusy
from dipeo_server.executors.execution_pictures import compose_states
from dipeo_server.executors.execution_state import (
    DISPATCHED,
    Dispatched,
    ExecutionState,
    Stepped,
)
from dipeo_server.executors.execution_states import Place
from dipeo_server.executors.graph_session import GraphSession
from dipeo_server.executors.operation_diagram import program_of
from dipeo_server.executors.operation_nodes import invocation_of
from dipeo_server.executors.operation_set import OperationName
from dipeo_server.executors.operations import AsyncFunction, Cell, Functions, operation_key
from dipeo_server.executors.state_ids import ROOT_ID, StateIds
from dipeo_server.runtime.identity import new_execution_id
from dipeo_server.storage.memory import MemoryStore


class ExecutionGraph:
    """States and the steps between them; make one with `new`, or `open` one that is stored.

    A state is a UUID, or the value that `get_state_at_id` gives. Whatever is made of a state is
    another one: states do not change, and everything is durable in the store before it is told.
    """

    def __init__(self, session: GraphSession) -> None:
        self._session = session
        self._ids = StateIds()

    @classmethod
    async def new(
        cls,
        store: StateStore | None = None,
        *,
        functions: Mapping[str, AsyncFunction] | None = None,
        base_dir: Path | None = None,
    ) -> Self:
        """A graph of an input and an output node, at its root state; its task is ready.

        Without a store it is forgotten with the program. `functions` are those that operations
        may name by their keys; cells bring their own. Code runs in `base_dir`.
        """
        return cls(
            await GraphSession.begun(
                store or MemoryStore(),
                new_execution_id(),
                Functions(functions),
                base_dir or Path(),
                is_new=True,
            )
        )

    @classmethod
    async def open(
        cls,
        store: StateStore,
        graph_id: str,
        *,
        functions: Mapping[str, AsyncFunction] | None = None,
        base_dir: Path | None = None,
    ) -> Self:
        """A graph that is stored, with every state it had; what was running runs again.

        Raises NotFound, AlreadyRunning where this program has it open, StorageError.
        """
        execution_id = ExecutionID(graph_id)
        if await store.summary(execution_id) is None:
            raise NotFound(f"There is no execution graph {graph_id!r} in this store.")
        return cls(
            await GraphSession.begun(
                store, execution_id, Functions(functions), base_dir or Path(), is_new=False
            )
        )

    async def shutdown(self) -> None:
        """Stop the task, after what was asked for before; the store stays open.

        What is executing goes on when the graph is opened again.
        """
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.shutdown()

    @property
    def graph_id(self) -> str:
        """What `open` takes: the id of the run that it began with."""
        return self._session.graph_id

    # --- looking --------------------------------------------------------------------------------

    async def get_state_at_id(self, state_id: UUID) -> ExecutionStateEvaluation | None:
        """A state as far as it is; None for an id that the graph has never made."""
        place = self._session.states.find(state_id)
        return None if place is None else await self._evaluation(place)

    async def state(self, state_id: UUID = ROOT_ID) -> ExecutionState:
        """A state as a value, bound to this graph.

        Raises StateNotFound, StateBusy, and InvalidState for one that could not be made.
        """
        place = self._whole(state_id)
        self._check_is_there(place)
        return await self._read(place)

    def state_ids(self) -> list[UUID]:
        """All states, in the order of their times; the root is the first."""
        return [place.segment.id for place in self._session.states]

    def get_execution_graph_elements(self) -> GraphElements:
        """The edges between states, and the states that are groups."""
        states = self._session.states
        edges: list[tuple[UUID, UUID]] = []
        groups: set[UUID] = set()
        for place in states:
            parent = states.parent_of(place)
            if parent is None:
                continue
            edges.append((parent, place.segment.id))
            if place.line.is_call and place.segment is place.line.segments[0]:
                groups.add(parent)
        return GraphElements(tuple(edges), frozenset(groups))

    def render_execution_graph_to_graphviz(self) -> str:
        """The execution graph as DOT: a box for each state, an arrow for each step."""
        elements = self.get_execution_graph_elements()
        boxes = [
            (place.segment.id, place.segment.summary, place.segment.status)
            for place in self._session.states
        ]
        return to_dot(compose_states(boxes, elements.edges, elements.groups))

    async def get_merged_state_history(self, endpoint: UUID) -> MergedStateHistory:
        """The newest value of every operation on the way to a state, and the state that set it.

        Raises what `state` does.
        """
        state = await self.state(endpoint)
        found = {
            operation: MergedValue(operation, output.state_id, output.value)
            for operation, output in state.outputs.items()
            if output.state_id is not None
        }
        return MergedStateHistory(found)

    async def operation_events(
        self, *, after: int = 0
    ) -> AsyncGenerator[OperationExecutionEvent, None]:
        """What operations did and do, from the first on, behind as many as `after` says.

        Each reader goes at its own pace, and sees everything; what is told of one run is in order.
        Ends when the graph is shut down.
        """
        states = self._session.states
        while True:
            while after < len(states.told):
                yield states.told[after]
                after += 1
            if self._session.is_closed:
                return
            async with states.news:
                if after >= len(states.told) and not self._session.is_closed:
                    await states.news.wait()

    # --- stepping -------------------------------------------------------------------------------

    async def begin_step(
        self, previous: UUID, operation: OperationName | None = None
    ) -> FutureExecutionState:
        """Begin to run one operation from a state: the next, or the one that is named.

        From a state that is executing it is that state's own future: nothing more begins. Raises
        StateNotFound, FixedPoint, OperationNotFound, OperationNotReady, FunctionNotFound,
        ExecutionFinished, LimitExceeded, StorageError.
        """
        session = self._session
        async with session.lock:
            session.check_open()
            place = session.states.place(previous)
            if not session.is_whole(place):
                return self._future(previous)
            state_id = self._ids.new()
            with session.opening(state_id):
                self._check_may_go_on(place)
                line = await session.author.step(place, state_id, operation)
                await session.states.take(line.id)
            return self._future(state_id)

    async def step_execution_with_previous_state(
        self,
        previous: ExecutionState | ExecutionStateEvaluation,
        operation: OperationName | None = None,
    ) -> Stepped:
        """Run exactly one operation; the new state, and the outputs that it emitted.

        Where the operation failed the state says so in `failures`. Raises StateBusy for a state
        that is executing, Unavailable where the graph is shut down meanwhile, and whatever
        `begin_step` does.
        """
        self._whole(previous.id)
        begun = await self.begin_step(previous.id, operation)
        state = await self._read(await self._session.settled(begun.id))
        fresh = [(each, state.outputs[each]) for each in sorted(state.fresh)]
        return Stepped(state.id, state, tuple(fresh))

    async def external_step_execution(
        self, previous: UUID, operation: OperationName | None = None
    ) -> ExecutionStateEvaluation:
        """Look a state up and step it; one that is executing is given as it is.

        Raises what `begin_step` does, and Unavailable.
        """
        place = self._session.states.place(previous)
        if not self._session.is_whole(place):
            return await self._evaluation(place)
        begun = await self.begin_step(previous, operation)
        return await self._evaluation(await self._session.settled(begun.id))

    # --- other states ---------------------------------------------------------------------------

    async def progress_graph(self, state: ExecutionState) -> UUID:
        """Keep a state that was made of another one, durably; its id. Once kept it stays so.

        Raises StateNotFound where its parent is none of the graph's, NameCollision,
        NoCounterpart, OperationNotReady, InvalidState, LimitExceeded, StorageError, and NodeError
        for a value that JSON cannot hold.
        """
        session = self._session
        async with session.lock:
            session.check_open()
            if session.states.find(state.id) is None:
                place = session.states.place(state.parent_id)
                self._check_may_go_on(place)
                with session.opening(state.id):
                    line = await session.author.keep(place, state)
                    await session.states.take(line.id)
        return state.id

    async def mutate_graph(
        self, previous: UUID, cell: Cell, operation_id: int | None = None
    ) -> Mutated:
        """Add the operation of a cell, or define that of an id anew: another state.

        Where the state is executing, the change waits for its end, and is made there. Raises what
        `progress_graph` does, and InvalidInput for a cell that is none.
        """
        state = await self._read(await self._session.settled(previous))
        draft, operation = state.upsert_operation(cell, operation_id)
        state_id = await self.progress_graph(draft)
        return Mutated(state_id, await self.state(state_id), operation)

    async def dispatch(
        self, previous: ExecutionState, function: str, payload: Any = None
    ) -> Dispatched:
        """Call a function that an operation exports: a state before the call, and one behind it.

        Raises FunctionNotFound, NodeError where the function failed, and what `begin_step` does.
        """
        session = self._session
        before, after = self._ids.new(), self._ids.new()
        async with session.lock:
            session.check_open()
            place = self._whole(previous.id)
            self._check_may_go_on(place)
            state = await self._read(place)
            run = await session.states.run_at(place)
            outputs = {operation_key(key): each.value for key, each in state.outputs.items()}
            invocation = invocation_of(state.operations, outputs, function, payload)
            session.author.check_function(invocation.function)
            program, key = program_of(run.diagram).with_call(invocation)
            change = session.author.changed(run, program)
            line = await session.author.apply(place, before, change, run)
            await session.states.take(line.id)
            with session.opening(after):
                await session.author.step_node(line, after, key)
                await session.states.take(line.id)
        called = await self._read(await session.settled(after))
        failure = called.failures.get(DISPATCHED)
        if failure is not None and DISPATCHED not in called.fresh:
            raise _failed(failure)
        return Dispatched(called, called.state_get_value(DISPATCHED))

    async def push_message(self, payload: Any) -> int:
        """Keep a message from outside for whatever operation takes it next; its index, from 0.

        Raises NodeError for what JSON cannot hold, StorageError.
        """
        session = self._session
        async with session.lock:
            session.check_open()
            return await session.messages.push(session.runner, session.specs, payload)

    # --- inside ---------------------------------------------------------------------------------

    def _whole(self, state_id: UUID) -> Place:
        """Where a state is. Raises StateNotFound, StateBusy."""
        place = self._session.states.place(state_id)
        if not self._session.is_whole(place):
            message = f"The state {state_id} is executing."
            raise StateBusy(message, pending=self._future(state_id))
        return place

    def _check_may_go_on(self, place: Place) -> None:
        """Raises InvalidState for the inside of a call, and for a state that was never made."""
        if place.line.is_call:
            message = f"The state {place.segment.id} is one of a call, which ends by itself."
            hint = "Go on from the state that called, or from later ones."
            raise InvalidState(message, hint=hint)
        self._check_is_there(place)

    def _check_is_there(self, place: Place) -> None:
        if self._is_lost(place):
            message = f"The state {place.segment.id} was never made: its run ended meanwhile."
            raise InvalidState(message, hint="Go on from the state before it.")

    def _is_lost(self, place: Place) -> bool:
        """Did the run end while the state was being made?"""
        run, segment = place.line.run, place.segment
        has_ended = run is not None and run.status.is_terminal and place.line.newest is segment
        return has_ended and bool(segment.runs) and segment.status is None

    def _future(self, state_id: UUID) -> FutureExecutionState:
        return FutureExecutionState(state_id, self._awaited)

    async def _awaited(self, state_id: UUID) -> ExecutionState | None:
        place = await self._session.wait(state_id)
        if place is None:
            return None
        found = await self._evaluation(place)
        return found.state

    async def _read(self, place: Place) -> ExecutionState:
        return (await self._session.states.read(place)).with_graph_sender(self)

    async def _evaluation(self, place: Place) -> ExecutionStateEvaluation:
        segment = place.segment
        if not self._session.is_whole(place):
            future = self._future(segment.id)
            return ExecutionStateEvaluation(EvaluationKind.EXECUTING, segment.id, future=future)
        if self._is_lost(place):
            lost = Failure("CANCELLED", "Its run was ended while it was being made.")
            return ExecutionStateEvaluation(EvaluationKind.EVAL_FAILURE, segment.id, failure=lost)
        state = await self._read(place)
        if segment.is_failed:
            told = next(iter(state.failures.values()), None)
            return ExecutionStateEvaluation(
                EvaluationKind.ERROR, segment.id, state=state, failure=told
            )
        return ExecutionStateEvaluation(EvaluationKind.COMPLETE, segment.id, state=state)


def _failed(failure: Failure) -> NodeError:
    error = NodeError(failure.message, hint=failure.hint)
    error.code = failure.code
    return error
