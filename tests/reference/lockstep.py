"""The machine and the reference interpreter side by side, compared at each step of a run.

A disagreement is found where it begins. Both can be forked where a condition is asked, so that
what several scripts have in common runs once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.events import (
    ErrorStrategy,
    Event,
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFailed,
    NodeCompleted,
    NodeStarted,
    ObservedError,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.machine.decide import decide
from dipeo_server.domains.execution.machine.evolve import begin, evolve
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.machine.outstanding import outstanding
from dipeo_server.domains.execution.machine.settle import settle
from dipeo_server.domains.execution.output import create_node_output
from dipeo_server.domains.execution.signals import NodeReturned, Signal, StartRequested
from dipeo_server.domains.execution.state import BlockTurn, ExecutionState, NodeTurn
from dipeo_server.domains.execution.status import NodeExecutionStatus
from tests.reference.interpreter import Interpreter
from tests.reference.machine_run import NOON, executable
from tests.reference.outcome import Outcome, output_value
from tests.reference.sketch import Script, Sketch

CAP = 4
"""Visits of a node: three with an answer of their own and one more that repeats the last."""
ANSWERS = 3
"""The length of a script; the last answer repeats."""
TERMINAL = (ExecutionCompleted, ExecutionFailed, ExecutionAborted)


@dataclass(frozen=True)
class Rules:
    """The four functions that make the machine; a test can put others in their place."""

    begin: Callable[[Recorded], ExecutionState] = begin
    evolve: Callable[[ExecutionState, Recorded], ExecutionState] = evolve
    settle: Callable[[ExecutionState], tuple[Event, ...]] = settle


RULES = Rules()


class Disagreement(Exception):
    """The machine does something else than the reference, or breaks a promise of its own."""


class Fold:
    """The machine as a fold that can be forked."""

    def __init__(self, rules: Rules, diagram: ExecutableDiagram) -> None:
        self.rules = rules
        self.log: list[Recorded] = []
        self.state: ExecutionState | None = None
        self.receive(
            StartRequested(ExecutionID("x"), diagram, error_strategy=ErrorStrategy.COLLECT)
        )

    def receive(self, signal: Signal, now: datetime = NOON) -> None:
        """Decide, fold, and settle until the state has come to rest."""
        events = decide(self.state, signal, now=now)
        while events:
            for event in events:
                self._fold(Recorded(Seq(len(self.log) + 1), now, event))
            events = self.rules.settle(self.state) if self.state is not None else ()

    def _fold(self, recorded: Recorded) -> None:
        self.log.append(recorded)
        if self.state is None:
            self.state = self.rules.begin(recorded)
        else:
            self.rules.evolve(self.state, recorded)

    def fork(self) -> Fold:
        """A second machine that stands where this one stands."""
        twin = copy.copy(self)
        twin.log = self.log.copy()
        twin.state = None if self.state is None else forked(self.state)
        return twin


_FIELDS = tuple(field.name for field in fields(ExecutionState))


def forked(state: ExecutionState) -> ExecutionState:
    """The state once more; what is updated in place is copied."""
    twin = object.__new__(ExecutionState)
    for name in _FIELDS:
        value = getattr(state, name)
        kind = type(value)
        if kind is dict or kind is list or kind is set:
            value = value.copy()
        setattr(twin, name, value)
    twin.turns = [
        NodeTurn(
            t.phase, t.missing, t.live, t.live_guards, t.failed, t.has_guards, t.first_edge, t.end
        )
        for t in state.turns
    ]
    twin.blocks = [BlockTurn(b.unsettled, b.turn, b.has_executed, b.serial) for b in state.blocks]
    return twin


class Lockstep:
    """One run of a sketch on both, to be forked where a condition is asked."""

    def __init__(self, sketch: Sketch, rules: Rules = RULES, *, cap: int = CAP) -> None:
        self.sketch = sketch
        self.answers: Script = {}
        self.reference = Interpreter(sketch, self.answers, cap=cap)
        self.machine = Fold(rules, executable(sketch, cap=cap))

    def fork(self) -> Lockstep:
        """A second run that stands where this one stands."""
        twin = copy.copy(self)
        twin.reference = self.reference.copy()
        twin.machine = self.machine.fork()
        return twin

    @property
    def state(self) -> ExecutionState:
        """The machine's state."""
        if self.machine.state is None:
            raise Disagreement("the machine did not start")
        return self.machine.state

    @property
    def running(self) -> list[int]:
        """What both are executing, in file order. Raises Disagreement if they differ."""
        here, there = sorted(self.state.running), sorted(self.reference.running)
        if here != there:
            raise Disagreement(f"{self._names(here)} run instead of {self._names(there)}")
        return here

    def is_asked(self, node: int) -> bool:
        """Does the running node answer something that was not settled yet and that is heard?"""
        if self.sketch.kinds[node] != "condition" or not self.sketch.edges_out_of(node):
            return False
        return len(self.answers.get(node, ())) < ANSWERS

    def complete(self, node: int, answer: bool | None) -> None:
        """End the NodeRun on both sides; a condition that is not asked repeats its answer."""
        if self.sketch.kinds[node] == "condition":
            before = self.answers.get(node, ())
            if answer is not None or not before:
                self.answers = {**self.answers, node: (*before, answer is not False)}
                self.reference.script = self.answers
        run = self.state.running[node]
        inputs = self._inputs(node, run)
        value = output_value(run.node, run.occurrence, inputs)
        output = create_node_output({self._port(node, run): value})
        self.machine.receive(NodeReturned(run, output))
        self.reference.complete(node)

    def _inputs(self, node: int, run: NodeRun) -> dict[int, str]:
        """What came in, on both sides the same. Raises Disagreement."""
        refs = self.state.inputs[node]
        inputs = {ref.edge: str(ref.envelope.value_at(ref.port)) for ref in refs}
        expected = dict(self.reference.running[node])
        if inputs != expected:
            name = self.sketch.names[node]
            raise Disagreement(f"{name}#{run.occurrence} gets {inputs} instead of {expected}")
        if run.occurrence != (occurrence := len(self.reference.runs[node]) + 1):
            raise Disagreement(f"{run} is occurrence {occurrence}")
        return inputs

    def _port(self, node: int, run: NodeRun) -> str:
        if self.sketch.kinds[node] != "condition":
            return "default"
        answers = self.answers[node]
        return "condtrue" if answers[min(run.occurrence, len(answers)) - 1] else "condfalse"

    def __str__(self) -> str:
        """Print the sketch and what its conditions have answered."""
        spelled = {
            self.sketch.names[node]: "".join("T" if answer else "F" for answer in answers)
            for node, answers in self.answers.items()
        }
        return f"{self.sketch} {spelled}"

    def _names(self, nodes: list[int]) -> list[str]:
        return [self.sketch.names[node] for node in nodes]

    def end(self) -> Outcome:
        """What came of the run, on both sides the same. Raises Disagreement."""
        expected = self.reference.outcome()
        if expected.ended != "OK":
            raise Disagreement("the reference hangs")
        for index, node in enumerate(expected.nodes):
            found = self.state.nodes[index]
            skipped = found.status is NodeExecutionStatus.SKIPPED
            seen = (
                found.status.value,
                found.skip_reason if skipped else None,
                found.executed,
                found.occurrence - found.executed,
            )
            if seen != (node.status, node.reason, node.executed, node.maxiter):
                raise Disagreement(f"{self.sketch.names[index]} is {seen} instead of {node}")
        judge_log(self.machine.log, expected)
        if not self.state.is_settled or outstanding(self.state):
            raise Disagreement("something is outstanding after the end")
        return expected


def unique_ends(log: list[Recorded]) -> tuple[set[NodeRun], set[NodeRun]]:
    """Which NodeRuns began and which ended, each once. Raises Disagreement."""
    started = [r.event.node_run for r in log if isinstance(r.event, NodeStarted)]
    ended = [r.event.node_run for r in log if isinstance(r.event, NodeCompleted)]
    if len(set(started)) != len(started) or len(set(ended)) != len(ended):
        raise Disagreement(f"some NodeRun begins or ends twice: {started} {ended}")
    return set(started), set(ended)


def judge_log(log: list[Recorded], expected: Outcome) -> None:
    """One terminal event, and it is last; one end for each NodeRun. Raises Disagreement."""
    events = [recorded.event for recorded in log]
    ends = [event for event in events if isinstance(event, TERMINAL)]
    if ends != events[-1:] or not isinstance(events[-1], ExecutionCompleted):
        raise Disagreement(f"the run ends with {ends}, and its log with {events[-1]}")
    started, ended = unique_ends(log)
    if started != ended:
        raise Disagreement(f"begun but not ended, or the reverse: {started ^ ended}")
    notices = [event.failure.code for event in events if isinstance(event, ObservedError)]
    if (notices != []) is not expected.no_progress or set(notices) - {"NO_PROGRESS"}:
        raise Disagreement(f"observed: {notices}; a loop without progress: {expected.no_progress}")


def replayed(run: Lockstep) -> None:
    """Folding the log gives the live state, through the machine itself. Raises Disagreement."""
    again = ExecutionMachine.replay(run.machine.log).state
    again.touched = run.state.touched
    if again != run.state:
        raise Disagreement("the fold of the log is not the state that was live")
