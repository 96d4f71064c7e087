"""Rule: what a NodeRun's deltas do to the execution's variables, and when two of them conflict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableDiagram, ExecutableNode
from dipeo_server.domains.execution.delta import (
    Reducer,
    ReducerFailed,
    ReducerRegistry,
    StateDelta,
    contribution,
    reduce_value,
)
from dipeo_server.domains.execution.events import StateChanged
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine.evolve import serials
from dipeo_server.domains.execution.state import ExecutionState


@dataclass(frozen=True, slots=True)
class _Touch:
    """What a branch did to a variable; `told` is its value as people read it."""

    branch: str
    told: str
    is_commutative: bool


def changes(
    state: ExecutionState,
    node: ExecutableNode,
    run: NodeRun,
    deltas: Sequence[StateDelta],
    reducers: ReducerRegistry,
) -> tuple[StateChanged, ...]:
    """The reduced puts and deletes. Raises ReducerFailed (CONFLICT), UnknownReducer."""
    values: dict[str, Any] = {}
    touches: dict[str, _Touch] = {}
    found: list[StateChanged] = []
    for delta in deltas:
        for key, new in delta.puts.items():
            reducer = reducers.get(delta.reducer or state.diagram.reducers.get(key))
            if not reducer.is_commutative:
                _check_order(state, node, key, new)
            _check_branches(touches, node, delta, key, reducer)
            old = values.get(key, state.variables.get(key))
            values[key] = _reduced(reducer, delta, key, old)
            found.append(StateChanged(key, values[key], node_run=run))
        for key in delta.deletes:
            _check_order(state, node, key, None)
            _check_branches(touches, node, delta, key, None)
            values[key] = None
            found.append(StateChanged(key, is_deleted=True, node_run=run))
    return tuple(found)


def _reduced(reducer: Reducer, delta: StateDelta, key: str, old: Any) -> Any:
    new = delta.puts[key]
    if delta.branch is None:
        return reduce_value(reducer, key, old, new)
    if not reducer.is_commutative:
        return new  # Nobody else has written it since the branch began.
    return reduce_value(reducer, key, old, contribution(reducer, key, delta.before.get(key), new))


def _check_branches(
    touches: dict[str, _Touch],
    node: ExecutableNode,
    delta: StateDelta,
    key: str,
    reducer: Reducer | None,
) -> None:
    """Two branches of one group may change a variable if the order is no matter to its reducer.

    `reducer` is None for a delete.
    """
    if delta.branch is None:
        return
    told = "deleted" if reducer is None else repr(delta.puts[key])
    own = _Touch(delta.branch, told, reducer is not None and reducer.is_commutative)
    other = touches.setdefault(key, own)
    if other.branch == own.branch or (other.is_commutative and own.is_commutative):
        return
    message = (
        f"Branches {other.branch!r} and {own.branch!r} of {node.key!r} both change variable "
        f"{key!r}: {other.told} and {own.told}."
    )
    raise ReducerFailed(message, hint=_way_out(key))


def _check_order(state: ExecutionState, node: ExecutableNode, key: str, new: Any) -> None:
    last = state.writes.get(key)
    if last is None or last.node == node.index:
        return
    before = dict(last.serials)
    if any(before.get(block, serial) != serial for block, serial in serials(state, node)):
        return  # In different turns of a loop they share: one came after the other.
    if is_before(state.diagram, last.node, node.index):
        return
    other = state.diagram.nodes[last.node].key
    message = (
        f"Nodes {other!r} and {node.key!r} run side by side and both write variable {key!r}: "
        f"{state.variables.get(key)!r} and {new!r}."
    )
    raise ReducerFailed(message, hint=_way_out(key))


def _way_out(key: str) -> str:
    return f"Put one after the other, or give {key!r} a commutative reducer (add, min, max, union)."


def is_before(diagram: ExecutableDiagram, first: int, second: int) -> bool:
    """Does a path of forward edges lead from one node to the other?"""
    seen = {first}
    pending = [first]
    while pending:
        for index in diagram.nodes[pending.pop()].outgoing:
            edge = diagram.edges[index]
            if edge.back_of is not None or edge.target in seen:
                continue
            if edge.target == second:
                return True
            seen.add(edge.target)
            pending.append(edge.target)
    return False
