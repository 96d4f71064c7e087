"""Rule 3: whether the tokens in front of a node make it run, skip it or leave that open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.reference.sketch import Join

Reason = Literal["unreachable", "branch_not_taken", "join_not_met", "upstream_failed"]


@dataclass(frozen=True)
class Token:
    """What one NodeRun, or one skip, puts on one of its out-edges."""

    kind: Literal["live", "dead", "failed"]
    value: str = ""
    """Of a live token only."""
    reason: Reason = "branch_not_taken"
    """Of a dead token only: a dead path passes on why it was not taken."""


FAILED = Token("failed")


@dataclass(frozen=True)
class Visit:
    """The decision to run a node on these inputs: pairs of edge and value."""

    inputs: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Skip:
    """The decision not to run a node in this turn."""

    reason: Reason


@dataclass(frozen=True)
class Doorstep:
    """All that lies in front of an undecided node; tokens by the number of their edge."""

    join: Join
    awaited: tuple[int, ...]
    """The edges that bring a token in this turn."""
    here: dict[int, Token]
    """Those that have."""
    sticky: dict[int, Token]
    """Tokens from before the loop."""
    guards: frozenset[int]
    """The forward edges that can be dead by choice."""
    goes_on: bool
    """The node is the header of a loop that takes another turn: its back edges decide alone."""

    def decide(self) -> Visit | Skip | None:
        """Say what becomes of the node; None while that is open."""
        if self._is_met():
            return Visit(self._inputs())
        return Skip(self._why_not()) if self._is_complete() else None

    def _is_complete(self) -> bool:
        return len(self.here) == len(self.awaited)

    def _live(self) -> set[int]:
        return {edge for edge, token in self.here.items() if token.kind == "live"}

    def _upstream_failed(self) -> bool:
        """ALL minds every token it sees, the other joins only those of this turn."""
        seen = self.here | self.sticky if self.join == "ALL" else self.here
        return any(token.kind == "failed" for token in seen.values())

    def _is_met(self) -> bool:
        if self.join == "ALL":
            met = self._is_complete() and bool(self._live()) and not self._upstream_failed()
            return met and self._guards_hold()
        needed = self.join if isinstance(self.join, int) and not self.goes_on else 1
        return len(self._live()) >= needed

    def _guards_hold(self) -> bool:
        """Where something awaited could be dead by choice, one such thing must be live."""
        guards = self.guards.intersection(self.awaited)
        return not guards or not guards.isdisjoint(self._live())

    def _inputs(self) -> tuple[tuple[int, str], ...]:
        """Rule 4: this turn's live tokens and the sticky ones; FIRST passes the first alone.

        Of tokens that arrived at one moment the first is the one whose edge is first in the file.
        """
        seen = self.here | self.sticky
        live = [(edge, token.value) for edge, token in sorted(seen.items()) if token.kind == "live"]
        if self.join == "FIRST":
            return tuple(pair for pair in live if pair[0] == min(self._live()))
        return tuple(live)

    def _why_not(self) -> Reason:
        if self._upstream_failed():
            return "upstream_failed"
        if self.join != "ALL" and self._live():
            return "join_not_met"
        inherited = {token.reason for token in self.here.values() if token.kind == "dead"}
        return "join_not_met" if "join_not_met" in inherited else "branch_not_taken"
