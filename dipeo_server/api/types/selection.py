"""What a client asks of a list of runs: only their rows, or the runs themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
    }
)


def needs_views(selections: Iterable[Selection]) -> bool:
    """Is anything selected, however deep, that no row holds?"""
    return not NEEDS_VIEW.isdisjoint(_names(selections))


def _names(selections: Iterable[Selection]) -> Iterator[str]:
    for selection in selections:
        if isinstance(selection, SelectedField):
            yield selection.name
        yield from _names(selection.selections)
