"""ExecutionMachine: decide, settle, evolve and outstanding, plus a memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.checkpoint import StoredCheckpoint, TakenCheckpoint
from dipeo_server.domains.execution.commands import Command, CommandKey
from dipeo_server.domains.execution.delta import ReducerRegistry
from dipeo_server.domains.execution.events import TERMINAL, CheckpointFailed, Event, Recorded
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.machine.checkpointer import Checkpointer, LastCheckpoint
from dipeo_server.domains.execution.machine.checkpoints import due
from dipeo_server.domains.execution.machine.decide import REDUCERS, decide
from dipeo_server.domains.execution.machine.evolve import begin, evolve
from dipeo_server.domains.execution.machine.outstanding import command_for, outstanding
from dipeo_server.domains.execution.machine.settle import settle
from dipeo_server.domains.execution.machine.steering_events import RUN_INDEX
from dipeo_server.domains.execution.signals import Signal
from dipeo_server.domains.execution.snapshot import Document, restored
from dipeo_server.domains.execution.state import ExecutionState


class ExecutionMachine:
    """One execution in memory: the fold of its log, and what to append to it next."""

    def __init__(self, reducers: ReducerRegistry = REDUCERS) -> None:
        self._state: ExecutionState | None = None
        self._reducers = reducers
        self._checkpointer = Checkpointer()

    @classmethod
    def replay(cls, history: Iterable[Recorded], reducers: ReducerRegistry = REDUCERS) -> Self:
        """The machine behind a log; an empty log gives one that has not started."""
        machine = cls(reducers)
        machine.fold(history)
        return machine

    @classmethod
    def restore(
        cls,
        stored: StoredCheckpoint,
        document: Document,
        diagram: ExecutableDiagram,
        bodies: Mapping[int, Any],
    ) -> Self:
        """The machine behind a checkpoint, whose document has been read; `fold` what follows.

        `bodies` are those that the document leaves out. Raises DamagedCheckpoint.
        """
        machine = cls()
        state = machine._state = restored(document, diagram, bodies)
        # To a runner everything that is under way is new.
        state.touched.update(state.running, state.waiting, (RUN_INDEX,))
        machine._checkpointer = Checkpointer(LastCheckpoint.of(stored, document))
        return machine

    def fold(self, history: Iterable[Recorded]) -> None:
        """Take in what the log has behind the last event."""
        for recorded in history:
            self._fold(recorded)

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
        return self.receive_all((signal,), now=now)

    def receive_all(self, signals: Sequence[Signal], *, now: datetime) -> tuple[Recorded, ...]:
        """As `receive`, with nothing that follows from one of them before all are decided.

        Raises Rejected; what those before the refused one came to is in the state then.
        """
        recorded: list[Recorded] = []
        for signal in signals:
            decided = decide(self._state, signal, now=now, reducers=self._reducers)
            self._tell(decided, signal, now, recorded)
        self._rest(signal, now, recorded)
        if not (recorded and recorded[-1].is_terminal):
            self._save(signal, now, recorded)
            if recorded and isinstance(recorded[-1].event, CheckpointFailed):
                self._rest(None, now, recorded)
        return tuple(recorded)

    def taken(self) -> list[TakenCheckpoint]:
        """The checkpoints that were told since it was last asked: to be stored with that."""
        return self._checkpointer.collect()

    def outstanding(self) -> Mapping[CommandKey, Command]:
        """Everything that should be in flight."""
        return outstanding(self.state)

    def take_changes(self) -> dict[int, Command | None]:
        """By node index, what should be in flight where that may have changed since last asked."""
        state = self.state
        changes = {index: command_for(state, index) for index in sorted(state.touched)}
        state.touched.clear()
        return changes

    def _rest(self, signal: Signal | None, now: datetime, recorded: list[Recorded]) -> None:
        """Settle until nothing more follows from the state; without a signal none is kept."""
        while self._state is not None and recorded:
            events = settle(self._state)
            if not events:
                break
            self._tell(events, signal, now, recorded)

    def _tell(
        self,
        events: Sequence[Event],
        signal: Signal | None,
        now: datetime,
        recorded: list[Recorded],
    ) -> None:
        for event in events:
            if signal is not None and isinstance(event, TERMINAL):
                self._save(signal, now, recorded, event)
            recorded.append(self._record(event, now))

    def _save(
        self, signal: Signal, now: datetime, recorded: list[Recorded], then: Event | None = None
    ) -> None:
        """Take a checkpoint if one is due: at rest, or before the last event."""
        state = self._state
        trigger = None if state is None else due(state, signal, recorded, then)
        if state is not None and trigger is not None:
            event = self._checkpointer.take(state, trigger, now, then)
            recorded.append(self._record(event, now))

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
