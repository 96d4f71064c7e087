"""Whatever people do by hand, and whenever: runs end, and their logs fold to them."""

from __future__ import annotations

import random

import pytest

from dipeo_server.domains.execution.events import BarrierAction, Failure
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.signals import (
    BarrierDecided,
    NodeRaised,
    OutputGiven,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    RunnerRestarted,
    SkipRequested,
    StepRequested,
    TimerFired,
)
from dipeo_server.domains.execution.state import Waiting, WaitKind
from dipeo_server.errors import Rejected
from tests.reference.generate import random_sketch
from tests.reference.machine_run import MachineRun


class Meddled(MachineRun):
    """A run in which people do at random what they may do."""

    def meddle(self, rng: random.Random) -> None:
        name = rng.choice(self.sketch.names)
        answer = {rng.choice(("condtrue", "condfalse")): name} if name[0] == "c" else name
        wishes = (
            RetryRequested(name),
            SkipRequested(name),
            OutputGiven(name, answer),
            PauseRequested(rng.choice(tuple(PauseMode))),
            StepRequested(rng.choice((name, None))),
            RunnerRestarted(),
        )
        before = len(self.log)
        try:
            self.tell(rng.choice(wishes))
        except Rejected:
            assert len(self.log) == before

    def go_on(self, rng: random.Random) -> None:
        waiting = list(self.state.waiting.values())
        if self.state.is_paused:
            self.tell(ResumeRequested())
        elif waiting and rng.random() < 0.5:
            self.end_wait(rng.choice(waiting), rng)
        elif self.running:
            node = rng.choice(self.running)
            if rng.random() < 0.3:
                run = self.state.running[node]
                self.tell(NodeRaised(run, Failure("CODE_ERROR", "broke", run.node)))
            else:
                self.complete(node)

    def end_wait(self, waiting: Waiting, rng: random.Random) -> None:
        if waiting.kind is WaitKind.PERSON:  # After a restart: is it to run again?
            action = rng.choice((BarrierAction.APPROVE, BarrierAction.REJECT))
            self.tell(BarrierDecided(waiting.node_run.barrier, action))
        else:
            self.tell(TimerFired(waiting.node_run))


RUNS = 1_500


def meddled(seed: int) -> None:
    """One run to its end. Raises AssertionError."""
    rng = random.Random(seed)
    sketch, script = random_sketch(rng, 7, joins_all=seed % 2 == 0)
    run = Meddled(sketch, script, cap=4)
    for _ in range(300):
        if run.state.status.is_terminal:
            break
        run.meddle(rng) if rng.random() < 0.4 else run.go_on(rng)
    where = f"{sketch} seed={seed}"
    assert run.state.status.is_terminal, where
    assert run.state.error is None or run.state.error.code != "STALLED", where
    assert not run.machine.outstanding(), where
    run.state.touched.clear()
    again = ExecutionMachine.replay(run.log)
    again.state.touched.clear()
    assert again.state == run.state, where


def test_whatever_people_do_a_run_ends_and_its_log_folds_to_it() -> None:
    for seed in range(RUNS):
        meddled(seed)


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_however_often_people_do_it() -> None:
    for seed in range(RUNS, 20 * RUNS):
        meddled(seed)
