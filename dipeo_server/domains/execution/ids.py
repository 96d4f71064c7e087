"""The identities of one execution: itself, its diagram, visits of nodes, barriers, sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

ExecutionID = NewType("ExecutionID", str)
"""Opaque: `exec_<cell>_<26 base32 characters>`."""

DiagramID = NewType("DiagramID", str)
"""Opaque: `diagram_<26 base32 characters>`."""

Seq = NewType("Seq", int)
"""Position in one execution's event log: 1, 2, 3 … without gaps; 0 = before the first event."""


@dataclass(frozen=True, slots=True, order=True)
class NodeRun:
    """One visit of a node: loops are occurrences (from 1), retries are attempts (from 1)."""

    node: str
    occurrence: int
    attempt: int = 1

    def next_attempt(self) -> NodeRun:
        """The same visit, tried once more."""
        return NodeRun(self.node, self.occurrence, self.attempt + 1)

    @property
    def barrier(self) -> BarrierID:
        """Where a person is asked, if this visit asks somebody."""
        return BarrierID(self.node, self.occurrence, self.attempt)


@dataclass(frozen=True, slots=True, order=True)
class BarrierID:
    """Where a person is asked: one attempt of one visit of a node.

    The attempt belongs to it: an approval to run something again is none to run it once more.
    """

    node: str
    occurrence: int
    attempt: int = 1
