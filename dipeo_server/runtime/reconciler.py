"""What to start and to stop, and when: at once, or only when everything is durable."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.commands import Command, RunNode, SetBudgetTimer, SetTimer
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.machine.steering_events import RUN_INDEX
from dipeo_server.domains.execution.ports import Clock
from dipeo_server.domains.execution.signals import BudgetTimePassed, NodeStopped, Signal, TimerFired
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.runtime.inflight import Inflight
from dipeo_server.runtime.perform import Performer, Post

GRACE_SECONDS = 2.0


class Reconciler:
    """Keeps what is in flight in line with what the machine of one execution wants.

    Of what changed, `look` starts what nobody outside would notice if the process died now: pure
    handlers and timers. Whatever else is due waits for `reconcile`, which may be called only while
    everything that the machine has decided is durable.
    """

    def __init__(
        self, performer: Performer, clock: Clock, post: Post, ended: Callable[[], None]
    ) -> None:
        """Outcomes go to `post`; `ended` is called whenever something less is in flight."""
        self._performer = performer
        self._clock = clock
        self._post = post
        self._inflight = Inflight(self._work, post, ended)
        self._due: dict[int, Command | None] = {}
        self._is_torn = False
        self._diagram: ExecutableDiagram | None = None
        self._seen: Callable[[], ExecutionState] = _nothing

    def __len__(self) -> int:
        return len(self._inflight)

    @property
    def is_calm(self) -> bool:
        """Is nothing due that has to wait for the disk?"""
        return not self._due and not self._is_torn

    def tear(self) -> None:
        """The machine was put back: what is in flight is compared as a whole the next time."""
        self._due.clear()
        self._is_torn = True

    def look(self, machine: ExecutionMachine, *, is_ahead: bool) -> None:
        """Take what has changed; start at once what may run ahead of the disk, if `is_ahead`."""
        if machine.last_seq == 0:
            return
        self._follow(machine.state.diagram)
        may_start = is_ahead and not self._is_torn
        ahead: dict[int, Command | None] = {}
        for index, command in machine.take_changes().items():
            self._due.pop(index, None)
            is_free = may_start and self._is_harmless(machine.state, index, command)
            (ahead if is_free else self._due)[index] = command
        self._seen = lambda: machine.state
        self._inflight.reconcile(ahead, GRACE_SECONDS)
        self._seen = _nothing

    def reconcile(self, machine: ExecutionMachine) -> None:
        """Start and stop what the state, which is durable, wants to be started and stopped."""
        if machine.last_seq == 0:
            return
        state = machine.state
        self._follow(state.diagram)
        due, self._due = self._due, {}
        if self._is_torn:
            due = dict.fromkeys((*self._inflight.indexes(), *state.running))
            wanted = machine.outstanding().values()
            due |= {_index_of(state, each): each for each in wanted}
            self._is_torn = False
        self._seen = _as_of_now(state)
        self._inflight.reconcile(due, state.ending.grace_seconds if state.ending else GRACE_SECONDS)
        self._seen = _nothing
        for index, command in due.items():
            run = state.running.get(index)
            if command is None and run is not None and not self._inflight.has(run):
                # It was started and the run was ended in one round: there is nothing to stop.
                self._post(NodeStopped(run, "never entered"))

    async def close(self) -> None:
        """Cancel everything and wait for it, but not for ever; nothing is started any more."""
        await self._inflight.close()

    def _follow(self, diagram: ExecutableDiagram) -> None:
        """Where the graph was changed, what is in flight or due is for nodes at other places."""
        before, self._diagram = self._diagram, diagram
        if before is None or before is diagram:
            return
        places = {RUN_INDEX: RUN_INDEX}
        for node in before.nodes:
            if node.key in diagram.index_of:
                places[node.index] = diagram.index_of[node.key]
        self._inflight.move(places, GRACE_SECONDS)
        due = self._due.items()
        self._due = {places[index]: command for index, command in due if index in places}

    def _is_harmless(self, state: ExecutionState, index: int, command: Command | None) -> bool:
        """Would nobody outside notice if the process died before this is durable?"""
        if self._inflight.is_busy(index):
            return False  # A handler would be stopped.
        match command:
            case None:
                return index not in state.running
            case SetTimer() | SetBudgetTimer():
                return True
            case RunNode():
                return state.diagram.nodes[index].is_pure

    def _work(self, command: Command) -> Callable[[], Awaitable[Signal]]:
        """What to do for a command."""
        match command:
            case RunNode(node_run=run):
                state = self._seen()
                # What was started and held in one round is older than that pause.
                is_held = state.is_paused or state.stepping not in (None, run)
                holds = state.holds - is_held
                return partial(self._performer.run, state, run, holds, self._post)
            case SetTimer(node_run=run, due_at=due_at):
                return partial(self._wait_until, due_at, TimerFired(run))
            case SetBudgetTimer(due_at=due_at):
                return partial(self._wait_until, due_at, BudgetTimePassed())

    async def _wait_until(self, due_at: datetime, then: Signal) -> Signal:
        while (left := (due_at - self._clock.now()).total_seconds()) > 0:
            await self._clock.sleep(left)
        return then


def _index_of(state: ExecutionState, command: Command) -> int:
    if isinstance(command, SetBudgetTimer):
        return RUN_INDEX
    return state.diagram.index_of[command.node_run.node]


def moment_of(signal: Signal, state: ExecutionState, now: datetime) -> datetime:
    """When it happened: a timer that fired was due, even if the clock was put back since."""
    if not isinstance(signal, TimerFired):
        return now
    waiting = state.waiting.get(state.diagram.index_of.get(signal.node_run.node, RUN_INDEX))
    return max(now, waiting.due_at) if waiting and waiting.due_at else now


def _nothing() -> ExecutionState:
    raise AssertionError("handlers are entered by look and reconcile only")


def _as_of_now(state: ExecutionState) -> Callable[[], ExecutionState]:
    """The state that handlers with effects see: it stays as it is now, when it is durable.

    Copied once for all that start together, and only if something does.
    """
    copies: list[ExecutionState] = []

    def seen() -> ExecutionState:
        if not copies:
            outputs, executed = dict(state.outputs), dict(state.executed)
            copies.append(replace(state, outputs=outputs, executed=executed))
        return copies[0]

    return seen
