"""What a client asks of a list of runs: only their rows, or the runs themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from strawberry.types.nodes import SelectedField, Selection

# Fields that the row of an execution does not hold: asking for one of them loads the execution.
NEEDS_VIEW = frozenset(
    {
        "variables",
        "revision",
        "nodeStates",
        "nodeState",
        "nodeOutputs",
        "output",
        "barriers",
        "metrics",
        "timeline",
        "render",
        "dependencyGraph",
        "executionGraph",
        "breakpoints",
        "maxSteps",
        "maxTokens",
        "maxTime",
    }
)
# Fields that are empty once a run has ended, whatever it was.
NEEDS_VIEW_OF_ACTIVE = frozenset(
    {"availableActions", "pauseReason", "pauseCause", "earlyDecisions"}
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Is anything asked for, however deep, that no row holds; and of a run that is active?"""

    needs_view: bool
    needs_view_of_active: bool


def asked_of_runs(selections: Iterable[Selection]) -> Asked:
    """What is asked for of the runs of a list."""
    names = frozenset(_names(selections))
    return Asked(not NEEDS_VIEW.isdisjoint(names), not NEEDS_VIEW_OF_ACTIVE.isdisjoint(names))


def _names(selections: Iterable[Selection]) -> Iterator[str]:
    for selection in selections:
        if isinstance(selection, SelectedField):
            yield selection.name
        yield from _names(selection.selections)
