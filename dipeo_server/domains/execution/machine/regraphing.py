"""How a run goes on with another graph: its state by the keys of nodes and edges, counted anew.

Called by `evolve` only. What nodes have done and what lies on edges is kept; counters follow from
that. Loops that have begun are the same in both graphs (`mutating` sees to it), so that everything
that is in their middle stays as it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from dipeo_server.domains.diagram.executable import EdgeKind, ExecutableEdge, ExecutableNode, FanOut
from dipeo_server.domains.execution.events import DiagramMutated
from dipeo_server.domains.execution.machine.graph_changes import GraphChange
from dipeo_server.domains.execution.machine.steering_events import RUN_INDEX
from dipeo_server.domains.execution.machine.turns import (
    ROOT,
    decide_arrived,
    recount,
)
from dipeo_server.domains.execution.routing import tokens_for
from dipeo_server.domains.execution.state import (
    BlockTurn,
    ClosedLoop,
    ExecutionState,
    GoneNode,
    InputRef,
    NodeState,
    NodeTurn,
    Turn,
    TurnEnd,
    VariableWrite,
)
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.domains.execution.tokens import NOT_TAKEN, SkipReason, Token, dead

V = TypeVar("V")
_N = NodeExecutionStatus


def mutated(state: ExecutionState, event: DiagramMutated) -> None:
    """The run has this diagram from now on."""
    change = GraphChange(state, event.diagram)
    new_tokens = _tokens_of_new_edges(change)
    unfired = [index for index in state.ready if change.is_to_be_decided_again(index)]
    again = [change.node[index] for index in unfired if index in change.node]
    _move_nodes(change, set(unfired))
    _move_edges(change)
    _move_blocks(change)
    state.diagram = change.new
    state.revision, state.mutations = event.revision_number, state.mutations + 1
    state.graph_at = state.last_seq
    _put(state, new_tokens)
    _count(state)
    _tell_unreachable(state)
    decide_arrived(state, again)


# --- what new edges carry -----------------------------------------------------------------------


def _tokens_of_new_edges(change: GraphChange) -> dict[int, Token]:
    """By index in the new graph: what those nodes put there that have ended in this turn."""
    found: dict[int, Token] = {}
    for edge in change.new.edges:
        source = change.was_node.get(edge.source)
        if edge.index in change.was_edge or source is None or not change.has_sent(source):
            continue
        found[edge.index] = _token(change, edge, source)
    return found


def _token(change: GraphChange, edge: ExecutableEdge, source: int) -> Token:
    """What it would have put there; what conditions choose was not chosen in this turn."""
    state, node = change.state, change.new.nodes[edge.source]
    reason = _skipped_for(change, source)
    if reason is not None:
        return dead(reason)
    last = state.emissions.get(source)
    if last is None:
        return NOT_TAKEN
    if edge.kind in (EdgeKind.WHEN, EdgeKind.DEFAULT) or node.fan_out is FanOut.FIRST:
        return last.otherwise
    envelope = last.envelope
    if envelope is not None and state.nodes[source].status is _N.MAXITER_REACHED:
        envelope = envelope.with_meta(maxiter=True)
    emission = replace(last, envelope=envelope, edges=None)
    return tokens_for(change.new, node, emission).get(edge.index, NOT_TAKEN)


def _skipped_for(change: GraphChange, source: int) -> str | None:
    """Why the node did not run in this turn, if it did not."""
    current, told = change.state.nodes[source], change.reason_sent(source)
    if change.state.turns[source].end is TurnEnd.SKIPPED:
        return told or current.skip_reason or SkipReason.BRANCH_NOT_TAKEN
    if current.status is _N.SKIPPED:
        return current.skip_reason
    return told if told == SkipReason.BY_USER else None


def _put(state: ExecutionState, tokens: Mapping[int, Token]) -> None:
    for index, token in tokens.items():
        edge = state.diagram.edges[index]
        if edge.exit_of is None:
            state.tokens[index] = token
        elif state.blocks[edge.exit_of].unsettled:
            state.held[index], state.displaced[index] = token, None
        else:
            state.tokens[index], state.displaced[index] = token, None
            closed = state.closed.get(edge.exit_of)
            if closed is not None:
                held = {**closed.held, index: token}
                state.closed[edge.exit_of] = ClosedLoop(closed.back_tokens, held)


# --- what goes over -----------------------------------------------------------------------------


def _moved(values: Mapping[int, V], places: Mapping[int, int]) -> dict[int, V]:
    return {places[index]: value for index, value in values.items() if index in places}


def _move_nodes(change: GraphChange, unfired: set[int]) -> None:
    """Everything that is kept by node; a node that comes back after it was gone counts on."""
    state, places = change.state, change.node
    for node in change.old.nodes:
        if node.index not in places:
            emission = state.emissions.get(node.index)
            state.gone[node.key] = GoneNode(state.nodes[node.index], emission)
    emissions = _moved(state.emissions, places)
    nodes: list[NodeState] = []
    turns: list[NodeTurn] = []
    for node in change.new.nodes:
        before = change.was_node.get(node.index)
        back = None if before is not None else state.gone.pop(node.key, None)
        if back is not None and back.emission is not None:
            emissions[node.index] = back.emission
        nodes.append(_stood(change, node, before, back))
        turns.append(_turn(change, before, is_unfired=before in unfired))
    state.nodes, state.turns, state.emissions = nodes, turns, emissions
    state.early = _moved(state.early, places)
    state.tries = _moved(state.tries, places)
    state.initial = _moved(state.initial, places)
    state.running = _moved(state.running, places)
    state.waiting = _moved(state.waiting, places)
    state.skips = _moved(state.skips, places)
    ready = [places[each] for each in state.ready if each not in unfired and each in places]
    state.ready = OrderedDict.fromkeys(ready)
    hits = state.hits
    state.hits = {(places[index], n, when) for index, n, when in hits if index in places}
    touched = {places[index] for index in state.touched if index in places}
    state.touched = touched | (state.touched & {RUN_INDEX})


def _stood(
    change: GraphChange, node: ExecutableNode, before: int | None, back: GoneNode | None
) -> NodeState:
    if before is None:
        return NodeState() if back is None or not back.stood.occurrence else back.stood
    stood = change.state.nodes[before]
    was_out = change.old.nodes[before].block is None and node.block is not None
    is_fresh = change.state.turns[before].phase is Turn.OPEN and not stood.occurrence
    return NodeState() if was_out and is_fresh else stood


def _turn(change: GraphChange, before: int | None, *, is_unfired: bool) -> NodeTurn:
    """How far it has come in this turn; the counters follow from the tokens."""
    if before is None or is_unfired:
        return NodeTurn()
    turn = change.state.turns[before]
    first = None if turn.first_edge is None else change.edge.get(turn.first_edge)
    return NodeTurn(turn.phase, first_edge=first, end=turn.end)


def _move_edges(change: GraphChange) -> None:
    state, places = change.state, change.edge
    tokens: list[Token | None] = [None] * len(change.new.edges)
    for before, index in places.items():
        tokens[index] = state.tokens[before]
    state.tokens = tokens
    state.back_tokens = _moved(state.back_tokens, places)
    state.held = _moved(state.held, places)
    state.displaced = _moved(state.displaced, places)
    state.inputs = {
        change.node[index]: tuple(_inputs(change, refs))
        for index, refs in state.inputs.items()
        if index in change.node
    }


def _inputs(change: GraphChange, refs: Iterable[InputRef]) -> Iterable[InputRef]:
    for ref in refs:
        if ref.edge in change.same_ends:
            yield replace(ref, edge=change.same_ends[ref.edge])


def _move_blocks(change: GraphChange) -> None:
    state, places = change.state, change.block
    was = {index: before for before, index in places.items()}
    blocks: list[BlockTurn] = []
    for block in change.new.blocks:
        before = was.get(block.index)
        blocks.append(BlockTurn(serial=1) if before is None else state.blocks[before])
    state.blocks = blocks
    state.closed = {
        places[index]: ClosedLoop(
            _moved(closed.back_tokens, change.edge), _moved(closed.held, change.edge)
        )
        for index, closed in state.closed.items()
        if index in places
    }
    state.writes = {
        key: VariableWrite(
            change.node[write.node],
            tuple((places[block], serial) for block, serial in write.serials if block in places),
        )
        for key, write in state.writes.items()
        if write.node in change.node
    }


# --- counted anew -------------------------------------------------------------------------------


def _count(state: ExecutionState) -> None:
    for node in state.diagram.nodes:
        if node.block is not None:
            recount(state, node)
            turn = state.turns[node.index]
            if turn.phase is not Turn.OPEN and not _is_busy(state, node.index):
                turn.phase = Turn.FIRED if turn.missing else Turn.SETTLED
    _count_block(state)


def _is_busy(state: ExecutionState, index: int) -> bool:
    return index in state.running or index in state.waiting or index in state.ready


def _count_block(state: ExecutionState) -> None:
    """What is not settled in each block; those inside first."""
    order = [ROOT]
    for index in order:
        order.extend(state.diagram.blocks[index].children)
    for index in reversed(order):
        block = state.diagram.blocks[index]
        nodes = sum(state.turns[node].phase is not Turn.SETTLED for node in block.nodes)
        loops = sum(state.blocks[child].unsettled > 0 for child in block.children)
        state.blocks[index].unsettled = nodes + loops


def _tell_unreachable(state: ExecutionState) -> None:
    for node in state.diagram.nodes:
        if node.block is not None:
            continue
        state.ready.pop(node.index, None)
        current = state.nodes[node.index]
        if current.status is _N.PENDING and not current.occurrence:
            state.skips[node.index] = SkipReason.UNREACHABLE
