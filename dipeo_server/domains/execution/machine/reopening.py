"""How a failure is taken back: tokens are withdrawn, skips undone, and loops that ended go on.

The reverse of `turns`, for a failure that nothing handled. First it is found what would have to
be undone, which nothing but a node that went on can forbid; then it is. The cost is that of what
is undone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from dipeo_server.domains.diagram.executable import ExecutableEdge, ExecutableNode, JoinPolicy
from dipeo_server.domains.execution.machine.turns import ROOT, recount
from dipeo_server.domains.execution.state import ExecutionState, Turn, TurnEnd
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.errors import InvalidState

_FORK = "Fork the run from a sequence before the failure instead."


def check(state: ExecutionState, node: ExecutableNode) -> None:
    """Raises InvalidState if the node's unhandled failure cannot be taken back."""
    _Undoing(state).find(node)


def take_back(state: ExecutionState, node: ExecutableNode) -> None:
    """Undo what the node's failure did to others; the node itself has fired and has not ended.

    Raises InvalidState, and then nothing has changed; `check` tells beforehand.
    """
    undoing = _Undoing(state)
    undoing.find(node)
    undoing.carry_out(node)
    _forget_failure(state, node)


class _Undoing:
    """What has to be undone: nodes, loops and tokens; queues, since a diagram may be deep."""

    def __init__(self, state: ExecutionState) -> None:
        self.state = state
        self.undone: dict[int, None] = {}
        self.unfired: dict[int, None] = {}
        self.unsettled: dict[int, None] = {}
        self.reopened: dict[int, None] = {}
        self.withdrawn: dict[int, None] = {}
        self._nodes: deque[int] = deque()
        self._blocks: deque[int] = deque()

    def find(self, node: ExecutableNode) -> None:
        """Follow the tokens of the node. Raises InvalidState where something went on with them."""
        self._undo(node.index)
        while self._nodes or self._blocks:
            while self._blocks:
                for index in self.state.diagram.blocks[self._blocks.popleft()].exits:
                    self._withdraw(self.state.diagram.edges[index])
            if self._nodes:
                self._withdraw_all(self._nodes.popleft())

    def _withdraw_all(self, index: int) -> None:
        for number in self.state.diagram.nodes[index].outgoing:
            edge = self.state.diagram.edges[number]
            if edge.exit_of is None:  # An exit's token comes back with its loop.
                self._withdraw(edge)

    def _withdraw(self, edge: ExecutableEdge) -> None:
        self.withdrawn[edge.index] = None
        if edge.back_of is not None:
            return
        if any(self.state.blocks[loop].turn > 1 for loop in edge.entering):
            target = self.state.diagram.nodes[edge.target].key
            message = f"The loop of {target!r} has gone on to its next turn since the failure."
            raise InvalidState(message, hint=_FORK)
        self._reconsider(edge)

    def _reconsider(self, edge: ExecutableEdge) -> None:
        """The target of a withdrawn token: what it did may rest on it."""
        state, target = self.state, self.state.diagram.nodes[edge.target]
        turn = state.turns[target.index]
        if turn.phase is Turn.OPEN:
            return
        if turn.end is TurnEnd.SKIPPED:
            self._undo(target.index)
            return
        token = state.tokens[edge.index]
        if target.join is not JoinPolicy.ALL and (token is None or not token.is_live):
            self._unsettle(target.index)  # It went on with other tokens, and still would.
        elif target.join is JoinPolicy.ALL and _has_only_fired(state, target):
            self.unfired[target.index] = None
        else:
            message = f"{target.key!r} has gone on since the failure."
            raise InvalidState(message, hint=_FORK)

    def _undo(self, index: int) -> None:
        if index not in self.undone:
            self.undone[index] = None
            self._nodes.append(index)
            self._unsettle(index)

    def _unsettle(self, index: int) -> None:
        if self.state.turns[index].phase is not Turn.SETTLED or index in self.unsettled:
            return
        self.unsettled[index] = None
        block = self.state.diagram.nodes[index].block
        while block is not None and block in self.state.closed and block not in self.reopened:
            self.reopened[block] = None
            self._blocks.append(block)
            block = self.state.diagram.blocks[block].parent

    # --- then -----------------------------------------------------------------------------------

    def carry_out(self, node: ExecutableNode) -> None:
        """Undo what was found."""
        self._reopen()
        self._give_back_places()
        for index in self.unfired:
            del self.state.ready[index]
            self.state.turns[index].phase = Turn.OPEN
        for index in self.undone:
            self._restore_exits(self.state.diagram.nodes[index])
            if index != node.index:
                self._unskip(index)
        self._take_tokens()

    def _reopen(self) -> None:
        state = self.state
        for index in self.reopened:
            closed = state.closed.pop(index)
            state.back_tokens.update(closed.back_tokens)
            state.held.update(closed.held)
            parent = state.diagram.blocks[index].parent
            state.blocks[ROOT if parent is None else parent].unsettled += 1

    def _give_back_places(self) -> None:
        for index in self.unsettled:
            self.state.turns[index].phase = Turn.FIRED
            block = self.state.diagram.nodes[index].block
            if block is not None:
                self.state.blocks[block].unsettled += 1

    def _restore_exits(self, node: ExecutableNode) -> None:
        for index in node.outgoing:
            if self.state.diagram.edges[index].exit_of is None:
                continue
            before = self.state.displaced.pop(index, None)
            if before is None:
                self.state.held.pop(index, None)
            else:
                self.state.held[index] = before

    def _unskip(self, index: int) -> None:
        turn, current = self.state.turns[index], self.state.nodes[index]
        turn.phase, turn.end = Turn.OPEN, None
        if current.status is NodeExecutionStatus.SKIPPED and not current.occurrence:
            pending = NodeExecutionStatus.PENDING
            self.state.nodes[index] = replace(current, status=pending, skip_reason=None)

    def _take_tokens(self) -> None:
        targets: dict[int, None] = {}
        for index in self.withdrawn:
            edge = self.state.diagram.edges[index]
            if edge.back_of is not None:
                self.state.back_tokens.pop(index, None)
            else:
                self.state.tokens[index] = None
                targets[edge.target] = None
        for index in targets:
            recount(self.state, self.state.diagram.nodes[index])


def _has_only_fired(state: ExecutionState, node: ExecutableNode) -> bool:
    """Is it ready, and was this visit never begun?"""
    current = state.nodes[node.index]
    was_begun = current.status is NodeExecutionStatus.PENDING and current.occurrence > 0
    return node.index in state.ready and not was_begun


def _forget_failure(state: ExecutionState, node: ExecutableNode) -> None:
    state.turns[node.index].end = None
    failure = state.nodes[node.index].failure
    for place in range(len(state.failures) - 1, -1, -1):
        if state.failures[place] == failure:
            del state.failures[place]
            return
