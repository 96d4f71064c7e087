"""How two graphs of one run correspond: nodes and edges by key, loops by what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from dipeo_server.domains.diagram.executable import (
    ExecutableDiagram,
    ExecutableEdge,
    ExecutableNode,
)
from dipeo_server.domains.execution.machine.visits import has_begun
from dipeo_server.domains.execution.state import ExecutionState, Turn

Members = frozenset[str]


class GraphChange:
    """What becomes of each part of the old graph (`state.diagram`) in the new one.

    `node`, `edge` and `block` are by old index and give the new one; `was_node` and `was_edge` are
    the reverse. An edge is the same where its key, its ends and what it is followed for are;
    `same_ends` has those as well that are followed for something else.
    """

    def __init__(self, state: ExecutionState, new: ExecutableDiagram) -> None:
        self.state = state
        self.old, self.new = state.diagram, new
        self.node = {
            node.index: new.index_of[node.key]
            for node in self.old.nodes
            if node.key in new.index_of
        }
        self.was_node = {index: before for before, index in self.node.items()}
        self.same_ends: dict[int, int] = {}
        self.edge: dict[int, int] = {}
        for edge in self.old.edges:
            other = new.edge_index_of.get(edge.key)
            if other is None or _ends(self.old, edge) != _ends(new, new.edges[other]):
                continue
            self.same_ends[edge.index] = other
            if _followed_for(edge) == _followed_for(new.edges[other]):
                self.edge[edge.index] = other
        self.was_edge = {index: before for before, index in self.edge.items()}

    @cached_property
    def block(self) -> Mapping[int, int]:
        """Loops that have the same nodes in both graphs, and the run itself."""
        new = {members: index for index, members in members_of(self.new).items()}
        found = {0: 0}
        for index, members in members_of(self.old).items():
            if index and members in new and new[members]:
                found[index] = new[members]
        return found

    def has_sent(self, node: int) -> bool:
        """Has the node, by its old index, put out its tokens in this turn?"""
        state = self.state
        if state.turns[node].phase is Turn.OPEN or node in state.running or node in state.waiting:
            return False
        return node not in state.ready and node not in state.skips

    def reason_sent(self, node: int) -> str | None:
        """The reason that its tokens of this turn tell, if one does."""
        for index in self.old.nodes[node].outgoing:
            token = self.state.tokens[index] or self.state.back_tokens.get(index)
            token = token or self.state.held.get(index)
            if token is not None and not token.is_live:
                return token.reason
        return None

    def is_to_be_decided_again(self, node: int) -> bool:
        """It is ready and was never begun: may what it was decided on be other now?"""
        if has_begun(self.state, node):
            return False
        after = self.node.get(node)
        if after is None:
            return True
        old, new = self.old.nodes[node], self.new.nodes[after]
        is_same = (old.join, old.k, old.is_start) == (new.join, new.k, new.is_start)
        return new.block is None or not is_same or self.has_other_inputs(old, new)

    def has_other_inputs(self, old: ExecutableNode, new: ExecutableNode) -> bool:
        """Has it other edges into it, or do they bring their values in another way?"""
        before = {_incoming(self.old, self.old.edges[index]) for index in old.incoming}
        after = {_incoming(self.new, self.new.edges[index]) for index in new.incoming}
        return before != after or self._is_placed_otherwise(old, new)

    def _is_placed_otherwise(self, old: ExecutableNode, new: ExecutableNode) -> bool:
        back = {self.edge.get(i) for i in old.incoming if self.old.edges[i].back_of is not None}
        return back != {i for i in new.incoming if self.new.edges[i].back_of is not None}


def members_of(diagram: ExecutableDiagram) -> dict[int, Members]:
    """The keys of all nodes in each block, those of loops inside it included."""
    found: dict[int, Members] = {}
    order = [0]
    for index in order:
        order.extend(diagram.blocks[index].children)
    for index in reversed(order):
        block = diagram.blocks[index]
        own = {diagram.nodes[node].key for node in block.nodes}
        found[index] = frozenset(own.union(*(found[child] for child in block.children)))
    return found


def _ends(diagram: ExecutableDiagram, edge: ExecutableEdge) -> tuple[str, str, str]:
    source, target = diagram.nodes[edge.source].key, diagram.nodes[edge.target].key
    return source, edge.source_handle, target


def _followed_for(edge: ExecutableEdge) -> tuple[object, ...]:
    return edge.kind, edge.condition


def _incoming(diagram: ExecutableDiagram, edge: ExecutableEdge) -> tuple[object, ...]:
    return (
        edge.key,
        *_ends(diagram, edge),
        *_followed_for(edge),
        edge.target_handle,
        edge.input_name,
        edge.content_type,
        repr(edge.transform),
    )
