"""The picture of an execution graph; long stretches in which nothing branches become one box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dipeo_server.domains.diagram.rendering.picture import Arrow, Box, Line, Picture, Shape, Style
from dipeo_server.domains.diagram.rendering.renderer import PictureTooLarge
from dipeo_server.domains.execution.graph import ExecutionGraph
from dipeo_server.domains.execution.graph_walk import GraphState, StateKind
from dipeo_server.domains.execution.picture import STYLES

BOXES_MAX: Final = 100
STATES_SHOWN_MAX: Final = 60
"""Where there are more states, stretches without a branch are drawn as one box each."""

ENDS_SHOWN_MAX: Final = 8
"""So many states are drawn at both ends of such a stretch, if there is room."""


_SHAPES: Final[Mapping[StateKind, Shape]] = {
    StateKind.CHANGE: Shape.OTHER,
    StateKind.QUESTION: Shape.PEOPLE,
    StateKind.CHILD: Shape.CHILD,
}
_SIGNS: Final[Mapping[StateKind, str]] = {StateKind.CHANGE: "± ", StateKind.CHILD: "↳ "}


@dataclass(frozen=True, slots=True)
class _Part:
    """States that follow one another, and are drawn as one box."""

    states: tuple[GraphState, ...]


def compose_graph(graph: ExecutionGraph) -> Picture:
    """The picture; what the run did not go through is reached by dashed arrows.

    Raises PictureTooLarge where even its branches are too many.
    """
    parts = _parts(graph)
    if len(parts) > BOXES_MAX:
        raise PictureTooLarge(
            f"The graph has {len(parts)} places where it branches; {BOXES_MAX} can be drawn.",
            hint="Ask for a part of it, with `after` and `upTo`.",
        )
    index_of = {state.id: at for at, part in enumerate(parts) for state in part.states}
    arrows = [
        Arrow(index_of[a], index_of[b], "", Line.PLAIN if b in graph.line else Line.FALLBACK)
        for a, b in graph.edges
        if index_of[a] != index_of[b]
    ]
    names = {group.id: group.label for group in graph.groups}
    boxes = tuple(_box(part, names) for part in parts)
    return Picture(boxes, tuple(arrows), _title(graph), _legend(graph))


def _parts(graph: ExecutionGraph) -> list[_Part]:
    """The boxes, in the order of the states."""
    if len(graph.states) <= STATES_SHOWN_MAX:
        return [_Part((state,)) for state in graph.states]
    stretches = list(_stretches(graph))
    fixed = sum(len(stretch) for stretch, is_plain in stretches if not is_plain)
    plain = [stretch for stretch, is_plain in stretches if is_plain]
    spare = (BOXES_MAX - fixed) // len(plain) - 1 if plain else 0
    shown = max(0, min(spare // 2, ENDS_SHOWN_MAX))
    found: list[_Part] = []
    for stretch, is_plain in stretches:
        if not is_plain or len(stretch) <= 2 * shown + 1:
            found.extend(_Part((state,)) for state in stretch)
            continue
        found.extend(_Part((state,)) for state in stretch[:shown])
        found.append(_Part(tuple(stretch[shown : len(stretch) - shown])))
        found.extend(_Part((state,)) for state in stretch[len(stretch) - shown :])
    return found


def _stretches(graph: ExecutionGraph) -> Iterator[tuple[Sequence[GraphState], bool]]:
    """The states in order, in stretches: those with one step to and one from each, and others."""
    before = Counter(later for _, later in graph.edges)
    behind = Counter(earlier for earlier, _ in graph.edges)
    stretch: list[GraphState] = []
    for state in graph.states:
        # Where a run begins it is not joined to the one that is listed before it.
        is_plain = before[state.id] == 1 and behind[state.id] == 1 and not state.is_first
        if is_plain:
            stretch.append(state)
            continue
        if stretch:
            yield stretch, True
            stretch = []
        yield [state], False
    if stretch:
        yield stretch, True


def _box(part: _Part, names: Mapping[str, str]) -> Box:
    """`names` of child runs, by their ids."""
    first, last = part.states[0], part.states[-1]
    if first is last:
        return _state_box(first, names)
    counts = Counter(state.status for state in part.states if state.status is not None)
    told = [f"{style.sign} {counts[status]}" for status, style in STYLES.items() if counts[status]]
    return Box(
        label=f"… {len(part.states)} steps",
        shape=Shape.OTHER,
        facts=(f"events {first.sequence} to {last.sequence}", ", ".join(told)),
        details=(f"{first.id} to {last.id}",),
    )


def _state_box(state: GraphState, names: Mapping[str, str]) -> Box:
    is_fork = state.is_first and state.sequence > 1
    style = STYLES[state.status] if state.status is not None and not is_fork else None
    sign = f"{style.sign} " if style is not None else _SIGNS.get(state.kind, "")
    shape = _SHAPES.get(state.kind, Shape.MODEL)
    if state.kind is not StateKind.CHILD and (state.is_first or state.is_last):
        shape = Shape.START if state.is_first else Shape.END
    told = "fork" if is_fork else state.summary
    if state.kind is StateKind.CHILD:
        name = names.get(state.execution_id, told)
        told = f"{name}, fork" if is_fork else name
    facts = [f"event {state.sequence}"]
    if state.is_first:
        facts.append(state.execution_id)
    return Box(
        label=f"{sign}{told}",
        shape=shape,
        facts=tuple(facts),
        details=(state.id, state.summary),
        style=style,
    )


def _title(graph: ExecutionGraph) -> tuple[str, ...]:
    runs = len({state.execution_id for state in graph.states})
    has_more = any(state.id not in graph.line for state in graph.states)
    dashed = "; dashed: what it did not go through" if has_more else ""
    forks = "" if runs == 1 else f", {runs} runs{dashed}"
    return "States and steps", f"{graph.execution_id}{forks}"


def _legend(graph: ExecutionGraph) -> tuple[tuple[Style, str], ...]:
    counts = Counter(state.status for state in graph.states if state.status is not None)
    return tuple(
        (style, f"{style.sign} {status}: {counts[status]}")
        for status, style in STYLES.items()
        if counts[status]
    )
