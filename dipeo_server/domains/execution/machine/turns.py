"""How tokens move and turns end: the readiness rule, as changes of the state.

Called by `evolve` only. A completion costs as much as the node has edges; the reset of a turn is
paid by the turn. What results is never an event of its own: nodes that may start are put into
`state.ready`, nodes whose paths are dead into `state.skips`, and `settle` tells of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from dipeo_server.domains.diagram.executable import ExecutableEdge, ExecutableNode, JoinPolicy
from dipeo_server.domains.execution.events import Failure
from dipeo_server.domains.execution.state import (
    BlockTurn,
    ClosedLoop,
    ExecutionState,
    InputRef,
    NodeState,
    NodeTurn,
    Turn,
    TurnEnd,
)
from dipeo_server.domains.execution.tokens import (
    NOT_TAKEN,
    SkipReason,
    Token,
    TokenKind,
    kept_at_exit,
    strongest_reason,
)

ROOT = 0


def lay_out(state: ExecutionState) -> None:
    """Give a fresh state its counters and begin the one turn of the outermost block."""
    diagram = state.diagram
    state.nodes = [NodeState() for _ in diagram.nodes]
    state.turns = [NodeTurn() for _ in diagram.nodes]
    state.blocks = [BlockTurn() for _ in diagram.blocks]
    state.tokens = [None] * len(diagram.edges)
    _begin_turn(state, ROOT)
    for node in diagram.nodes:
        if node.block is None:
            state.skips[node.index] = SkipReason.UNREACHABLE
        elif node.is_start:
            _fire(state, node)


def mark_executed(state: ExecutionState, node: ExecutableNode) -> None:
    """Something was executed in this turn of the node's block and of every block around it."""
    index = node.block
    while index is not None and not state.blocks[index].has_executed:
        state.blocks[index].has_executed = True
        index = state.diagram.blocks[index].parent


def send(state: ExecutionState, node: ExecutableNode, tokens: dict[int, Token]) -> None:
    """Put one token on each outgoing edge (`NOT_TAKEN` where none is given); the node is done."""
    _Walk(state).send(node, tokens)


class _Walk:
    """One propagation; a queue instead of recursion, since a diagram may be 10,000 deep."""

    def __init__(self, state: ExecutionState) -> None:
        self.state = state
        self.closing: deque[int] = deque()
        self.reached: dict[int, None] = {}

    def send(self, node: ExecutableNode, tokens: dict[int, Token]) -> None:
        for index in node.outgoing:
            self._put(self.state.diagram.edges[index], tokens.get(index, NOT_TAKEN))
        self._decide_reached()
        self.state.turns[node.index].phase = Turn.FIRED
        self._settle(node)
        self._close_blocks()

    def _put(self, edge: ExecutableEdge, token: Token) -> None:
        if edge.exit_of is None:
            self._deliver(edge, token)
        else:
            before = self.state.held.get(edge.index)
            self.state.displaced[edge.index] = before
            self.state.held[edge.index] = kept_at_exit(before, token)

    def _deliver(self, edge: ExecutableEdge, token: Token) -> None:
        state = self.state
        if edge.back_of is not None:
            state.back_tokens[edge.index] = token
            return
        count_token(state, edge, token)
        if state.turns[edge.target].phase is Turn.OPEN:
            self.reached[edge.target] = None
        else:
            self._settle(state.diagram.nodes[edge.target])

    def _decide_reached(self) -> None:
        """What arrives at one moment is decided on together."""
        reached, self.reached = self.reached, {}
        for index in reached:
            decide_readiness(self.state, self.state.diagram.nodes[index])

    def _settle(self, node: ExecutableNode) -> None:
        """The node ran or was skipped; it is settled once every awaited token is in, too."""
        state, turn = self.state, self.state.turns[node.index]
        if turn.phase is not Turn.FIRED or turn.missing or _is_busy(state, node.index):
            return
        turn.phase = Turn.SETTLED
        if node.block is not None:
            self._settled_in(node.block)

    def _settled_in(self, block: int) -> None:
        self.state.blocks[block].unsettled -= 1
        if self.state.blocks[block].unsettled == 0:
            self.closing.append(block)

    def _close_blocks(self) -> None:
        while self.closing:
            index = self.closing.popleft()
            if index != ROOT:
                self._end_turn(index)
                self._decide_reached()

    def _end_turn(self, index: int) -> None:
        state, block = self.state, self.state.diagram.blocks[index]
        arrived = {edge: state.back_tokens.pop(edge, NOT_TAKEN) for edge in block.back_edges}
        if any(token.is_live for token in arrived.values()):
            if state.blocks[index].has_executed:
                self._next_turn(index, arrived)
                return
            state.notices.append(_no_progress(state, index))
        held = {edge: state.held.pop(edge, NOT_TAKEN) for edge in block.exits}
        state.closed[index] = ClosedLoop(arrived, held)
        for edge, token in held.items():
            self._deliver(state.diagram.edges[edge], token)
        if block.parent is not None:
            self._settled_in(block.parent)

    def _next_turn(self, index: int, arrived: dict[int, Token]) -> None:
        state, block = self.state, self.state.diagram.blocks[index]
        state.blocks[index].turn += 1
        idle = _begin_turn(state, index)
        for edge, token in arrived.items():
            count_token(state, state.diagram.edges[edge], token)
        if block.header is not None:
            decide_readiness(state, state.diagram.nodes[block.header])
        for node in idle:
            # Nothing is awaited this turn (loops with several entries only): it is skipped.
            decide_readiness(state, state.diagram.nodes[node])


def _is_busy(state: ExecutionState, node: int) -> bool:
    return (
        node in state.running or node in state.waiting or node in state.ready or node in state.skips
    )


def _begin_turn(state: ExecutionState, index: int) -> list[int]:
    """Reset the block's nodes and start its nested loops afresh; gives nodes that await nothing."""
    idle: list[int] = []
    pending = [index]
    while pending:
        current = pending.pop()
        block, turn = state.diagram.blocks[current], state.blocks[current]
        turn.unsettled = len(block.nodes) + len(block.children)
        turn.has_executed = False
        turn.serial += 1
        for child in block.children:
            state.blocks[child].turn = 1
            state.closed.pop(child, None)
            pending.append(child)
        idle.extend(node for node in block.nodes if _reset(state, state.diagram.nodes[node]))
    return idle


def _reset(state: ExecutionState, node: ExecutableNode) -> bool:
    awaited = awaited_edges(state, node)
    for edge in awaited:
        state.tokens[edge.index] = None
    if not is_later_header(state, node):
        for number in node.incoming:
            if state.diagram.edges[number].back_of is not None:
                state.tokens[number] = None
    turn = state.turns[node.index]
    turn.phase = Turn.OPEN
    turn.missing = len(awaited)
    turn.live = turn.live_guards = turn.failed = 0
    turn.has_guards = any(edge.may_die for edge in awaited)
    turn.first_edge = None
    turn.end = None
    return not awaited and not node.is_start


def is_later_header(state: ExecutionState, node: ExecutableNode) -> bool:
    """Is it the header of a loop that is past its first turn?"""
    if node.block is None or state.diagram.blocks[node.block].header != node.index:
        return False
    return state.blocks[node.block].turn > 1


def awaited_edges(state: ExecutionState, node: ExecutableNode) -> list[ExecutableEdge]:
    """The edges that bring this node a token in this turn."""
    edges = [state.diagram.edges[index] for index in node.incoming]
    if is_later_header(state, node):
        return [edge for edge in edges if edge.back_of is not None]
    return [
        edge
        for edge in edges
        if edge.back_of is None
        and (not edge.entering or all(state.blocks[loop].turn == 1 for loop in edge.entering))
    ]


def recount(state: ExecutionState, node: ExecutableNode) -> None:
    """The counters of a node's turn, from the tokens that are in."""
    turn = state.turns[node.index]
    turn.missing = turn.live = turn.live_guards = turn.failed = 0
    turn.has_guards = False
    for edge in awaited_edges(state, node):
        turn.has_guards = turn.has_guards or edge.may_die
        token = state.tokens[edge.index]
        if token is None:
            turn.missing += 1
        elif token.is_live:
            turn.live += 1
            turn.live_guards += edge.may_die
            if turn.first_edge is None:
                turn.first_edge = edge.index
        elif token.kind is TokenKind.FAILED:
            turn.failed += 1


def decide_arrived(state: ExecutionState, first: Iterable[int]) -> None:
    """Decide on everything that has not been decided in its turn, those nodes first."""
    for index in (*first, *range(len(state.diagram.nodes))):
        node = state.diagram.nodes[index]
        if node.block is None or state.turns[index].phase is not Turn.OPEN:
            continue
        if node.is_start:
            _fire(state, node)
        else:
            decide_readiness(state, node)


def count_token(state: ExecutionState, edge: ExecutableEdge, token: Token) -> None:
    """An awaited edge brings its one token of this turn."""
    state.tokens[edge.index] = token
    turn = state.turns[edge.target]
    if turn.missing <= 0:
        raise AssertionError(f"edge {edge.key} brought a second token in one turn")
    turn.missing -= 1
    if token.is_live:
        turn.live += 1
        turn.live_guards += edge.may_die
        if turn.first_edge is None:
            turn.first_edge = edge.index
    elif token.kind is TokenKind.FAILED:
        turn.failed += 1


def decide_readiness(state: ExecutionState, node: ExecutableNode) -> None:
    """Fire the node, or mark it as skipped, or leave it waiting for more tokens."""
    turn = state.turns[node.index]
    if node.join is JoinPolicy.ALL:
        _decide_all(state, node, turn)
        return
    is_counting = node.join is JoinPolicy.K_OF_N and not is_later_header(state, node)
    if turn.live >= (node.k if is_counting else 1):
        _fire(state, node)
    elif turn.missing == 0:
        short = SkipReason.JOIN_NOT_MET if turn.live else _reason(state, node)
        _skip(state, node, SkipReason.UPSTREAM_FAILED if turn.failed else short)


def _decide_all(state: ExecutionState, node: ExecutableNode, turn: NodeTurn) -> None:
    if turn.missing:
        return
    if turn.failed or _has_sticky_failure(state, node):
        _skip(state, node, SkipReason.UPSTREAM_FAILED)
    elif turn.live and (turn.live_guards or not turn.has_guards or is_later_header(state, node)):
        _fire(state, node)
    else:
        _skip(state, node, _reason(state, node))


def _has_sticky_failure(state: ExecutionState, node: ExecutableNode) -> bool:
    tokens = (state.tokens[index] for index in node.incoming)
    return any(token is not None and token.kind is TokenKind.FAILED for token in tokens)


def _reason(state: ExecutionState, node: ExecutableNode) -> str:
    tokens = (state.tokens[edge.index] for edge in awaited_edges(state, node))
    return strongest_reason([token for token in tokens if token is not None])


def _fire(state: ExecutionState, node: ExecutableNode) -> None:
    state.turns[node.index].phase = Turn.FIRED
    state.ready[node.index] = None
    state.inputs[node.index] = _arrived_inputs(state, node)


def _arrived_inputs(state: ExecutionState, node: ExecutableNode) -> tuple[InputRef, ...]:
    """This turn's live tokens, plus sticky ones whose input name no live token has."""
    diagram, turn = state.diagram, state.turns[node.index]
    awaited = {edge.index for edge in awaited_edges(state, node)}
    is_first_turn = node.block is None or state.blocks[node.block].turn == 1
    is_first_only = node.join is JoinPolicy.FIRST
    fresh: list[InputRef] = []
    sticky: list[InputRef] = []
    for index in node.incoming:
        token, edge = state.tokens[index], diagram.edges[index]
        if token is None or not token.is_live or token.envelope is None:
            continue
        if edge.target_handle == "first" and not (is_first_turn and index in awaited):
            continue
        if is_first_only and index != turn.first_edge:
            continue
        found = InputRef(index, token.envelope, token.port)
        (fresh if index in awaited else sticky).append(found)
    if not sticky:
        return tuple(fresh)
    names = {diagram.edges[ref.edge].input_name for ref in fresh}
    kept = [ref for ref in sticky if diagram.edges[ref.edge].input_name not in names]
    return tuple(sorted([*fresh, *kept], key=lambda ref: ref.edge))


def _skip(state: ExecutionState, node: ExecutableNode, reason: str) -> None:
    turn = state.turns[node.index]
    turn.phase, turn.end = Turn.FIRED, TurnEnd.SKIPPED
    state.skips[node.index] = reason


def _no_progress(state: ExecutionState, index: int) -> Failure:
    header = state.diagram.blocks[index].header
    key = state.diagram.nodes[header].key if header is not None else None
    return Failure(
        "NO_PROGRESS",
        f"The loop at {key!r} ended: nothing was executed in its last turn.",
        key,
        hint="Give the loop a condition that leaves it before its nodes reach max_iteration.",
    )
