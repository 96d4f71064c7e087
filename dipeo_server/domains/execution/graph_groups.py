"""Groups of states in an execution graph: turns of loops, sub-diagrams, branches side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from dipeo_server.domains.execution.graph_walk import GraphState, Walk
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun


class GroupKind(StrEnum):
    """What holds the states of a group together."""

    LOOP_TURN = "loop_turn"
    SUB_DIAGRAM = "sub_diagram"
    PARALLEL = "parallel"
    BRANCH = "branch"


@dataclass(frozen=True, slots=True)
class GraphGroup:
    """States that belong together; those in groups inside of it are theirs only.

    `id` is the child run of a SUB_DIAGRAM or BRANCH; else `run/node#2` for the second visit of a
    node that runs branches, and `run/node/2` for the turn of a loop that began with that visit.
    `parent` is the group around it.
    """

    id: str
    kind: GroupKind
    execution_id: ExecutionID
    label: str
    parent: str | None = None
    states: tuple[str, ...] = ()


def groups_of(
    walks: Mapping[ExecutionID, Walk],
    states: Mapping[ExecutionID, Sequence[GraphState]],
    called_in: Mapping[ExecutionID, GraphState],
) -> tuple[GraphGroup, ...]:
    """The groups, each behind the one around it; `called_in`: by child, where its visit began."""
    found = _Groups()
    for execution_id, own in states.items():
        start = called_in.get(execution_id)
        around = None if start is None else _child(found, walks, execution_id, start)
        for state in own:
            inner = _turns(found, state, around)
            if inner is not None:
                found.add(inner, state)
    return found.listed()


class _Groups:
    """What was found, by id, and which group each state is in."""

    def __init__(self) -> None:
        self._groups: dict[str, GraphGroup] = {}
        self._members: dict[str, list[str]] = {}
        self._of: dict[str, str] = {}

    def make(self, group: GraphGroup) -> str:
        """Its id; it is made once."""
        self._groups.setdefault(group.id, group)
        return group.id

    def add(self, group: str, state: GraphState) -> None:
        """The state is directly in the group."""
        self._members.setdefault(group, []).append(state.id)
        self._of[state.id] = group

    def around(self, state: GraphState) -> str | None:
        """The innermost group that a state is in."""
        return self._of.get(state.id)

    def listed(self) -> tuple[GraphGroup, ...]:
        """All of them, with their states."""
        return tuple(
            replace(group, states=tuple(self._members.get(group.id, ())))
            for group in self._groups.values()
        )


def _turns(found: _Groups, state: GraphState, around: str | None) -> str | None:
    """The innermost group of a state of a run that is in the group `around`."""
    for turn in state.turns:
        around = found.make(
            GraphGroup(
                f"{state.execution_id}/{turn.header}/{turn.number}",
                GroupKind.LOOP_TURN,
                state.execution_id,
                f"{turn.header}, turn {turn.number}",
                around,
            )
        )
    return around


def _child(
    found: _Groups, walks: Mapping[ExecutionID, Walk], child: ExecutionID, start: GraphState
) -> str:
    """The group of a child run, in that of the branches beside it, if it is a branch."""
    around = found.around(start)
    run = start.visit or NodeRun(start.node or "", 1)
    key = _key(walks, child)
    if run not in walks[start.execution_id].groups:
        label = f"{run.node}: {key}" if key else run.node
        return found.make(GraphGroup(child, GroupKind.SUB_DIAGRAM, child, label, around))
    place = f"{start.execution_id}/{run.node}#{run.occurrence}"
    group = GraphGroup(place, GroupKind.PARALLEL, start.execution_id, run.node, around)
    return found.make(GraphGroup(child, GroupKind.BRANCH, child, key, found.make(group)))


def _key(walks: Mapping[ExecutionID, Walk], child: ExecutionID) -> str:
    """Which of the children of its visit it is; forks of a child are that one, too."""
    walk = walks.get(child)
    while walk is not None and walk.key is None:
        walk = walks.get(walk.branch.origin or ExecutionID(""))
    return "" if walk is None else walk.key or ""
