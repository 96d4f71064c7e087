"""A failure that is taken back leaves no trace: the run is the one in which it never happened."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from dipeo_server.domains.execution.events import Failure
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.signals import (
    NodeRaised,
    OutputGiven,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    TimerFired,
)
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.errors import InvalidState
from tests.reference.generate import random_sketch
from tests.reference.machine_run import MachineRun
from tests.reference.outcome import output_value
from tests.reference.sketch import Script, Sketch

CAP = 6
STEPS_MAX = 400
DIAGRAMS = 2_000


class Mended(MachineRun):
    """A run in which nodes fail once, and somebody has each of them run again."""

    def __init__(self, sketch: Sketch, script: Script, rng: random.Random) -> None:
        super().__init__(sketch, script, cap=CAP)
        self.rng = rng
        self.completions: list[int] = []
        self.broken: list[int] = []
        self.seen: Counter[str] = Counter()
        self.held_failure: int | None = None
        """A node that failed while the run was paused, and nothing has happened since."""

    def run(self) -> bool:
        """Run to the end; False where a failure could not be taken back."""
        for _ in range(STEPS_MAX):
            if self.state.status.is_terminal:
                return not self.broken
            self._step()
        raise AssertionError("it does not end")

    def _step(self) -> None:
        chance = self.rng.random()
        if self.broken and (chance < 0.4 or not self.running):
            self._mend()
        elif self.state.is_paused and (chance < 0.5 or not self.running):
            self.held_failure = None
            self.tell(ResumeRequested())
        elif not self.state.is_paused and chance < 0.4:
            self.tell(PauseRequested())
        elif self.running:
            node = self.rng.choice(self.running)
            run = self.state.running[node]
            if self.rng.random() < 0.4 and run.attempt == 1 and len(self.broken) < 2:
                self.broken.append(node)
                self.held_failure = node if self.state.is_paused else None
                self.tell(NodeRaised(run, Failure("CODE_ERROR", "scripted", run.node)))
                self.replayed()
            else:
                self.held_failure = None
                self.completions.append(node)
                self.complete(node)

    def _mend(self) -> None:
        node = self.rng.choice(self.broken)
        failed = self.state.nodes[node].status is NodeExecutionStatus.FAILED
        if not failed or node in self.state.ready:
            raise Refused  # Its loop has gone on to another visit of it.
        try:
            if self.rng.random() < 0.3:
                self._give(node)
                return
            self.tell(RetryRequested(self.sketch.names[node], "ann"))
        except InvalidState as refusal:
            is_sure = node == self.held_failure and set(self.sketch.joins) == {"ALL"}
            if is_sure and "turn" not in refusal.message:
                raise AssertionError("nothing has run since") from refusal
            raise Refused from None
        self.seen["paused" if self.state.is_paused else "going on"] += 1
        self.broken.remove(node)
        self.held_failure = None
        self.replayed()
        if self.state.is_paused:
            self.tell(ResumeRequested())
        self.tell(TimerFired(self.state.waiting[node].node_run))

    def _give(self, node: int) -> None:
        """Give the result that the node would have had."""
        name, occurrence = self.sketch.names[node], self.state.nodes[node].occurrence
        refs = self.state.inputs[node]
        inputs = {ref.edge: str(ref.envelope.value_at(ref.port)) for ref in refs}
        value = output_value(name, occurrence, inputs)
        port = self._port(node, NodeRun(name, occurrence))
        self.tell(OutputGiven(name, {port: value} if port != "default" else value, "ann"))
        self.seen["given"] += 1
        self.inputs[node].append(inputs)
        self.outputs[node].append(value)
        self.broken.remove(node)
        self.held_failure = None
        self.completions.append(node)
        self.replayed()

    def replayed(self) -> None:
        """The fold of the log is the live state."""
        self.state.touched.clear()
        again = ExecutionMachine.replay(self.log)
        again.state.touched.clear()
        assert again.state == self.state


class Refused(Exception):
    """The failure cannot be taken back any more."""


def undisturbed(sketch: Sketch, script: Script, completions: list[int]) -> MachineRun:
    """The run in which nothing failed, completed in the same order."""
    found = MachineRun(sketch, script, cap=CAP)
    for node in completions:
        found.complete(node)
    return found


def mended(seed: int) -> Counter[str]:
    """One run, mended to its end if that is allowed, and what was done. Raises AssertionError."""
    rng = random.Random(seed)
    sketch, script = random_sketch(rng, 8, joins_all=seed % 2 == 0)
    found = Mended(sketch, script, rng)
    try:
        is_whole = found.run()
    except Refused:
        return Counter(["refused"])
    if not is_whole or not found.seen:
        return Counter()
    expected = undisturbed(sketch, script, found.completions)
    where = f"{sketch} {script} seed={seed}"
    assert found.outcome() == expected.outcome(), where
    assert found.state.blocks == expected.state.blocks, where
    return found.seen


@pytest.mark.parametrize("chunk", range(4))
def test_a_run_that_was_mended_is_the_run_in_which_nothing_failed(chunk: int) -> None:
    counts: Counter[str] = Counter()
    for seed in range(chunk, DIAGRAMS, 4):
        counts += mended(seed)
    assert min(counts[name] for name in ("paused", "going on", "given", "refused")) > 10


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(4))
def test_many_runs_that_were_mended_are_those_in_which_nothing_failed(chunk: int) -> None:
    for seed in range(DIAGRAMS + chunk, 20 * DIAGRAMS, 4):
        mended(seed)
