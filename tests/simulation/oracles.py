"""Who watches a simulation: a witness of what leaves the process, and judges of what is left.

Nothing here asks the runner what it thinks: truth is what the disk holds, and what the outside saw.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.execution.events import (
    Durability,
    ExecutionStarted,
    NodeCompleted,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.runner import Accepted, ForkExecution
from dipeo_server.domains.execution.state import ExecutionView, view
from dipeo_server.runtime.perform import ConcurrencyLimits
from tests.simulation.control_oracles import early_decisions, pauses, winners
from tests.simulation.faults import Disk, Known
from tests.simulation.loop import Process
from tests.simulation.scenario import RunPlan
from tests.simulation.time_oracles import graphs


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken; `oracle` is its name."""

    oracle: str
    what: str


@dataclass(frozen=True, slots=True)
class Ack:
    """What a client was told: the mutation, the node it was about, and the sequence."""

    execution_id: ExecutionID
    mutation: str
    about: str
    sequence: Seq


@dataclass(frozen=True, slots=True)
class ForkMade:
    """A fork that was accepted: what was asked for, and what is to become of it."""

    request: ForkExecution
    plan: RunPlan


@dataclass(slots=True)
class Entry:
    """Somebody is inside a handler."""

    leave: Callable[[], None]


ABORT_SECONDS_MAX = 3.5
"""What a handler has to obey in: its grace, the time to be killed, and a busy machine."""


@dataclass
class Witness:
    """Sees every entry, effect, delivery, answer and view, at the moment it happens."""

    disk: Disk
    mode: Durability
    limits: ConcurrencyLimits
    now: Callable[[], float]
    trace: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    acks: list[Ack] = field(default_factory=list)
    answers: dict[str, Accepted] = field(default_factory=dict)
    effects: Counter[tuple[ExecutionID, NodeRun]] = field(default_factory=Counter)
    received: dict[str, list[Recorded]] = field(default_factory=lambda: defaultdict(list))
    aborted_at: dict[ExecutionID, float] = field(default_factory=dict)
    paused_at: dict[ExecutionID, Seq] = field(default_factory=dict)
    let_go_at: dict[ExecutionID, Seq] = field(default_factory=dict)
    read_by: dict[str, ExecutionID] = field(default_factory=dict)
    forks: dict[ExecutionID, ForkMade] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    inside: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def name_of(self, execution_id: ExecutionID) -> str:
        """What the test calls an execution; ids are random, and of no use to a reader."""
        return self.disk.names.get(execution_id, "unborn")

    def tell(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.now():9.4f}  {text}")

    def accuse(self, oracle: str, what: str) -> None:
        """A promise was broken."""
        self.violations.append(Violation(oracle, what))
        self.tell(f"VIOLATION {oracle}: {what}")

    # --- handlers -------------------------------------------------------------------------------

    def enters(
        self, process: Process, execution_id: ExecutionID, run: NodeRun, spec: NodeSpec
    ) -> Entry:
        """A handler is entered."""
        self.counts["entries"] += 1
        what = f"{self.name_of(execution_id)} {short(run)}"
        self.tell(f"p{process.number} enters {what} ({spec.type})")
        known = self.disk.known.get(execution_id, Known())
        if self._is_held(execution_id):
            self.accuse("a pause holds", f"{what} is entered")
        if visit(run) in known.completed:
            self.accuse("a completed visit is never entered again", what)
        may_be_ahead = spec.is_pure and self.mode is Durability.ADAPTIVE
        if run not in known.started and not may_be_ahead:
            self.accuse("nothing starts before its NodeStarted is durable", what)
        inside = self.inside[process.number]
        if spec.holds_slot:
            inside[spec.type] += 1
            self._check_limits(inside, spec.type)

        def leave() -> None:
            inside.subtract([spec.type] if spec.holds_slot else [])
            # What waits for a child waits for the child's own abort, which has to be committed.
            if spec.holds_slot and self._is_late(execution_id, ABORT_SECONDS_MAX):
                self.accuse("abort stops", f"{what} went on")

        return Entry(leave)

    def _is_held(self, execution_id: ExecutionID) -> bool:
        """Was the pause of the run acknowledged, or of one that has started it, and is it on?"""
        name = f"{self.name_of(execution_id)}/"
        for other, since in self.paused_at.items():
            released = self.disk.known.get(other, Known()).released
            is_on = since > max(released, self.let_go_at.get(other, Seq(0)))
            if is_on and name.startswith(f"{self.name_of(other)}/"):
                return True
        return False

    def _is_late(self, execution_id: ExecutionID, seconds: float) -> bool:
        """Was the run aborted longer ago than that?"""
        return self.now() > self.aborted_at.get(execution_id, self.now()) + seconds

    def _check_limits(self, inside: Counter[str], type_: str) -> None:
        most = self.limits.per_type.get(type_, self.limits.total)
        if inside.total() > self.limits.total or inside[type_] > most:
            self.accuse("concurrency stays within its limits", f"{dict(inside)}")

    def effect(self, execution_id: ExecutionID, run: NodeRun, inputs: Mapping[str, Any]) -> None:
        """Something happens that cannot be taken back."""
        self.counts["effects"] += 1
        what = f"{self.name_of(execution_id)} {short(run)}"
        self.tell(f"effect of {what}")
        self.effects[execution_id, run] += 1
        if self._is_late(execution_id, 0.3):
            self.accuse("abort stops", f"{what} had an effect")
        if self.effects[execution_id, run] > 1:
            self.accuse("an attempt has one effect at most", what)
        known = self.disk.known.get(execution_id, Known())
        if run not in known.started:
            self.accuse("an effect rests on durable events", f"{what}: its start is not durable")
        if lost := {str(value) for value in inputs.values()} - known.bodies:
            self.accuse("an effect rests on durable events", f"{what}: {lost} is not durable")

    # --- what clients see -----------------------------------------------------------------------

    def delivered(self, reader: str, execution_id: ExecutionID, recorded: Recorded) -> None:
        """A subscriber gets an event."""
        self.counts["deliveries"] += 1
        had = self.received[reader]
        self.read_by[reader] = execution_id
        name = type(recorded.event).__name__
        self.tell(f"{reader} gets {recorded.seq} {name}")
        if recorded.seq != len(had) + 1:
            self.accuse("a subscriber misses nothing", f"{reader}: {recorded.seq} after {len(had)}")
        durable = self.disk.logs.get(execution_id, [])
        if recorded.seq > len(durable):
            self.accuse("what is published is durable", f"{reader}: {recorded.seq} {name}")
        elif recorded != durable[recorded.seq - 1]:
            self.accuse("what is published is what is durable", f"{reader}: {recorded.seq} {name}")
        had.append(recorded)

    def answered(self, mutation: str, about: str, accepted: Accepted, key: str) -> None:
        """A client is told that something was accepted."""
        self.counts["answers"] += 1
        execution_id, sequence = accepted.execution_id, accepted.sequence
        what = f"{mutation} {self.name_of(execution_id)} {about} at {sequence}"
        self.tell(f"answer: {what}")
        if sequence > self.disk.durable_seq(execution_id):
            self.accuse("an answer is given after the commit", what)
        first = self.answers.setdefault(key, accepted)
        if (first.execution_id, first.sequence) != (execution_id, sequence):
            self.accuse("the same key gets the same answer", f"{what}, first {first}")
        self.acks.append(Ack(execution_id, mutation, about, sequence))
        if mutation == "abort":
            self.aborted_at.setdefault(execution_id, self.now())
        if mutation == "pause":
            self.paused_at[execution_id] = max(sequence, self.paused_at.get(execution_id, Seq(0)))

    def lets_go(self, execution_id: ExecutionID) -> None:
        """A client is about to ask that a paused run goes on: from now on it may."""
        self.let_go_at[execution_id] = self.disk.durable_seq(execution_id)

    def shown(self, seen: ExecutionView) -> None:
        """A client looks at an execution."""
        self.counts["views"] += 1
        durable = self.disk.logs.get(seen.id, [])
        name = self.name_of(seen.id)
        self.tell(f"view of {name} at {seen.last_seq}")
        if seen.last_seq > len(durable):
            self.accuse("a view shows what is durable", f"{name}: {seen.last_seq}")
        elif view(ExecutionMachine.replay(durable[: seen.last_seq]).state) != seen:
            self.accuse("a view is the fold of the log", f"{name} at {seen.last_seq}")


def short(run: NodeRun) -> str:
    """The visit in a word."""
    return f"{run.node}#{run.occurrence}.{run.attempt}"


def visit(run: NodeRun) -> tuple[str, int]:
    """The visit that this is an attempt of."""
    return run.node, run.occurrence


Found = Iterable[Violation]


def judge_log(name: str, log: Sequence[Recorded]) -> Found:
    """What holds for every log, ended or not."""
    for judge in _JUDGES:
        for what in judge(log):
            yield Violation(judge.__name__.strip("_"), f"{name}: {what}")


def _sequence(log: Sequence[Recorded]) -> Iterable[str]:
    if [each.seq for each in log] != list(range(1, len(log) + 1)):
        yield f"sequences are {[each.seq for each in log]}"
    if not isinstance(log[0].event, ExecutionStarted):
        yield f"it begins with {type(log[0].event).__name__}"
    times = [each.at for each in log]
    if times != sorted(times):
        yield "time goes back"


def _terminal(log: Sequence[Recorded]) -> Iterable[str]:
    places = [each.seq for each in log if each.is_terminal]
    if places not in ([], [len(log)]):
        yield f"terminal events at {places} of {len(log)}"


def _completions(log: Sequence[Recorded]) -> Iterable[str]:
    runs = Counter(visit(e.event.node_run) for e in log if isinstance(e.event, NodeCompleted))
    yield from (f"{name} completed {count} times" for name, count in runs.items() if count > 1)


def _starts(log: Sequence[Recorded]) -> Iterable[str]:
    """An attempt starts once, and never behind the completion of its visit."""
    started: set[NodeRun] = set()
    done: set[tuple[str, int]] = set()
    for each in log:
        match each.event:
            case NodeStarted(node_run=run):
                if run in started:
                    yield f"{short(run)} started twice"
                if visit(run) in done:
                    yield f"{short(run)} started behind its completion"
                started.add(run)
            case NodeCompleted(node_run=run):
                if run not in started:
                    yield f"{short(run)} completed without a start"
                done.add(visit(run))
            case _:
                pass


_JUDGES = (
    *(_sequence, _terminal, _completions, _starts),
    *(pauses, winners, early_decisions),
    graphs,
)
