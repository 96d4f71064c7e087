"""The operations of a state: an immutable map, with the dependencies that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dipeo_server.domains.diagram.nearest import did_you_mean
from dipeo_server.executors.execution_graph_errors import (
    FunctionNotFound,
    NameCollision,
    OperationNotFound,
)
from dipeo_server.executors.operations import (
    Dependency,
    Operation,
    Reference,
    ReferenceKind,
)

_R = ReferenceKind

OperationName: TypeAlias = int | str
"""An operation by its id, or by its name."""


@dataclass(frozen=True, slots=True)
class CreateDependencies:
    """From now on the operation depends on exactly these, each by a reference."""

    operation: int
    depends_on: tuple[tuple[int, Reference], ...]


@dataclass(frozen=True, slots=True)
class DeleteDependencies:
    """From now on the operation depends on nothing."""

    operation: int


DependencyGraphMutation: TypeAlias = CreateDependencies | DeleteDependencies
"""A change of what an operation depends on, in place of what is derived from its names."""

Links: TypeAlias = tuple[tuple[int, int, tuple[Reference, ...]], ...]
"""(operation, what depends on it, how), in order."""


@dataclass(frozen=True, slots=True)
class Operations:
    """Operations by id; every change gives another collection."""

    by_id: Mapping[int, Operation] = field(default_factory=dict)

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> Operations:
        """A collection of these, in the order of their ids."""
        return cls({each.id: each for each in sorted(operations, key=lambda each: each.id)})

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.by_id.values())

    def __len__(self) -> int:
        return len(self.by_id)

    @property
    def next_id(self) -> int:
        """The id of the next new one, from 1."""
        return max(self.by_id, default=0) + 1

    @property
    def name_to_id(self) -> dict[str, int]:
        """Ids by name."""
        return {each.name: each.id for each in self}

    def get(self, name: OperationName) -> Operation:
        """The operation of that id or name. Raises OperationNotFound, naming the nearest."""
        found = self.name_to_id.get(name) if isinstance(name, str) else name
        if found is None or found not in self.by_id:
            hint = did_you_mean(str(name), self.name_to_id)
            raise OperationNotFound(f"There is no operation {name!r}.", hint=hint)
        return self.by_id[found]

    def exporter_of(self, function: str) -> Operation:
        """The operation that exports a function. Raises FunctionNotFound."""
        for each in self:
            if function in each.functions:
                return each
        known = [name for each in self for name in each.functions]
        message = f"No operation exports a function {function!r}."
        raise FunctionNotFound(message, hint=did_you_mean(function, known))

    def upserted(self, operation: Operation) -> Operations:
        """With this one, in the place of that of its id. Raises NameCollision."""
        changed = Operations.of([*(each for each in self if each.id != operation.id), operation])
        _check_names(changed)
        return changed

    def mutated(self, mutations: Iterable[DependencyGraphMutation]) -> Operations:
        """With other dependencies. Raises OperationNotFound."""
        changed = self
        for each in mutations:
            operation = changed.get(each.operation)
            explicit: tuple[Dependency, ...] = ()
            if isinstance(each, CreateDependencies):
                explicit = tuple(
                    Dependency(operation=changed.get(other).id, reference=reference)
                    for other, reference in each.depends_on
                )
            other_one = operation.model_copy(update={"explicit": explicit})
            changed = Operations.of([*changed, other_one])
        return changed

    # --- dependencies ---------------------------------------------------------------------------

    def dependencies_of(self, operation: Operation) -> tuple[Dependency, ...]:
        """What it depends on: as it was said, else by the names that it reads and calls."""
        if operation.explicit is not None:
            return operation.explicit
        found: list[Dependency] = []
        for name in (*operation.parameters, *operation.calls):
            for other in self:
                reference = _reference(other, name, is_call=name in operation.calls)
                if reference is not None:
                    found.append(Dependency(operation=other.id, reference=reference))
        return tuple(found)

    def links(self) -> Links:
        """Every dependency, each pair once, in the order of what depends and then of ids."""
        found: list[tuple[int, int, tuple[Reference, ...]]] = []
        for each in self:
            by_source: dict[int, list[Reference]] = {}
            for needed in self.dependencies_of(each):
                by_source.setdefault(needed.operation, []).append(needed.reference)
            found += [(source, each.id, tuple(by_source[source])) for source in sorted(by_source)]
        return tuple(found)

    def runnable(self) -> frozenset[int]:
        """Those whose signatures are satisfied by others that can run."""
        found: set[int] = set()
        while True:
            more = {each.id for each in self if each.id not in found and self._is_fed(each, found)}
            if not more:
                return frozenset(found)
            found |= more

    def _is_fed(self, operation: Operation, known: set[int]) -> bool:
        needed = self.dependencies_of(operation)
        slots: dict[object, bool] = {}
        for index, each in enumerate(needed):
            slot = operation.slot_of(each.reference) or each.reference.name or index
            slots[slot] = slots.get(slot, False) or each.operation in known
        wanted = operation.required.union(operation.calls)
        return all(slots.values()) and wanted <= slots.keys()


def _reference(other: Operation, name: str, *, is_call: bool) -> Reference | None:
    if name in other.functions:
        return Reference.function_invocation(name)
    if name in other.exports and not is_call:
        return Reference.global_name(name)
    return None


def _check_names(operations: Operations) -> None:
    """Raises NameCollision."""
    taken: dict[str, Operation] = {}
    names: dict[str, Operation] = {}
    for each in operations:
        other = names.setdefault(each.name, each)
        if other is not each:
            message = f"Operations {other.id} and {each.id} are both called {each.name!r}."
            raise NameCollision(message, hint="Give one of the cells another `name`.")
        for export in (*each.exports, *each.functions):
            other = taken.setdefault(export, each)
            if other is not each:
                message = f"{other.name!r} and {each.name!r} both export {export!r}."
                raise NameCollision(message, hint="Export it under another name from one.")
