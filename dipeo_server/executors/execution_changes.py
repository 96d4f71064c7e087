"""How a graph's runs are told what comes next: steps, changes of the graph, forks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.execution.runner import ForkExecution
from dipeo_server.domains.execution.signals import (
    GraphMutationRequested,
    OutputGiven,
    RetryRequested,
    StepRequested,
)
from dipeo_server.domains.execution.state import ExecutionState as RunState
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.executors.execution_graph_errors import (
    FixedPoint,
    FunctionNotFound,
    OperationNotReady,
)
from dipeo_server.executors.execution_line import Line
from dipeo_server.executors.execution_state import Changes, ExecutionState
from dipeo_server.executors.execution_states import CONSUMED, Place, States
from dipeo_server.executors.operation_diagram import (
    OUTPUT,
    Program,
    compile_program,
    program_of,
)
from dipeo_server.executors.operation_set import OperationName, Operations
from dipeo_server.executors.operations import (
    Cell,
    Functions,
    Operation,
    TriggerMode,
    operation_id_of,
    operation_key,
)
from dipeo_server.executors.state_ids import actor_of
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.runtime.plain_json import plain_json

_FAILED: Final = NodeExecutionStatus.FAILED


@dataclass(frozen=True, slots=True)
class Change:
    """What is different in a state that is made without a step."""

    diagram: ExecutableDiagram | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)


class Author:
    """Makes states of a graph; whoever calls it sees to it that only one is made at a time."""

    def __init__(
        self,
        runner: LocalRunner,
        states: States,
        specs: Mapping[str, NodeSpec],
        functions: Functions,
    ) -> None:
        self._runner = runner
        self._states = states
        self._specs = specs
        self._functions = functions

    # --- steps ----------------------------------------------------------------------------------

    async def step(self, place: Place, state_id: UUID, operation: OperationName | None) -> Line:
        """Begin to run one operation from there; gives the run that it is in.

        Raises FixedPoint, OperationNotReady, OperationNotFound, FunctionNotFound, StorageError.
        """
        run = await self._states.run_at(place)
        key = self._chosen(run, operation)
        is_failed = run.node_state(key).status is _FAILED
        line = place.line
        if not place.is_newest:
            line = await self._forked(place, state_id, Change())
        return await self.step_node(line, state_id, key, is_failed=is_failed)

    async def step_node(
        self, line: Line, state_id: UUID, key: str, *, is_failed: bool = False
    ) -> Line:
        """Begin to run a node of a held run, once more if it has failed."""
        actor = actor_of(state_id)
        if is_failed:
            await self._runner.signal(line.id, RetryRequested(key, actor=actor))
        await self._runner.signal(line.id, StepRequested(key, actor=actor))
        return line

    def _chosen(self, run: RunState, name: OperationName | None) -> str:
        operations = program_of(run.diagram).operations
        key = _first(run, operations) if name is None else _named(run, operations, name)
        self._check_function(operations, key)
        return key

    def can_run(self, line: Line, key: str) -> bool:
        """Has this program given the function that a node of the run needs?"""
        props = {} if line.run is None else line.run.diagram.get_node(key).props
        function = props.get("function")
        return function is None or self._functions.get(function) is not None

    def _check_function(self, operations: Operations, key: str) -> None:
        number = operation_id_of(key)
        if number is not None:
            self.check_function(operations.by_id[number].function)

    def check_function(self, key: str | None) -> None:
        """Raises FunctionNotFound where this program has not given the function of that key."""
        if key is not None and self._functions.get(key) is None:
            message = f"This program has not given the function {key!r}."
            raise FunctionNotFound(message, hint="Pass it in `functions` when the graph is opened.")

    # --- other states ---------------------------------------------------------------------------

    async def keep(self, place: Place, draft: ExecutionState) -> Line:
        """Keep a draft as a state behind that place.

        Raises NameCollision, NoCounterpart, OperationNotReady, InvalidState, StorageError.
        """
        run = await self._states.run_at(place)
        changes = draft.changes or Changes()
        diagram = None
        if changes.is_other_graph:
            operations = Operations.of(
                self._with_functions(each, changes.cells.get(each.id)) for each in draft.operations
            )
            diagram = self._diagram(run, Program(operations, program_of(run.diagram).calls))
        change = Change(diagram, _given(run, changes), _consumed(run, changes))
        return await self.apply(place, draft.id, change, run)

    async def apply(self, place: Place, state_id: UUID, change: Change, run: RunState) -> Line:
        """Make a state: in the run itself if it is still there, else in a fork of it."""
        actor, line = actor_of(state_id), place.line
        opened = {key: value for key, value in change.outputs.items() if _is_open(run, key)}
        replaced = {key: value for key, value in change.outputs.items() if key not in opened}
        is_nothing = change.diagram is None and not opened
        if not place.is_newest or is_nothing or replaced or change.variables:
            line = await self._forked(place, state_id, replace(change, outputs=replaced))
        elif change.diagram is not None:
            wish = GraphMutationRequested(change.diagram, run.revision, actor=actor)
            await self._runner.signal(line.id, wish)
        for key, value in opened.items():
            await self._runner.signal(line.id, OutputGiven(key, value, actor=actor))
        return line

    def changed(self, run: RunState, program: Program) -> Change:
        """The change to that program. Raises NameCollision, NoCounterpart."""
        return Change(self._diagram(run, program))

    def _diagram(self, run: RunState, program: Program) -> ExecutableDiagram | None:
        diagram = compile_program(program, self._specs)
        return None if diagram == run.diagram else diagram

    def _with_functions(self, operation: Operation, cell: Cell | None) -> Operation:
        """The operation with the keys of its functions, which are kept."""
        if cell is None or isinstance(cell.work, str):
            return operation
        functions = {
            name: self._functions.keep(name, function) for name, function in cell.functions.items()
        }
        key = self._functions.keep(operation.name, cell.work)
        return operation.model_copy(update={"function": key, "functions": functions})

    async def _forked(self, place: Place, state_id: UUID, change: Change) -> Line:
        wish = ForkExecution(
            place.line.id,
            place.segment.last,
            variables=change.variables,
            outputs=change.outputs,
            is_paused=True,
            actor=actor_of(state_id),
            diagram=change.diagram,
        )
        accepted = await self._runner.fork(wish)
        return self._states.lines.setdefault(accepted.execution_id, Line(accepted.execution_id))


def _first(run: RunState, operations: Operations) -> str:
    """The one that has been ready for longest. Raises FixedPoint."""
    for index in run.ready:
        key = run.diagram.nodes[index].key
        number = operation_id_of(key)
        if number is not None and operations.by_id[number].trigger is TriggerMode.ON_CHANGE:
            return key
    raise FixedPoint("Fixed point, no further execution: no operation has fresh inputs.")


def _named(run: RunState, operations: Operations, name: OperationName) -> str:
    """The key of what is to run. Raises OperationNotFound, OperationNotReady."""
    key = OUTPUT if name == OUTPUT else operations.get(name).key
    index = run.diagram.index_of[key]
    if index in run.ready or run.nodes[index].status is _FAILED:
        return key
    ready = (run.diagram.nodes[each].label for each in run.ready)
    message = f"{name!r} is not ready to run: it is {run.nodes[index].status}."
    raise OperationNotReady(message, hint=f"Ready are: {', '.join(ready) or 'none'}.")


def _is_open(run: RunState, key: str) -> bool:
    """Would its next visit end with a value that it is given?"""
    index = run.diagram.index_of[key]
    return index in run.ready or run.nodes[index].status is _FAILED


def _given(run: RunState, changes: Changes) -> dict[str, Any]:
    """Values that operations are given, by key. Raises OperationNotReady, InvalidInput."""
    found: dict[str, Any] = {}
    for operation, value in changes.inserted.items():
        key = operation_key(operation)
        is_known = key in run.diagram.index_of
        if not (is_known and (key in run.outputs or _is_open(run, key))):
            message = f"Operation {operation} cannot be given a value: it has not been reached."
            hint = "Give what it depends on a value first, or let that run."
            raise OperationNotReady(message, hint=hint)
        found[key] = plain_json(value)
    return found


def _consumed(run: RunState, changes: Changes) -> dict[str, Any]:
    if not changes.consumed:
        return {}
    known = dict(run.variables.get(CONSUMED, {}))
    for operation in changes.consumed:
        key = operation_key(operation)
        known[key] = run.outputs[key].occurrence if key in run.outputs else 0
    return {CONSUMED: known}
