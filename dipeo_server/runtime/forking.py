"""Forks: runs that go on from where others were, with the children those had at that point."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.machine.visits import has_begun
from dipeo_server.domains.execution.ports import (
    Clock,
    ExecutionQuery,
    ExecutionSummary,
    StateStore,
)
from dipeo_server.domains.execution.runner import Accepted, ForkExecution, IdempotencyKey
from dipeo_server.domains.execution.signals import ForkRequested, GraphMutationRequested
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.errors import InvalidInput, LimitExceeded, NotFound
from dipeo_server.runtime.fork_points import ForkPoint, fork_point, last_by, last_forkable
from dipeo_server.runtime.identity import child_execution_id, new_execution_id
from dipeo_server.runtime.keys import keyed_answer

DEPTH_MAX: Final = 100
CHILDREN_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Fork:
    """A run that has begun where another one was; `recorded` are the first events of its own."""

    machine: ExecutionMachine
    recorded: tuple[Recorded, ...]

    @property
    def id(self) -> ExecutionID:
        """Of the new run."""
        return self.machine.state.id


TakeIn = Callable[[Fork, bool], None]
"""Serves a fork whose beginning is durable; False: only to end it, as it has no parent."""


class Forks:
    """Makes forks: durable first, with their children before themselves, and then served."""

    def __init__(self, store: StateStore, clock: Clock, take_in: TakeIn) -> None:
        self._store = store
        self._clock = clock
        self._take_in = take_in

    async def begin(self, request: ForkExecution, key: IdempotencyKey | None) -> Accepted:
        """Make a fork. Raises NotFound, InvalidInput, LimitExceeded, StorageError."""
        await self._check_depth(request.origin)
        point = await self._point(request.origin, request.at)
        fork_id, now = new_execution_id(), self._clock.now()
        wish = ForkRequested(
            fork_id,
            request.origin,
            point.last.event,
            point.undone,
            request.variables,
            request.outputs,
            actor=request.actor,
            is_paused=request.is_paused,
        )
        machine, moment = point.machine, point.last.at
        children = [child async for child in self._children(machine.state, wish, moment, now)]
        fork = Fork(machine, _begun(machine, wish, request.diagram, now))
        await self._commit(children, fork, key, now)
        for each in (*children, fork):
            self._take_in(each, True)  # noqa: FBT003 - the type of a callback has no names.
        return Accepted(fork_id, machine.last_seq)

    async def _check_depth(self, origin: ExecutionID) -> None:
        """Raises NotFound, LimitExceeded."""
        summary = await self._store.summary(origin)
        if summary is None:
            raise NotFound(f"There is no execution {origin!r}.")
        depth = 1
        while summary is not None and summary.fork_of is not None:
            summary = await self._store.summary(summary.fork_of)
            depth += 1
        if depth > DEPTH_MAX:
            message = f"Forks of forks go {DEPTH_MAX} deep, and {origin!r} is the last of those."
            raise LimitExceeded(message, hint="Fork one that it goes back to.")

    async def _point(self, origin: ExecutionID, at: Seq) -> ForkPoint:
        """The origin there. Raises InvalidInput, naming where it can be forked."""
        point = await fork_point(self._store, origin, at)
        if point is not None:
            return point
        last = await last_forkable(self._store, origin)
        hint = None
        if at > last:
            hint = f"Event {last} is the last one before it ended, or now."
        message = f"The run can be forked at 1 to {last}, not at {at}."
        raise InvalidInput(message, field=("atSequence",), hint=hint)

    async def _commit(
        self, children: Sequence[Fork], fork: Fork, key: IdempotencyKey | None, now: datetime
    ) -> None:
        """Children first: without a parent they are ended, but a parent would begin them anew."""
        done: list[Fork] = []
        try:
            for child in children:
                await self._append(child, None, now)
                done.append(child)
            await self._append(fork, key, now)
        except BaseException:
            for child in done:
                self._take_in(child, False)  # noqa: FBT003 - as above.
            raise

    async def _append(self, fork: Fork, key: IdempotencyKey | None, now: datetime) -> None:
        answers = [] if key is None else [keyed_answer(key, fork.machine.last_seq, now)]
        await self._store.append(
            fork.id,
            fork.recorded,
            after=Seq(fork.recorded[0].seq - 1),
            summary=summary_of(fork.machine.state),
            answers=answers,
            checkpoints=fork.machine.taken(),
        )

    # --- children -------------------------------------------------------------------------------

    async def _children(
        self, parent: ExecutionState, wish: ForkRequested, moment: datetime, now: datetime
    ) -> AsyncIterator[Fork]:
        """Forks of the runs that visits wait for which had not ended, the deepest first.

        They go on from their last event that is not newer than `moment`, that of the whole fork.
        """
        async for row in self._rows(parent.id):
            if row.fork_of == parent.id or (row.created_at or moment) > moment:
                continue  # A fork is nobody's child; others began later.
            point = await self._child_point(row, moment)
            if point is None:
                continue
            machine = point.machine
            child_id = _new_id(parent, machine.state, wish)
            if child_id is None:
                continue
            below = replace(
                wish,
                execution_id=child_id,
                origin=row.id,
                last=point.last.event,
                undone=point.undone,
                variables={},
                outputs={},
                parent=machine.state.parent,
                parent_id=wish.execution_id,
            )
            async for deeper in self._children(machine.state, below, moment, now):
                yield deeper
            yield Fork(machine, machine.receive(below, now=now))

    async def _child_point(self, row: ExecutionSummary, moment: datetime) -> ForkPoint | None:
        """The child by then; one that was about to end, before it began to."""
        at = await last_by(self._store, row.id, row.last_seq, moment)
        point = await fork_point(self._store, row.id, at)
        if point is None and at:
            at = min(at, await last_forkable(self._store, row.id))
            point = await fork_point(self._store, row.id, at)
        return point

    async def _rows(self, parent: ExecutionID) -> AsyncIterator[ExecutionSummary]:
        query = ExecutionQuery(parent_id=parent, first=CHILDREN_PAGE)
        while True:
            page = await self._store.list_executions(query)
            for row in page.items:
                yield row
            if not page.has_next or not page.items:
                return
            query = replace(query, after=page.items[-1].id)


def _begun(
    machine: ExecutionMachine, wish: ForkRequested, diagram: ExecutableDiagram | None, now: datetime
) -> tuple[Recorded, ...]:
    """The first events of a fork; nothing follows before it has its graph. Raises Rejected."""
    if diagram is None:
        return machine.receive(wish, now=now)
    change = GraphMutationRequested(diagram, machine.state.revision, actor=wish.actor)
    return machine.receive_all((wish, change), now=now)


def _new_id(
    parent: ExecutionState, child: ExecutionState, wish: ForkRequested
) -> ExecutionID | None:
    """The id by which the same visit of the fork finds its child; None if it looks for none."""
    run = child.parent
    if run is None or child.key is None or run.node in wish.outputs:
        return None
    index = parent.diagram.index_of[run.node]
    is_open = has_begun(parent, index) and parent.nodes[index].occurrence == run.occurrence
    tries = parent.tries.get(index, 0)
    if not is_open or _id(parent.id, run, tries, child.key) != child.id:
        return None
    return _id(wish.execution_id, run, tries, child.key)


def _id(parent: ExecutionID, run: NodeRun, tries: int, key: str) -> ExecutionID:
    return child_execution_id(parent, run, tries, key)
