"""ExecutionState: what one state of an execution graph is, and everything that can follow it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from dipeo_server.domains.diagram.rendering.dot import to_dot
from dipeo_server.domains.execution.events import Failure
from dipeo_server.executors.execution_graph_errors import NoGraphSender
from dipeo_server.executors.execution_pictures import compose_dependencies
from dipeo_server.executors.operation_set import (
    DependencyGraphMutation,
    Links,
    OperationName,
    Operations,
)
from dipeo_server.executors.operations import Cell, Reference, operation_of
from dipeo_server.executors.state_ids import ROOT_ID, StateIds

DISPATCHED: Final = 0
"""The reserved id under which a state has the result of the function it was made by."""

_IDS: Final = StateIds()


@dataclass(frozen=True, slots=True)
class OperationOutput:
    """What an operation gave, and what it printed meanwhile; `state_id` is the state that set it.

    `occurrence` counts the visits of the operation, from 1.
    """

    value: Any
    stdout: tuple[str, ...] = ()
    stderr: tuple[str, ...] = ()
    state_id: UUID | None = None
    occurrence: int = 1


@dataclass(frozen=True, slots=True)
class Changes:
    """What a state has that is in no log yet, over the state that it was made from.

    `cells` and `operations` are what was defined, by operation; `inserted` are values and
    `consumed` the operations whose values were taken.
    """

    cells: Mapping[int, Cell] = field(default_factory=dict)
    inserted: Mapping[int, Any] = field(default_factory=dict)
    consumed: frozenset[int] = frozenset()
    is_other_graph: bool = False


class Stepped(NamedTuple):
    """What a step came to: the new state, and the outputs that it emitted, by operation."""

    id: UUID
    state: ExecutionState
    outputs: tuple[tuple[int, OperationOutput], ...]


class Dispatched(NamedTuple):
    """What the call of a function came to: the state behind it, and what it gave."""

    state: ExecutionState
    value: Any


class GraphSender(Protocol):
    """Where a state publishes what becomes of it; every answer is given after the commit."""

    async def progress_graph(self, state: ExecutionState) -> UUID:
        """Keep a state; its id."""
        ...

    async def step_execution_with_previous_state(
        self, previous: ExecutionState, operation: OperationName | None = None
    ) -> Stepped:
        """Run one operation from a state that is kept."""
        ...

    async def dispatch(
        self, previous: ExecutionState, function: str, payload: Any = None
    ) -> Dispatched:
        """Call a function that an operation of a kept state exports."""
        ...


@dataclass(frozen=True, slots=True)
class ExecutionState:
    """One state: operations, their values, and who came before it. Nothing in it ever changes.

    `outputs` and `failures` are by operation, `fresh` are the operations whose values came with
    this very state, `ready` those that could run next, in order. `exec_counter` counts the states
    on the way here, `message_head` the messages taken. `changes` is None for a state that a graph
    keeps; what is made of one is a draft, with an id of its own, until `progress_graph` keeps it.
    """

    id: UUID = ROOT_ID
    parent_id: UUID | None = None
    operations: Operations = field(default_factory=Operations)
    outputs: Mapping[int, OperationOutput] = field(default_factory=dict)
    failures: Mapping[int, Failure] = field(default_factory=dict)
    fresh: frozenset[int] = frozenset()
    ready: tuple[int, ...] = ()
    exec_counter: int = 0
    message_head: int = 0
    changes: Changes | None = None
    sender: GraphSender | None = field(default=None, compare=False, repr=False)

    @classmethod
    def new(cls) -> ExecutionState:
        """The root of every graph: no operation, no value, and bound to no graph."""
        return cls()

    def with_graph_sender(self, sender: GraphSender) -> ExecutionState:
        """The same state, bound to a graph: what it does is published there."""
        return replace(self, sender=sender)

    def clone_with_new_id(self) -> ExecutionState:
        """A draft like this: another id, this one as its parent, nothing fresh, one count on."""
        if self.changes is not None:
            return replace(self, id=_IDS.new())
        return replace(
            self,
            id=_IDS.new(),
            parent_id=self.id,
            fresh=frozenset(),
            exec_counter=self.exec_counter + 1,
            changes=Changes(),
        )

    # --- values ---------------------------------------------------------------------------------

    def state_get(self, operation: OperationName) -> OperationOutput | None:
        """The full output of an operation; None if it has none. Raises OperationNotFound."""
        if operation == DISPATCHED:
            return self.outputs.get(DISPATCHED)
        return self.outputs.get(self.operations.get(operation).id)

    def state_get_value(self, operation: OperationName) -> Any:
        """The value of an operation; None if it has none. Raises OperationNotFound."""
        output = self.state_get(operation)
        return None if output is None else output.value

    def has_been_set(self, operation: OperationName) -> bool:
        """Has it a value, by running or by being given one? Raises OperationNotFound."""
        return self.state_get(operation) is not None

    def state_insert(self, operation: OperationName, value: Any) -> ExecutionState:
        """A draft in which the operation has that value, freshly. Raises OperationNotFound."""
        key = self.operations.get(operation).id
        draft, changes = self.clone_with_new_id(), self.changes or Changes()
        return replace(
            draft,
            outputs={**draft.outputs, key: OperationOutput(value, state_id=draft.id)},
            fresh=draft.fresh | {key},
            changes=replace(
                changes,
                inserted={**changes.inserted, key: value},
                consumed=changes.consumed - {key},
            ),
        )

    def state_consume_marked(
        self, operations: Iterable[OperationName] | None = None
    ) -> tuple[dict[int, Any], ExecutionState]:
        """The values of consumable operations, and a draft that does not have them any more.

        All that are marked consumable, or those of the given ones that are.
        """
        asked = (
            list(self.operations)
            if operations is None
            else [self.operations.get(each) for each in operations]
        )
        taken = {
            each.id: self.outputs[each.id].value
            for each in asked
            if each.is_consumable and each.id in self.outputs
        }
        draft = self.clone_with_new_id()
        left = {key: output for key, output in draft.outputs.items() if key not in taken}
        known = self.changes or Changes()
        changes = replace(known, consumed=known.consumed | taken.keys())
        return taken, replace(
            draft, outputs=left, fresh=draft.fresh - taken.keys(), changes=changes
        )

    # --- operations and dependencies ------------------------------------------------------------

    def upsert_operation(
        self, cell: Cell, operation_id: int | None = None
    ) -> tuple[ExecutionState, int]:
        """A draft with the operation of a cell, new or in the place of that id; and its id.

        Raises NameCollision, InvalidInput.
        """
        key = self.operations.next_id if operation_id is None else operation_id
        defined = self.operations.upserted(operation_of(cell, key))
        draft = self.clone_with_new_id()
        known = self.changes or Changes()
        changes = replace(known, cells={**known.cells, key: cell}, is_other_graph=True)
        return replace(draft, operations=defined, changes=changes), key

    def update_op(self, operation: OperationName, cell: Cell) -> ExecutionState:
        """A draft in which a known operation is another cell, with its dependencies derived anew.

        Raises OperationNotFound, NameCollision, InvalidInput.
        """
        return self.upsert_operation(cell, self.operations.get(operation).id)[0]

    def apply_dependency_graph_mutations(
        self, mutations: Iterable[DependencyGraphMutation]
    ) -> ExecutionState:
        """A draft with other dependencies. Raises OperationNotFound."""
        mutated = self.operations.mutated(mutations)
        draft = self.clone_with_new_id()
        changes = replace(self.changes or Changes(), is_other_graph=True)
        return replace(draft, operations=mutated, changes=changes)

    def get_dependency_graph(self) -> dict[int, tuple[tuple[int, tuple[Reference, ...]], ...]]:
        """What each operation depends on, and how."""
        links = self.operations.links()
        return {
            each.id: tuple((source, how) for source, target, how in links if target == each.id)
            for each in self.operations
        }

    def get_dependency_graph_flattened(self) -> Links:
        """Every dependency as (operation, what depends on it, references)."""
        return self.operations.links()

    def render_dependency_graph(self) -> str:
        """The dependencies as DOT, labelled with the names of the operations."""
        return to_dot(compose_dependencies(self.operations))

    # --- going on -------------------------------------------------------------------------------

    async def step_execution(self, operation: OperationName | None = None) -> Stepped:
        """Run one operation from here: the next one, or the one that is named.

        A draft is kept first. Raises NoGraphSender, FixedPoint, OperationNotReady and others.
        """
        sender = self._bound()
        await self._published(sender)
        return await sender.step_execution_with_previous_state(self._kept(), operation)

    async def dispatch(self, function: str, payload: Any = None) -> Dispatched:
        """Call a function that an operation exports, recorded before and after.

        A draft is kept first. Raises NoGraphSender, FunctionNotFound, NodeError.
        """
        sender = self._bound()
        await self._published(sender)
        return await sender.dispatch(self._kept(), function, payload)

    def _bound(self) -> GraphSender:
        if self.sender is None:
            raise NoGraphSender("The state belongs to no graph, so nothing can run from it.")
        return self.sender

    async def _published(self, sender: GraphSender) -> None:
        if self.changes is not None:
            await sender.progress_graph(self)

    def _kept(self) -> ExecutionState:
        return replace(self, changes=None)
