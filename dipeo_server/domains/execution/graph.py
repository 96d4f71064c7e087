"""The execution graph: the states that a run and its forks went through, joined by their steps.

A fork shares the states of its origin up to where it leaves it. Runs of sub-diagrams hang between
the begin and the end of the visit that they are for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from dipeo_server.domains.execution.graph_groups import GraphGroup, groups_of
from dipeo_server.domains.execution.graph_walk import Branch, GraphState, Walk
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq

_TO_THE_END: Final = Seq(0)


@dataclass(frozen=True, slots=True)
class ExecutionGraph:
    """States by run, in order, and steps between them as (earlier id, later id).

    `execution_id` is the run that was asked for, `line` the ids of the states that it went
    through, with those of its sub-diagrams. `groups` are parts of runs; outer ones come first.
    """

    execution_id: ExecutionID
    states: tuple[GraphState, ...]
    edges: tuple[tuple[str, str], ...]
    line: frozenset[str] = field(default_factory=frozenset)
    groups: tuple[GraphGroup, ...] = ()


class Branches:
    """A run, its origins and all their forks, by id; each behind its origin.

    Runs of sub-diagrams are among them, with their forks, where those are wanted.
    """

    def __init__(self, branches: Iterable[Branch]) -> None:
        self._branches = {each.execution_id: each for each in branches}

    def __iter__(self) -> Iterator[Branch]:
        return iter(self._branches.values())

    def __len__(self) -> int:
        return len(self._branches)

    def owner(self, execution_id: ExecutionID, sequence: Seq) -> ExecutionID:
        """Whose own event that event of a run is."""
        branch = self._branches[execution_id]
        while branch.origin is not None and sequence <= branch.forked_at:
            branch = self._branches[branch.origin]
        return branch.execution_id

    def left_at(self) -> Mapping[ExecutionID, frozenset[Seq]]:
        """By run, the events of its own behind which forks leave."""
        found: dict[ExecutionID, set[Seq]] = {}
        for branch in self._branches.values():
            if branch.origin is not None:
                owner = self.owner(branch.origin, branch.forked_at)
                found.setdefault(owner, set()).add(branch.forked_at)
        return {each: frozenset(places) for each, places in found.items()}

    def reached_by(self, execution_id: ExecutionID) -> Mapping[ExecutionID, Seq]:
        """By run, the last event of its own that is in this run's log; 0 = to the end."""
        found: dict[ExecutionID, Seq] = {execution_id: _TO_THE_END}
        branch, last = self._branches[execution_id], Seq(2**62)
        while branch.origin is not None:
            last = min(last, branch.forked_at)
            branch = self._branches[branch.origin]
            if last > branch.forked_at:
                found[branch.execution_id] = last
        return found


@dataclass(frozen=True, slots=True)
class Call:
    """A visit of the run `caller`, begun in `start` and ended in `end`, and a child of it."""

    caller: ExecutionID
    child: ExecutionID
    run: NodeRun
    start: GraphState
    end: GraphState | None


def join(
    execution_id: ExecutionID, branches: Branches, walks: Mapping[ExecutionID, Walk]
) -> ExecutionGraph:
    """The graph of some runs, by the walks over their events."""
    calls = {each.child: each for each in _calls(branches, walks)}
    called: dict[ExecutionID, list[NodeRun]] = {}
    for call in calls.values():
        called.setdefault(call.start.execution_id, []).append(call.run)
    states = {
        branch.execution_id: walks[branch.execution_id].states(called.get(branch.execution_id, ()))
        for branch in branches
        if branch.execution_id in walks
    }
    everything = tuple(each for own in states.values() for each in own)
    known = {each.id for each in everything}
    reach = _reached(execution_id, branches, calls.values())
    line = frozenset(
        each.id
        for owner, last in reach.items()
        for each in states.get(owner, ())
        if last == _TO_THE_END or each.sequence <= last
    )
    return ExecutionGraph(
        execution_id,
        everything,
        tuple(_edges(branches, states, calls, known)),
        line,
        groups_of(walks, states, {child: call.start for child, call in calls.items()}),
    )


def _edges(
    branches: Branches,
    states: Mapping[ExecutionID, Sequence[GraphState]],
    calls: Mapping[ExecutionID, Call],
    known: set[str],
) -> Iterator[tuple[str, str]]:
    for branch in branches:
        own = states.get(branch.execution_id, ())
        if not own:
            continue
        call = calls.get(branch.execution_id)
        if branch.origin is not None:
            owner = branches.owner(branch.origin, branch.forked_at)
            before = f"{owner}@{branch.forked_at}"
            if before in known:
                yield before, own[0].id
        elif call is not None:
            yield call.start.id, own[0].id
        yield from ((a.id, b.id) for a, b in pairwise(own))
        if call is not None and call.end is not None and own[-1].is_last:
            yield own[-1].id, call.end.id


# --- runs of sub-diagrams ------------------------------------------------------------------------


def start_of(
    walk: Walk, branches: Branches, walks: Mapping[ExecutionID, Walk]
) -> GraphState | None:
    """Where the visit began that a child is for: in its caller, or in what that is a fork of."""
    caller, run = walk.branch.caller, walk.called_by
    if caller is None or run is None:
        return None
    for owner, last in branches.reached_by(caller).items():
        around = walks.get(owner)
        found = around.start_of(run, last or None) if around is not None else None
        if found is not None:
            return found
    return None


def _calls(branches: Branches, walks: Mapping[ExecutionID, Walk]) -> Iterator[Call]:
    for branch in branches:
        walk = walks.get(branch.execution_id)
        start = None if walk is None else start_of(walk, branches, walks)
        if walk is None or start is None or branch.caller is None or walk.called_by is None:
            continue
        run = walk.called_by
        end = walks[branch.caller].end_of(run) if branch.caller in walks else None
        yield Call(branch.caller, branch.execution_id, run, start, end)


def _reached(
    execution_id: ExecutionID, branches: Branches, calls: Iterable[Call]
) -> Mapping[ExecutionID, Seq]:
    """By run, the last event of its own that is in this run's log or in those of its children."""
    found = dict(branches.reached_by(execution_id))
    for call in calls:  # Callers come before those that they call.
        last = found.get(call.caller)
        is_whole = last == _TO_THE_END or (last and call.end and call.end.sequence <= last)
        if is_whole and call.child not in found:
            found.update(branches.reached_by(call.child))
    return found
