"""Rule 3's guards: which forward edges can be dead by choice, whatever the conditions answer."""

from __future__ import annotations

from tests.reference.loops import LoopForest


def edges_dead_by_choice(forest: LoopForest) -> frozenset[int]:
    """Give the edges from a condition's port or from a node that may itself be skipped."""
    dying: frozenset[int] = frozenset()
    while True:
        grown = frozenset(
            edge
            for edge in forest.edges - forest.back
            if forest.sketch.kinds[forest.source(edge)] == "condition"
            or may_be_skipped(forest, forest.source(edge), dying)
        )
        if grown == dying:
            return dying
        dying = grown


def may_be_skipped(forest: LoopForest, node: int, dying: frozenset[int]) -> bool:
    """Say whether the node's join can fail in some turn because `dying` edges are dead.

    Edges into a loop bring nothing once the loop goes on, so what they bring cannot be relied on;
    only for the header this is no matter, which runs in every later turn of its own loop.
    """
    forward = set(forest.forward(node))
    join = forest.sketch.joins[node]
    if join == "ALL" or not forward & dying:
        return bool(forward & dying)
    needed = join if isinstance(join, int) else 1
    in_every_turn = {
        edge for edge in forward if all(loop.header == node for loop in forest.loops_entered[edge])
    }
    return len(in_every_turn - dying) < needed
