"""What is wrong with a diagram: a code, a message, a hint and a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dipeo_server.domains.diagram.model import Location
from dipeo_server.errors import Rejected


class Severity(StrEnum):
    """An ERROR keeps a diagram from running, a WARNING does not."""

    ERROR = "ERROR"
    WARNING = "WARNING"


@dataclass(frozen=True, slots=True)
class DiagramProblem:
    """One finding; `location` counts lines and columns from 1."""

    severity: Severity
    code: str
    message: str
    hint: str | None = None
    node: str | None = None
    edge: str | None = None
    location: Location | None = None

    @property
    def is_error(self) -> bool:
        """Does it keep the diagram from running?"""
        return self.severity is Severity.ERROR


class DiagramInvalid(Rejected):
    """The diagram cannot run; `problems` says why, errors and warnings."""

    code = "INVALID"

    def __init__(self, problems: Sequence[DiagramProblem]) -> None:
        errors = [problem for problem in problems if problem.is_error]
        first = errors[0].message if errors else "The diagram is invalid."
        rest = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(first + rest)
        self.problems = tuple(problems)
