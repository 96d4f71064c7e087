"""What reading a document gives: a diagram as far as it goes, and what was wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dipeo_server.domains.diagram.model import DomainDiagram
from dipeo_server.domains.diagram.nearest import did_you_mean
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity

PROBLEMS_MAX = 200
SUGGESTIONS_MAX = 50


@dataclass(frozen=True, slots=True)
class Loaded:
    """`diagram` is None where nothing could be read; with an ERROR it may be incomplete."""

    diagram: DomainDiagram | None
    problems: tuple[DiagramProblem, ...] = ()

    @property
    def has_errors(self) -> bool:
        """Was something wrong that keeps the diagram from running?"""
        return any(problem.is_error for problem in self.problems)


class Findings:
    """Problems in the order they were met, bounded per severity so that none hides an error."""

    def __init__(self) -> None:
        self._found: list[DiagramProblem] = []
        self._count = dict.fromkeys(Severity, 0)
        self._suggestions = 0

    def add(self, problem: DiagramProblem) -> None:
        """Take one more; those beyond the limit are only counted."""
        self._count[problem.severity] += 1
        if self._count[problem.severity] <= PROBLEMS_MAX:
            self._found.append(problem)

    def suggest(self, name: str, known: Iterable[str]) -> str | None:
        """A hint with the nearest name; None once the document has had its share of them."""
        self._suggestions += 1
        return did_you_mean(name, known) if self._suggestions <= SUGGESTIONS_MAX else None

    def problems(self) -> tuple[DiagramProblem, ...]:
        """All that were kept, and one more for each severity that had more."""
        left_out = [
            DiagramProblem(
                severity,
                "TOO_MANY_PROBLEMS",
                f"{count - PROBLEMS_MAX} further problems of severity {severity} are not shown.",
            )
            for severity, count in self._count.items()
            if count > PROBLEMS_MAX
        ]
        return (*self._found, *left_out)
