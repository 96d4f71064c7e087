"""Operations as a diagram that an execution runs, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import Field

from dipeo_server.domains.diagram.compile import compile_diagram
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec
from dipeo_server.executors.execution_graph_errors import NameCollision, NoCounterpart
from dipeo_server.executors.operation_set import Operations
from dipeo_server.executors.operations import Dependency, Operation, operation_key

INPUT: Final = "input"
"""The key of the default input node: what needs nothing comes behind it."""

OUTPUT: Final = "output"
"""The key of the default output node: it holds the run open until it is stepped by name."""

OPERATION: Final = "operation"
INVOCATION: Final = "invocation"
VISITS_MAX: Final = 1_000_000
"""What bounds a cycle is whoever steps it."""

_DEFAULT: Final = "default"
_NOTHING: Final = "__input__"


class Invocation(NodeProps):
    """A call of a function that an operation exports; of code, with what that needs.

    `function` is the key of the function; None for code, whose `definitions` and `values` are
    what the function can refer to.
    """

    name: str
    function: str | None = None
    definitions: str = ""
    values: dict[str, Any] = Field(default_factory=dict)
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Program:
    """What a state has: operations, and the calls that were dispatched, by their keys."""

    operations: Operations = field(default_factory=Operations)
    calls: Mapping[str, Invocation] = field(default_factory=dict)

    def with_call(self, invocation: Invocation) -> tuple[Program, str]:
        """With one more call, and the key of that."""
        key = f"call_{len(self.calls) + 1}"
        return Program(self.operations, {**self.calls, key: invocation}), key


def program_of(diagram: ExecutableDiagram) -> Program:
    """The operations and calls of a diagram that `compile_program` made."""
    nodes = diagram.nodes
    found = (Operation.model_validate(node.props) for node in nodes if node.type == OPERATION)
    calls = {
        node.key: Invocation.model_validate(node.props) for node in nodes if node.type == INVOCATION
    }
    return Program(Operations.of(found), calls)


def compile_program(program: Program, specs: Mapping[str, NodeSpec]) -> ExecutableDiagram:
    """What an execution runs. Raises NameCollision, NoCounterpart, DiagramInvalid."""
    operations = program.operations
    nodes = (
        DomainNode(INPUT, INPUT, "start", INPUT, {}),
        *(_node(each) for each in operations),
        *(
            DomainNode(key, key, INVOCATION, call.name, call.model_dump(mode="json"))
            for key, call in program.calls.items()
        ),
        DomainNode(OUTPUT, OUTPUT, "endpoint", OUTPUT, {}),
    )
    edges = (*_edges(operations), *map(_from_input, (*program.calls, OUTPUT)))
    compiled = compile_diagram(DomainDiagram(nodes, edges, name="execution graph"), specs)
    _check_inputs(compiled.executable)
    _check_cycles(compiled.executable)
    return compiled.executable


def _node(operation: Operation) -> DomainNode[Mapping[str, Any]]:
    props = {**operation.model_dump(mode="json"), "max_iteration": VISITS_MAX}
    props["required"] = sorted(operation.required)
    return DomainNode(operation.key, operation.key, OPERATION, operation.name, props)


def _edges(operations: Operations) -> Iterator[DomainEdge]:
    """One for each use of another; what cannot run has none, and is not reached."""
    known = operations.runnable()
    for operation in operations:
        if operation.id not in known:
            continue
        needed = [each for each in operations.dependencies_of(operation) if each.operation in known]
        if not needed:
            yield _from_input(operation.key)
        for source, slot in dict.fromkeys(_inputs(operation, needed)):
            key = f"{source} → {operation.key} ({slot})"
            yield DomainEdge(key, source, operation.key, label=slot)


def _inputs(operation: Operation, needed: Iterable[Dependency]) -> Iterator[tuple[str, str]]:
    """The key of each source, and the name that its value has at the operation."""
    for each in needed:
        source = operation_key(each.operation)
        yield source, operation.slot_of(each.reference) or f"__{source}__"


def _from_input(target: str) -> DomainEdge:
    return DomainEdge(f"{INPUT} → {target}", INPUT, target, label=_NOTHING)


def _check_inputs(diagram: ExecutableDiagram) -> None:
    """Each input has one source, beside one in a cycle that it begins. Raises NameCollision."""
    seen: dict[tuple[int, str], int] = {}
    for edge in diagram.edges:
        if edge.back_of is not None or edge.input_name == _NOTHING:
            continue
        other = seen.setdefault((edge.target, edge.input_name), edge.source)
        if other != edge.source:
            first, second = (diagram.nodes[each].label for each in (other, edge.source))
            target = diagram.nodes[edge.target].label
            message = f"{first!r} and {second!r} both give {target!r} its {edge.input_name!r}."
            raise NameCollision(message, hint="Only a cycle may give what begins it once more.")


def _check_cycles(diagram: ExecutableDiagram) -> None:
    """Nothing waits for the end of a cycle, as that never ends. Raises NoCounterpart."""
    for edge in diagram.edges:
        if edge.exit_of is not None:
            source, target = (diagram.nodes[each].label for each in (edge.source, edge.target))
            message = (
                f"{target!r} takes {source!r} from a cycle, and something else from outside it: "
                "that would wait for the end of the cycle."
            )
            hint = "Let it depend on operations of the cycle alone; they can pass on the rest."
            raise NoCounterpart(message, hint=hint)
