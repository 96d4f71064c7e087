"""Rules 1 and 2: which loops a diagram has, what their headers, back edges and tails are.

Everything is recomputed from sets, as slowly as it likes: being obviously right is its only job.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.reference.sketch import Sketch


@dataclass(eq=False)
class Block:
    """A loop, or the whole run: the outermost block, which has neither header nor back edges."""

    core: frozenset[int]
    """The strongly connected nodes (for the run: every node that a start reaches)."""
    header: int | None = None
    back: frozenset[int] = frozenset()
    """The edges from the core into the header."""
    inner: list[Block] = field(default_factory=list)
    tail: set[int] = field(default_factory=set)

    @property
    def nodes(self) -> set[int]:
        """Every node the block holds, however deep."""
        return set(self.core) | self.tail

    @property
    def own(self) -> set[int]:
        """The nodes that are in no inner loop."""
        return self.nodes.difference(*(loop.nodes for loop in self.inner))

    def walk(self) -> Iterator[Block]:
        """Give every loop inside, innermost first, then the block itself."""
        for loop in self.inner:
            yield from loop.walk()
        yield self


class LoopForest:
    """What rules 1 and 2 say about a sketch, before anything runs."""

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch
        starts = {node for node, kind in enumerate(sketch.kinds) if kind == "start"}
        self.distance = distances(sketch, starts)
        self.reachable = frozenset(self.distance)
        """What no start reaches is dropped with its edges."""
        self.edges = frozenset(
            edge for edge, (source, _, _) in enumerate(sketch.edges) if source in self.reachable
        )
        self.run = Block(self.reachable, inner=self._loops_among(self.reachable, self.edges))
        self._adopt_tails(self.run)
        self.loops = tuple(block for block in self.run.walk() if block is not self.run)
        """Every loop, those inside it before it."""
        self.back = frozenset(edge for loop in self.loops for edge in loop.back)
        self._forward = {
            node: [edge for edge in self._edges_into(node) if edge not in self.back]
            for node in range(len(sketch.kinds))
        }
        self.loops_holding = {
            node: [loop for loop in self.loops if node in loop.nodes] for node in self.reachable
        }
        """Node → the loops that hold it, innermost first."""
        self.loops_entered = {
            edge: self._loops_beyond(self.target(edge), self.source(edge)) for edge in self.edges
        }
        """Edge → the loops that hold its target but not its source, innermost first."""
        self.loops_left = {
            edge: self._loops_beyond(self.source(edge), self.target(edge)) for edge in self.edges
        }
        """Edge → the loops that hold its source but not its target, innermost first."""

    def source(self, edge: int) -> int:
        """Give the node that puts tokens on the edge."""
        return self.sketch.edges[edge][0]

    def target(self, edge: int) -> int:
        """Give the node that awaits the edge's tokens."""
        return self.sketch.edges[edge][2]

    def forward(self, node: int) -> list[int]:
        """Give the edges into the node that are no back edges, in file order."""
        return self._forward[node]

    def _loops_beyond(self, node: int, other: int) -> list[Block]:
        return [loop for loop in self.loops_holding[node] if other not in loop.nodes]

    def _loops_among(self, nodes: frozenset[int], edges: frozenset[int]) -> list[Block]:
        """Rule 1: components, a header each; without its back edges the same again inside."""
        loops = []
        for core in components(self.sketch, nodes, edges):
            header = self._header(core)
            back = frozenset(
                edge for edge in self.sketch.edges_into(header) if self.source(edge) in core
            )
            loops.append(Block(core, header, back, self._loops_among(core, edges - back)))
        return loops

    def _header(self, core: frozenset[int]) -> int:
        """The first entry by: fed by a condition of the loop, fewest edges from a start, file."""

        def feeders(node: int) -> set[int]:
            return {self.source(edge) for edge in self._edges_into(node)}

        def rank(node: int) -> tuple[bool, int, int]:
            from_condition = any(
                self.sketch.kinds[source] == "condition" for source in feeders(node) & core
            )
            return (not from_condition, self.distance[node], node)

        return min((node for node in core if feeders(node) - core), key=rank)

    def _adopt_tails(self, block: Block) -> None:
        """Rule 2: outer loops first, then the same inside each."""
        for loop in list(block.inner):
            while tail := self._next_tail(block, loop):
                loop.tail |= tail
                moved = [other for other in block.inner if other.nodes == tail]
                block.inner = [other for other in block.inner if other not in moved]
                loop.inner += moved
        for loop in block.inner:
            self._adopt_tails(loop)

    def _next_tail(self, block: Block, loop: Block) -> set[int] | None:
        """Find a node or loop beside the loop that everything reaches by way of the loop's taps."""
        beside = [{node} for node in sorted(block.own)]
        beside += [other.nodes for other in block.inner if other is not loop]
        for nodes in beside:
            entering = [
                edge
                for node in sorted(nodes)
                for edge in self._edges_into(node)
                if self.source(edge) not in nodes
            ]
            has_endpoint = any(self.sketch.kinds[node] == "endpoint" for node in nodes)
            if entering and not has_endpoint and all(self._taps(edge, loop) for edge in entering):
                return nodes
        return None

    def _taps(self, edge: int, loop: Block) -> bool:
        """Say whether the edge comes from the loop's tail or a port that also feeds the loop."""
        source, port, _ = self.sketch.edges[edge]
        if source in loop.tail:
            return True
        return source in loop.core and any(
            self.sketch.edges[other][1] == port and self.target(other) in loop.core
            for other in self.sketch.edges_out_of(source)
        )

    def _edges_into(self, node: int) -> list[int]:
        return [edge for edge in self.sketch.edges_into(node) if edge in self.edges]


def distances(sketch: Sketch, starts: set[int]) -> dict[int, int]:
    """Count the edges from the nearest start to every node that a start reaches."""
    found = dict.fromkeys(starts, 0)
    frontier = starts
    while frontier:
        reached = {target for source, _, target in sketch.edges if source in frontier}
        frontier = reached - found.keys()
        found |= dict.fromkeys(frontier, max(found.values()) + 1)
    return found


def components(
    sketch: Sketch, nodes: frozenset[int], edges: frozenset[int]
) -> list[frozenset[int]]:
    """Give the sets of nodes that reach one another (a single node: that reach themselves)."""
    reach: dict[int, set[int]] = {node: set() for node in nodes}
    for _ in nodes:  # a path visits every node at most once
        for edge in edges:
            source, _, target = sketch.edges[edge]
            if source in nodes and target in nodes:
                reach[source] |= {target} | reach[target]
    found = {
        frozenset(other for other in reach[node] if node in reach[other])
        for node in nodes
        if node in reach[node]
    }
    return sorted(found, key=min)
