"""Reading the logs of a run and its relatives for the execution graph."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

from dipeo_server.api.context import OperationContext
from dipeo_server.api.past import walk
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.graph import Branches, ExecutionGraph, join, start_of
from dipeo_server.domains.execution.graph_turns import Turns
from dipeo_server.domains.execution.graph_walk import Branch, Walk
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import ExecutionQuery, ExecutionSummary
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.errors import LimitExceeded

_PAGE_RUNS: Final = 100

_NARROW: Final = "Ask for a part of it, with `after` and `upTo`."


@dataclass(frozen=True, slots=True)
class GraphPart:
    """What is wanted: the events (after, upto] of each run.

    `has_children`: also the runs of sub-diagrams whose visits begin among those, each as a whole.
    """

    after: Seq = Seq(0)
    upto: Seq = Seq(2**62)
    has_children: bool = False


async def execution_graph(
    context: OperationContext, run: ExecutionView, part: GraphPart
) -> ExecutionGraph:
    """The graph of a run, its origins and all their forks.

    Raises LimitExceeded where there are too many runs or states.
    """
    family = _Family(context, part)
    await family.gather(run)
    branches = Branches(family.branches)
    left_at = branches.left_at()
    walks: dict[ExecutionID, Walk] = {}
    left = context.services.limits.graph_states
    for branch in branches:
        turns = family.turns_before(branch, branches, walks)
        walked = _Bounded(Walk(branch, left_at.get(branch.execution_id, ()), turns), left)
        if await family.follow(branch, walked, branches, walks):
            walks[branch.execution_id] = walked.walk
            left -= len(walked.walk)
    return join(run.id, branches, walks)


class _Bounded:
    """A walk that ends with LimitExceeded where it comes to more states than are left."""

    def __init__(self, walk: Walk, left: int) -> None:
        self.walk = walk
        self._left = left

    def observe(self, recorded: Recorded) -> None:
        self.walk.observe(recorded)
        if len(self.walk) > self._left:
            raise LimitExceeded("The execution graph has too many states.", hint=_NARROW)


class _Family:
    """The runs of a graph: the first origin of one, all forks of it, and their children.

    Each comes behind its origin, and behind the run whose child it is.
    """

    def __init__(self, context: OperationContext, part: GraphPart) -> None:
        self.branches: list[Branch] = []
        self._context = context
        self._part = part
        self._lasts: dict[ExecutionID, Seq] = {}
        self._children: set[ExecutionID] = set()
        self._diagrams: dict[ExecutionID, ExecutableDiagram] = {}

    async def gather(self, run: ExecutionView) -> None:
        """Find them. Raises LimitExceeded where there are too many."""
        root = run
        self._diagrams[run.id] = run.diagram
        while root.fork_of is not None:
            origin = await self._context.views.load(root.fork_of)
            if origin is None:
                break
            root = origin
            self._diagrams[root.id] = root.diagram
        self.branches.append(Branch(root.id, forked_at=_begin(root)))
        self._lasts[root.id] = root.last_seq
        limit = self._context.services.limits.graph_runs
        for branch in self.branches:  # It grows meanwhile.
            async for each in self._below(branch.execution_id):
                self.branches.append(each)
                if len(self.branches) > limit:
                    message = f"The execution graph has more than {limit} runs."
                    hint = "`children` lists the forks of a run, page by page."
                    raise LimitExceeded(message, hint=hint)
        self._lasts[run.id] = run.last_seq

    async def follow(
        self,
        branch: Branch,
        walked: _Bounded,
        branches: Branches,
        walks: dict[ExecutionID, Walk],
    ) -> bool:
        """Read what is wanted of a run; False if that is nothing. Raises LimitExceeded."""
        own, begins = branch.execution_id, branch.forked_at
        ends, observe = self._lasts[own], walked.observe
        if own not in self._children:
            begins, ends = Seq(max(begins, self._part.after)), Seq(min(ends, self._part.upto))
        elif branch.caller is None:  # A fork that somebody made of a child.
            if branch.origin not in walks:
                return False
        else:
            await walk(self._context, own, observe, after=begins, upto=Seq(begins + 1))
            begins = Seq(begins + 1)
            if start_of(walked.walk, branches, walks) is None:
                return False
        if begins < ends:
            await walk(self._context, own, observe, after=begins, upto=ends)
        return True

    def turns_before(
        self, branch: Branch, branches: Branches, walks: dict[ExecutionID, Walk]
    ) -> Turns:
        """The turns of loops in which it begins, as far as they are known."""
        if branch.origin is not None:
            owner = walks.get(branches.owner(branch.origin, branch.forked_at))
            known = None if owner is None else owner.turns_at.get(branch.forked_at)
            if known is not None:
                return known.copy()
        return Turns(self._diagrams.get(branch.execution_id))

    async def _below(self, execution_id: ExecutionID) -> AsyncIterator[Branch]:
        """The forks of a run and, if they are wanted, its children."""
        is_below = execution_id in self._children
        async for row in self._rows(ExecutionQuery(fork_of=execution_id, first=_PAGE_RUNS)):
            is_child = self._part.has_children and row.parent_id != execution_id
            caller = row.parent_id if is_child else None
            yield self._noted(row, caller, is_child=is_below)
        if not self._part.has_children:
            return
        async for row in self._rows(ExecutionQuery(parent_id=execution_id, first=_PAGE_RUNS)):
            if row.fork_of is None:  # Others are found by what they are forks of.
                yield self._noted(row, execution_id, is_child=True)

    def _noted(
        self, row: ExecutionSummary, caller: ExecutionID | None, *, is_child: bool
    ) -> Branch:
        self._lasts[row.id] = row.last_seq
        if is_child:
            self._children.add(row.id)
        return Branch(row.id, row.fork_of, row.forked_at or Seq(0), caller)

    async def _rows(self, query: ExecutionQuery) -> AsyncIterator[ExecutionSummary]:
        """Page by page; whoever has enough stops asking."""
        while True:
            page = await self._context.runner.list_executions(query)
            for row in page.items:
                yield row
            if not page.has_next or not page.items:
                return
            query = replace(query, after=page.items[-1].id)


def _begin(root: ExecutionView) -> Seq:
    """Where a run begins whose origin is not kept any more: behind what it has of it."""
    return Seq(0) if root.fork_of is None else root.forked_at or Seq(0)
