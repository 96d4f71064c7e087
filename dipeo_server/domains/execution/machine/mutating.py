"""Rules: the graph of a run is changed while it goes on, and what that comes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from dipeo_server.domains.diagram.executable import ExecutableDiagram, ExecutableNode
from dipeo_server.domains.diagram.nearest import listed
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity
from dipeo_server.domains.execution.events import DiagramMutated, Event
from dipeo_server.domains.execution.machine.graph_changes import (
    GraphChange,
    Members,
    members_of,
)
from dipeo_server.domains.execution.machine.turns import ROOT
from dipeo_server.domains.execution.machine.visits import has_begun
from dipeo_server.domains.execution.signals import GraphMutationRequested
from dipeo_server.domains.execution.state import ExecutionState, Turn, WaitKind
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.errors import ExecutionFinished, InvalidState

_N = NodeExecutionStatus
_PLACE = frozenset({"index", "incoming", "outgoing", "block", "position", "label", "id"})
_DEFINITION = tuple(each.name for each in fields(ExecutableNode) if each.name not in _PLACE)
_LOOP_HINT = (
    "Of a loop that has begun only the settings of its nodes and the edges out of it can be "
    "changed. Fork the run from before it began for anything else."
)


@dataclass(frozen=True, slots=True)
class GraphImpact:
    """What a change of the graph comes to, by node key; each node of the new graph is in one list.

    `kept` stays as it is, `rerun` runs from now on with another definition or other inputs (new
    nodes do), `unreachable` never runs, as no start leads there. `problems` keep it from being
    made.
    """

    kept: tuple[str, ...]
    rerun: tuple[str, ...]
    unreachable: tuple[str, ...]
    problems: tuple[DiagramProblem, ...] = ()


def mutate(state: ExecutionState, signal: GraphMutationRequested) -> tuple[Event, ...]:
    """Run another graph from now on; the same graph changes nothing.

    Raises ExecutionFinished; InvalidState where the graph was changed meanwhile, or nodes are in
    the middle of something.
    """
    if state.status.is_terminal:
        raise ExecutionFinished(f"The execution has ended: {state.status}.")
    if state.ending is not None:
        raise InvalidState("The execution is being ended, so its graph cannot be changed.")
    if signal.made_from != state.revision:
        message = (
            f"The graph has been changed meanwhile: it is at revision {state.revision}, "
            f"and the change is one of {signal.made_from}."
        )
        raise InvalidState(message, hint="Look at it again, and make the change anew.")
    if signal.diagram == state.diagram:
        return ()
    found = impact(state, signal.diagram)
    if found.problems:
        first, more = found.problems[0], len(found.problems) - 1
        rest = f" (and {more} more reasons)" if more else ""
        raise InvalidState(first.message + rest, hint=first.hint)
    return (
        DiagramMutated(
            state.revision + 1,
            signal.diagram.content_hash,
            signal.diagram,
            found.rerun,
            found.unreachable,
            actor=signal.actor,
        ),
    )


def impact(state: ExecutionState, diagram: ExecutableDiagram) -> GraphImpact:
    """What it would come to if the run, as it stands, went on with that diagram."""
    change = GraphChange(state, diagram)
    lists: dict[str, list[str]] = {"kept": [], "rerun": [], "unreachable": []}
    for node in diagram.nodes:
        lists[_fate(change, node)].append(node.key)
    problems = (*_of_visits(change), *_of_loops(change))
    kept, rerun, unreachable = (tuple(each) for each in lists.values())
    return GraphImpact(kept, rerun, unreachable, problems)


def _fate(change: GraphChange, node: ExecutableNode) -> str:
    before = change.was_node.get(node.index)
    has_run = before is not None and change.state.nodes[before].occurrence > 0
    if node.block is None:
        return "kept" if has_run else "unreachable"
    if before is None:
        return "rerun"
    old = change.old.nodes[before]
    is_other = _is_defined_otherwise(old, node) or change.has_other_inputs(old, node)
    was_out = old.block is None and not has_run
    return "rerun" if was_out or (is_other and _is_to_come(change, before)) else "kept"


def _is_to_come(change: GraphChange, before: int) -> bool:
    """Will the node run, for all that is known? In a loop that has not ended it may run again."""
    block = change.old.nodes[before].block
    if not change.has_sent(before):
        return True
    while block is not None and block != ROOT:
        if change.state.blocks[block].unsettled:
            return True
        block = change.old.blocks[block].parent
    return False


def _is_defined_otherwise(old: ExecutableNode, new: ExecutableNode) -> bool:
    return any(getattr(old, name) != getattr(new, name) for name in _DEFINITION)


# --- visits that have begun ---------------------------------------------------------------------


def _of_visits(change: GraphChange) -> Iterator[DiagramProblem]:
    """Visits that have begun and not ended keep their node, its type and its inputs."""
    for old in change.old.nodes:
        if not has_begun(change.state, old.index):
            continue
        what = _touches(change, old)
        if what is not None:
            standing = _standing(change.state, old.index)
            message = f"{old.key!r} {standing}, so {what}."
            hint = "Wait until it has ended, or skip it or give its output first."
            yield DiagramProblem(Severity.ERROR, "NODE_BUSY", message, hint, node=old.key)


def _touches(change: GraphChange, old: ExecutableNode) -> str | None:
    """What of the change a visit that has begun does not allow."""
    index = change.node.get(old.index)
    if index is None:
        return "it cannot be deleted"
    new = change.new.nodes[index]
    if new.block is None:
        return "it cannot be cut off from every start"
    if change.has_other_inputs(old, new):
        return "the edges into it cannot be changed"
    if new.type != old.type:
        return "its type cannot be changed"
    if _is_held_to_its_settings(change.state, old.index) and _is_defined_otherwise(old, new):
        return "its settings cannot be changed"
    return None


def _is_held_to_its_settings(state: ExecutionState, index: int) -> bool:
    """A visit that runs or is asked about; the next attempt of others begins anew."""
    waiting = state.waiting.get(index)
    return index in state.running or (waiting is not None and waiting.kind is not WaitKind.RETRY)


def _standing(state: ExecutionState, index: int) -> str:
    waiting = state.waiting.get(index)
    if index in state.running:
        return "is running"
    if waiting is None:
        return "has failed" if state.nodes[index].status is _N.FAILED else "is to run again"
    what = {WaitKind.PERSON: "a person", WaitKind.DELAY: "a time", WaitKind.RETRY: "its retry"}
    return f"waits for {what[waiting.kind]}"


# --- loops that have begun ----------------------------------------------------------------------


def _of_loops(change: GraphChange) -> Iterator[DiagramProblem]:
    """A loop of which something has run in its present turn, or that has ended, stays as it is."""
    old, new = members_of(change.old), members_of(change.new)
    place = {members: index for index, members in new.items() if index != ROOT}
    begun = {
        members
        for index, members in old.items()
        if index != ROOT and _has_begun_in_turn(change, index, members)
    }
    for index, members in old.items():
        if members not in begun:
            continue
        other = place.get(members)
        if other is None or _form(change.old, index, old) != _form(change.new, other, new):
            yield _loop_problem(change.old, index, members)
    for members in place:
        ran = sorted(key for key in members if _has_run_in_turn(change, key))
        if ran and members not in begun:
            message = f"{listed(ran)} ran already, and would become part of another loop."
            hint = "Fork the run from before that instead."
            yield DiagramProblem(Severity.ERROR, "LOOP_BEGUN", message, hint, node=ran[0])


def _has_run_in_turn(change: GraphChange, key: str) -> bool:
    """Has the node run or been skipped, or does it run? One that is only ready has not."""
    index, state = change.old.index_of.get(key), change.state
    if index is None or state.turns[index].phase is Turn.OPEN:
        return False
    return index not in state.ready or has_begun(state, index)


def _has_begun_in_turn(change: GraphChange, index: int, members: Members) -> bool:
    is_later = change.state.blocks[index].turn > 1
    return is_later or any(_has_run_in_turn(change, key) for key in members)


def _form(
    diagram: ExecutableDiagram, index: int, members: dict[int, Members]
) -> tuple[object, ...]:
    """What a loop is, apart from the settings of its nodes and the edges out of it."""
    block, keys = diagram.blocks[index], members[index]
    key_of = [node.key for node in diagram.nodes]
    edges = frozenset(
        (
            edge.key,
            key_of[edge.source],
            edge.source_handle,
            key_of[edge.target],
            edge.kind,
            edge.condition,
            None if edge.back_of is None else members[edge.back_of],
            tuple(members[loop] for loop in edge.entering),
        )
        for edge in diagram.edges
        if key_of[edge.target] in keys and diagram.nodes[edge.source].block is not None
    )
    inner = frozenset(members[child] for child in block.children)
    header = None if block.header is None else key_of[block.header]
    own = frozenset(key_of[node] for node in block.nodes)
    return header, own, inner, edges


def _loop_problem(diagram: ExecutableDiagram, index: int, members: Members) -> DiagramProblem:
    header = diagram.blocks[index].header
    key = None if header is None else diagram.nodes[header].key
    nodes = listed(sorted(members))
    message = (
        f"The loop at {key!r} has begun, so neither its nodes ({nodes}) nor the edges into and "
        "between them can be changed."
    )
    return DiagramProblem(Severity.ERROR, "LOOP_BEGUN", message, _LOOP_HINT, node=key)
