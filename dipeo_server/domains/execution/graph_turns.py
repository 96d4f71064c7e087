"""Which turn of which loop each step of a run belongs to, as far as its events tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from dipeo_server.domains.diagram.executable import Block, ExecutableDiagram
from dipeo_server.domains.execution.events import (
    DiagramMutated,
    Event,
    ExecutionStarted,
    NodeMaxIterationsReached,
    NodeStarted,
)


@dataclass(frozen=True, slots=True)
class LoopTurn:
    """One turn of the loop that begins at a node; `number` is the visit of that node."""

    header: str
    number: int


class Turns:
    """Follows one run; `diagram` is what it runs, None until an event tells.

    `numbers` are those of the present turns, by the nodes with which they began.

    A loop that has begun keeps its nodes and its header, whatever becomes of the graph. So any
    later graph of a run tells the loops in which its steps were.
    """

    def __init__(
        self, diagram: ExecutableDiagram | None = None, numbers: Mapping[str, int] | None = None
    ) -> None:
        self._diagram = diagram
        self._numbers = dict(numbers or {})

    def copy(self) -> Self:
        """For another run that goes on from here."""
        return type(self)(self._diagram, self._numbers)

    def observe(self, event: Event) -> None:
        """Take note of the next event."""
        match event:
            case ExecutionStarted(diagram=diagram) | DiagramMutated(diagram=diagram):
                self._diagram = diagram
            case NodeStarted(node_run=run) | NodeMaxIterationsReached(node_run=run):
                if self._numbers.get(run.node) != run.occurrence:
                    self._begins(run.node, run.occurrence)
            case _:
                pass

    def of(self, node: str | None) -> tuple[LoopTurn, ...]:
        """The turns that a step of the node is in now, that of the outermost loop first."""
        found = [
            LoopTurn(header, self._numbers[header])
            for header in self._headers(node)
            if header in self._numbers
        ]
        return tuple(reversed(found))

    def _begins(self, node: str, number: int) -> None:
        """A turn, if a loop begins at the node; loops inside of it begin afresh."""
        diagram = self._diagram
        if diagram is None or node not in diagram.index_of:
            return
        index = diagram.index_of[node]
        for block in diagram.blocks:
            if block.header == index:
                for header in _inside(diagram, block):
                    self._numbers.pop(header, None)
                self._numbers[node] = number

    def _headers(self, node: str | None) -> Iterator[str]:
        """Where the loops around a node begin, the innermost first."""
        diagram = self._diagram
        if diagram is None or node is None or node not in diagram.index_of:
            return
        index = diagram.nodes[diagram.index_of[node]].block
        while index is not None:
            block = diagram.blocks[index]
            if block.header is not None:
                yield diagram.nodes[block.header].key
            index = block.parent


def _inside(diagram: ExecutableDiagram, block: Block) -> Iterator[str]:
    for child in block.children:
        header = diagram.blocks[child].header
        if header is not None:
            yield diagram.nodes[header].key
        yield from _inside(diagram, diagram.blocks[child])
