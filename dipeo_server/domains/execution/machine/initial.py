"""Rule: a node has its result from an earlier run, if that still is a result of this node."""

from __future__ import annotations

from collections.abc import Mapping

from dipeo_server.domains.diagram.executable import ExecutableDiagram, ExecutableNode
from dipeo_server.domains.diagram.fingerprint import node_fingerprint
from dipeo_server.domains.diagram.nearest import did_you_mean
from dipeo_server.domains.execution.events import Failure, GivenOutput, NodeOutputSet
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine.by_hand import names_ports, output_for
from dipeo_server.domains.execution.machine.results import envelope_of, taken_edges
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.errors import DipeoError, InvalidInput


def checked_initial(
    diagram: ExecutableDiagram, initial: Mapping[str, GivenOutput]
) -> dict[str, GivenOutput]:
    """The results of an earlier run. Raises InvalidInput for a node that is not there."""
    for key in initial:
        if key not in diagram.index_of:
            message = (
                f"The initial state has a result of {key!r}, but the diagram has no such node."
            )
            hint = did_you_mean(key, diagram.index_of)
            raise InvalidInput(message, field=("input", "initialState", key), hint=hint)
    return dict(initial)


def recalled(state: ExecutionState, index: int, run: NodeRun) -> NodeOutputSet | Failure | None:
    """What the first visit of a node has as its result already; None if there is nothing.

    A Failure says why what was given is no result of this node any more: then it runs.
    """
    given = state.initial.get(index)
    if given is None or run.occurrence > 1 or state.last_at is None:
        return None
    node = state.diagram.nodes[index]
    if given.fingerprint is not None:
        current = node_fingerprint(state.diagram, node)
        if given.fingerprint != current:
            return _stale(node, f"its fingerprint was {given.fingerprint}, and is {current}")
    if node.branches and not names_ports(node, given.output):
        return _stale(node, f"it does not say which of its ports fires: {', '.join(node.ports)}")
    try:
        envelope, ports = envelope_of(node, run, output_for(node, given.output), state.last_at)
        edges = taken_edges(state, node, envelope, ports, ())
    except DipeoError as error:
        return _stale(node, error.message)
    return NodeOutputSet(run, envelope, ports, edges, reason="initial_state")


def _stale(node: ExecutableNode, why: str) -> Failure:
    message = f"The result that was given for {node.key!r} is not used, and it runs: {why}."
    return Failure("INITIAL_STATE_STALE", message, node.key)
