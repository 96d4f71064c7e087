"""What is compared after every life: the log, what clients were told, and who was entered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.proofs.listener import Heard
from tests.proofs.lives import Told
from tests.proofs.stored_log import Logged, Run, StoredLog
from tests.proofs.witness import Entry, Witness

Visit = tuple[str, str, int]
"""(execution, node, occurrence)"""
ENDS = frozenset({"execution_completed", "execution_failed", "execution_aborted"})


class Ledger:
    """Grows with the log; whatever was true behind one life must be true behind all later ones."""

    def __init__(self, store: Path, trace: Path, witness: Witness, told: Told) -> None:
        self._log = StoredLog(store)
        self._trace = trace
        self._witness = witness
        self._told = told
        self._row = self._trace_size = self._effects = 0
        self._heard: dict[str, int] = {}
        self._entered: set[tuple[str, Run]] = set()
        self.logged: dict[tuple[str, int], Logged] = {}
        self.last: dict[str, Logged] = {}
        self.durability: dict[str, str] = {}
        self.completed: dict[Visit, int] = {}
        self.started: set[tuple[str, Run]] = set()
        self.again = 0

    def audit(self) -> list[str]:
        """What is wrong behind one more life."""
        traces, effects = self._new_traces(), self._new_effects()
        before = dict(self.completed)
        return [
            *self._grow(),
            *self._repeated(before, [*traces, *effects]),
            *self._entered_twice(traces, effects),
            *self._lost(),
            *self._taken_back(),
            *self._witness.faults,
            *self._told.hearsay.faults,
        ]

    def _new_traces(self) -> list[Entry]:
        data = self._trace.read_bytes() if self._trace.exists() else b""
        lines = data[self._trace_size :].splitlines()
        self._trace_size = len(data)
        return [Entry.read(line) for line in lines]

    def _new_effects(self) -> list[Entry]:
        found = self._witness.effects[self._effects :]
        self._effects += len(found)
        return found

    def _grow(self) -> Iterator[str]:
        """What was committed: without gaps, behind no end, and no NodeRun completed twice."""
        events, self._row = self._log.all(behind=self._row)
        for event in events:
            last = self.last.get(event.execution)
            if event.seq != (last.seq if last else 0) + 1 or (last and last.kind in ENDS):
                yield f"{event} is behind {last}"
            self.last[event.execution] = event
            self.logged[event.execution, event.seq] = event
            if event.durability is not None:
                self.durability[event.execution] = event.durability
            if event.run is None:
                continue
            if event.kind == "node_started":
                self.started.add((event.execution, event.run))
            if event.kind == "node_completed":
                visit = (event.execution, *event.run[:2])
                if visit in self.completed:
                    yield f"{event}: completed before"
                self.completed[visit] = event.run[2]

    def _repeated(self, before: dict[Visit, int], entries: Sequence[Entry]) -> Iterator[str]:
        """Nothing is entered in this life that was completed in a former one."""
        for entry in entries:
            visit = (entry.execution, *entry.run[:2])
            if visit in before or entry.run[2] > self.completed.get(visit, entry.run[2]):
                yield f"{entry} ran again after it was completed"

    def _entered_twice(self, traces: Sequence[Entry], effects: Sequence[Entry]) -> Iterator[str]:
        """Each attempt is entered once; only pure ones of ADAPTIVE runs may be in another life."""
        in_this_life: set[tuple[str, Run]] = set()
        entries = [*((each, True) for each in traces), *((each, False) for each in effects)]
        for entry, is_pure in entries:
            key = (entry.execution, entry.run)
            is_free = not entry.is_strict and is_pure
            if key in in_this_life or (key in self._entered and not is_free):
                yield f"{entry} was entered twice"
            if key not in self.started and not is_free:
                yield f"{entry}: its start was lost"
            self.again += key in self._entered
            in_this_life.add(key)
        self._entered |= in_this_life

    def _lost(self) -> Iterator[str]:
        """Everything that was acknowledged is there."""
        for execution, seq in self._told.sequences.items():
            last = self.last.get(execution)
            if last is None or last.seq < seq:
                yield f"{execution} was acknowledged up to {seq}, and ends at {last}"

    def _taken_back(self) -> Iterator[str]:
        """Everything that subscribers were told is there, and says the same."""
        for execution, events in self._told.hearsay.events.items():
            for seq in range(self._heard.get(execution, 0) + 1, len(events) + 1):
                heard, event = events[seq - 1], self.logged.get((execution, seq))
                if event is None or not is_same(heard, event):
                    yield f"{execution}: {heard} was published as {seq}, and is {event}"
            self._heard[execution] = len(events)


def is_same(heard: Heard, event: Logged) -> bool:
    """Is that what was told of this event?"""
    kind = re.sub(r"(?<!^)(?=[A-Z])", "_", heard.type).lower()
    node = event.run[0] if event.run else None
    return kind == event.kind and heard.node in {None, node} and heard.nonces <= event.nonces
