"""Going on with a run that a process left, or as a fork of one that has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.nearest import listed
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.machine.mutating import GraphImpact, impact
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.runner import ForkExecution
from dipeo_server.domains.execution.signals import (
    GraphMutationRequested,
    PauseRequested,
    ResumeRequested,
)
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.errors import InvalidState, NotFound, Unavailable
from dipeo_server.runtime.clock import SystemClock
from dipeo_server.runtime.fork_points import last_forkable
from dipeo_server.runtime.loading import load
from dipeo_server.runtime.local import LocalRunner


class IfChanged(StrEnum):
    """What becomes of a run whose graph is not the executor's any more.

    REFUSE: it is not gone on with. FORCE: it goes on with its own graph, and the functions that
    the executor's has by the names of its nodes. MIGRATE: it goes on with the executor's graph;
    what has run stays so.
    """

    REFUSE = "REFUSE"
    FORCE = "FORCE"
    MIGRATE = "MIGRATE"


class GraphChanged(InvalidState):
    """The run has another graph; `impact` tells by node what it would come to to change that."""

    code = "GRAPH_CHANGED"
    default_hint = (
        "Give if_changed=FORCE to go on with the graph that it has, or MIGRATE to go on with this."
    )

    def __init__(self, message: str, impact: GraphImpact) -> None:
        super().__init__(message)
        self.impact = impact


@dataclass(frozen=True, slots=True)
class Resuming:
    """A wish to go on with a run; `at` None = where it is, or where it was last kept."""

    run_id: ExecutionID
    diagram: ExecutableDiagram
    if_changed: IfChanged
    at: Seq | None = None

    async def begin(
        self, store: StateStore, runner: LocalRunner, claim: Callable[[ExecutionID], None]
    ) -> ExecutionID:
        """Let it go on in this process: the run itself, or a fork of it.

        Raises NotFound, AlreadyRunning, GraphChanged, InvalidState, Unavailable, StorageError.
        """
        summary = await store.summary(self.run_id)
        if summary is None:
            raise NotFound(f"There is no run {self.run_id!r} in this store.")
        if summary.status.is_active and self.at is None:
            claim(self.run_id)
            await self._take_over(store, runner)
            return self.run_id
        fork = await self._fork(store, runner, summary.status)
        claim(fork)
        return fork

    async def _take_over(self, store: StateStore, runner: LocalRunner) -> None:
        machine = await load(store, self.run_id)
        if self._is_to_migrate(machine.state):
            now = SystemClock().now()
            tail, events = machine.last_seq, _migrated(machine, self.diagram, now)
            await store.append(
                self.run_id,
                events,
                after=tail,
                summary=summary_of(machine.state),
                checkpoints=machine.taken(),
            )
        if not await runner.recover(self.run_id):
            raise Unavailable(f"The run {self.run_id!r} cannot be gone on with: see the log.")

    async def _fork(
        self, store: StateStore, runner: LocalRunner, status: ExecutionStatus
    ) -> ExecutionID:
        if status is ExecutionStatus.COMPLETED and self.at is None:
            message = f"The run {self.run_id!r} has completed: there is nothing to go on with."
            raise InvalidState(message, hint="Give `at` to go on from an earlier checkpoint.")
        state = await self._kept(store, has_failed=status is ExecutionStatus.FAILED)
        diagram = self.diagram if self._is_to_migrate(state) else None
        accepted = await runner.fork(ForkExecution(self.run_id, state.last_seq, diagram=diagram))
        return accepted.execution_id

    async def _kept(self, store: StateStore, *, has_failed: bool) -> ExecutionState:
        """The newest state that was kept from which the run can go on. Raises NotFound."""
        last = await last_forkable(store, self.run_id)
        last = last if self.at is None else min(last, self.at)
        for known in reversed(await store.checkpoints.listed(self.run_id)):
            if known.at <= last:
                state = (await load(store, self.run_id, upto=known.at)).state
                if not (has_failed and state.failures):  # It would fail once more, at once.
                    return state
        message = f"There is no checkpoint of {self.run_id!r} to go on from, up to event {last}."
        hint = "Runs take them by their policy, or where handle.checkpoint() asks for one."
        raise NotFound(message, hint=hint)

    def _is_to_migrate(self, state: ExecutionState) -> bool:
        """Is the graph to be changed? Raises GraphChanged."""
        if state.diagram.content_hash == self.diagram.content_hash:
            return False
        if self.if_changed is IfChanged.REFUSE:
            raise GraphChanged(_told(state, self.diagram), impact(state, self.diagram))
        return self.if_changed is IfChanged.MIGRATE


def _migrated(
    machine: ExecutionMachine, diagram: ExecutableDiagram, now: datetime
) -> list[Recorded]:
    """The events that change the graph of a run which nobody serves. Raises InvalidState."""
    is_held = machine.state.is_paused
    found: list[Recorded] = []
    if not is_held:
        found += machine.receive(PauseRequested(PauseMode.NOW, "another graph"), now=now)
    wish = GraphMutationRequested(diagram, machine.state.revision)
    found += machine.receive(wish, now=now)
    if not is_held:
        found += machine.receive(ResumeRequested(), now=now)
    return found


def _told(state: ExecutionState, diagram: ExecutableDiagram) -> str:
    old, new = set(state.diagram.index_of), set(diagram.index_of)
    changes = [
        f"{what} {listed(sorted(keys))}"
        for what, keys in (("it has no", old - new), ("it also has", new - old))
        if keys
    ]
    how = " and ".join(changes) or "settings, conditions, edges or reducers are others"
    return f"The graph is not the one that the run {state.id!r} has: {how}."
