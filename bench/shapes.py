"""The shapes of work that every engine is measured on; standard library only.

A node gives 1 + the sum of its inputs, so that every result can be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

Parents = tuple[tuple[int, ...], ...]
"""By node: whose results it gets. Nodes are in an order in which they can run."""


@dataclass(frozen=True)
class Workload:
    """What is run: `executions` of one graph at once, or a loop of `turns`.

    A loop has a body (1 + its last result, at first 1 + 1) and a condition, which asks for the next
    turn.
    """

    name: str
    parents: Parents = ()
    executions: int = 1
    turns: int = 0

    @property
    def node_runs(self) -> int:
        """How many nodes are executed in all."""
        return self.executions * (len(self.parents) or 2 * self.turns)

    @cached_property
    def result(self) -> int:
        """What the last node gives."""
        if self.turns:
            return 1 + self.turns
        values: list[int] = []
        for sources in self.parents:
            values.append(1 + sum(values[source] for source in sources))
        return values[-1]


def chain(nodes: int) -> Parents:
    """One after the other."""
    return tuple((index - 1,) if index else () for index in range(nodes))


def fan(nodes: int) -> Parents:
    """One, then all others at once, then one that gets all their results."""
    between = range(1, nodes - 1)
    return ((), *((0,) for _ in between), tuple(between))


def layered(nodes: int, layers: int = 20) -> Parents:
    """Layers of one width, 3 at least; each node gets three results of the layer before."""
    layers = min(layers, nodes // 3)
    width = nodes // layers
    found: list[tuple[int, ...]] = [()] * width
    for layer in range(1, layers):
        first = (layer - 1) * width
        found.extend(
            tuple(first + (place + step) % width for step in range(3)) for place in range(width)
        )
    return tuple(found)


SHAPES: Final[Mapping[str, Callable[[int], Parents]]] = {
    "chain": chain,
    "fan": fan,
    "layered": layered,
}
"""The shapes that can be had in any size, which is the number of nodes."""

SIZE: Final = 1_000


def workload(name: str, size: int = SIZE) -> Workload:
    """The workload of that name; `size` is its nodes (turns, for the loop). Raises KeyError."""
    if name == "small":
        return Workload(name, chain(10), executions=size // 5)
    if name == "loop":
        return Workload(name, turns=size)
    return Workload(name, SHAPES[name](size + 2 if name == "fan" else size))


NAMES: Final = ("chain", "fan", "layered", "small", "loop")
"""All workloads, in the order of the table."""
