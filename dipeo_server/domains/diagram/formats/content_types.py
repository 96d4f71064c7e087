"""Content types of connections: their names, and what a connection without one carries."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from dipeo_server.domains.diagram.model import DomainEdge

CONTENT_TYPES: Final = (
    "raw_text",
    "conversation_state",
    "object",
    "empty",
    "generic",
    "variable",
    "binary",
)
_SYNONYMS: Final = {"json": "object"}
DEFAULT_CONTENT_TYPE: Final = "raw_text"


def known_content_type(written: str) -> str | None:
    """The content type meant by what somebody wrote, in any case; None if there is none."""
    folded = written.strip().lower()
    folded = _SYNONYMS.get(folded, folded)
    return folded if folded in CONTENT_TYPES else None


def with_content_types(
    edges: Sequence[DomainEdge], conditions: frozenset[str]
) -> tuple[DomainEdge, ...]:
    """The edges, those without a content type given theirs.

    Out of a condition it is that of the condition's inputs where all of them agree, otherwise, and
    everywhere else, raw_text.
    """
    return _Inheritance(edges, conditions).settled()


class _Inheritance:
    def __init__(self, edges: Sequence[DomainEdge], conditions: frozenset[str]) -> None:
        self.edges = edges
        self.types = [
            edge.content_type or (None if edge.source in conditions else DEFAULT_CONTENT_TYPE)
            for edge in edges
        ]
        self.into: dict[str, list[int]] = {key: [] for key in conditions}
        self.out_of: dict[str, list[int]] = {key: [] for key in conditions}
        for number, edge in enumerate(edges):
            if edge.target in conditions:
                self.into[edge.target].append(number)
            if self.types[number] is None:
                self.out_of[edge.source].append(number)
        self.waiting = {
            key: sum(self.types[number] is None for number in numbers)
            for key, numbers in self.into.items()
        }

    def settled(self) -> tuple[DomainEdge, ...]:
        ready = deque(key for key, count in self.waiting.items() if count == 0)
        while ready:
            key = ready.popleft()
            chosen = self._agreed(key)
            for number in self.out_of[key]:
                self.types[number] = chosen
                target = self.edges[number].target
                if target in self.waiting:
                    self.waiting[target] -= 1
                    if self.waiting[target] == 0:
                        ready.append(target)
        # What is left are conditions that only feed one another in a circle.
        return tuple(
            replace(edge, content_type=chosen or DEFAULT_CONTENT_TYPE)
            for edge, chosen in zip(self.edges, self.types, strict=True)
        )

    def _agreed(self, key: str) -> str:
        kinds = {self.types[number] for number in self.into[key]}
        only = next(iter(kinds)) if len(kinds) == 1 else None
        return only or DEFAULT_CONTENT_TYPE
