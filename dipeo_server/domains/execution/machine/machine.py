"""ExecutionMachine: decide, settle, evolve and outstanding, plus a memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Self

from dipeo_server.domains.execution.commands import Command, CommandKey
from dipeo_server.domains.execution.delta import ReducerRegistry
from dipeo_server.domains.execution.events import Event, Recorded
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.machine.decide import REDUCERS, decide
from dipeo_server.domains.execution.machine.evolve import begin, evolve
from dipeo_server.domains.execution.machine.outstanding import command_for, outstanding
from dipeo_server.domains.execution.machine.settle import settle
from dipeo_server.domains.execution.signals import Signal
from dipeo_server.domains.execution.state import ExecutionState


class ExecutionMachine:
    """One execution in memory: the fold of its log, and what to append to it next."""

    def __init__(self, reducers: ReducerRegistry = REDUCERS) -> None:
        self._state: ExecutionState | None = None
        self._reducers = reducers

    @classmethod
    def replay(cls, history: Iterable[Recorded], reducers: ReducerRegistry = REDUCERS) -> Self:
        """The machine behind a log; an empty log gives one that has not started."""
        machine = cls(reducers)
        for recorded in history:
            machine._fold(recorded)
        return machine

    @property
    def state(self) -> ExecutionState:
        """The state. Raises RuntimeError before the first event."""
        if self._state is None:
            raise RuntimeError("The execution has not started.")
        return self._state

    @property
    def last_seq(self) -> Seq:
        """The last event's place; 0 before the first."""
        return Seq(0) if self._state is None else self._state.last_seq

    def receive(self, signal: Signal, *, now: datetime) -> tuple[Recorded, ...]:
        """Decide, fold, and settle until the state has come to rest: what to append.

        Raises Rejected, and then nothing has changed.
        """
        decided = decide(self._state, signal, now=now, reducers=self._reducers)
        recorded = [self._record(event, now) for event in decided]
        while self._state is not None and recorded:
            events = settle(self._state)
            if not events:
                break
            recorded.extend(self._record(event, now) for event in events)
        return tuple(recorded)

    def outstanding(self) -> Mapping[CommandKey, Command]:
        """Everything that should be in flight."""
        return outstanding(self.state)

    def take_changes(self) -> dict[int, Command | None]:
        """By node index, what should be in flight where that may have changed since last asked."""
        state = self.state
        changes = {index: command_for(state, index) for index in sorted(state.touched)}
        state.touched.clear()
        return changes

    def _record(self, event: Event, now: datetime) -> Recorded:
        last = self._state.last_at if self._state is not None else None
        at = now if last is None or now > last else last
        recorded = Recorded(Seq(self.last_seq + 1), at, event)
        self._fold(recorded)
        return recorded

    def _fold(self, recorded: Recorded) -> None:
        if self._state is None:
            self._state = begin(recorded)
        else:
            evolve(self._state, recorded)
