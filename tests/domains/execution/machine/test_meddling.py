"""Whatever people do by hand, and whenever: runs end, and their logs fold to them."""

from __future__ import annotations

import random

from dipeo_server.domains.execution.events import Failure
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.signals import (
    NodeRaised,
    OutputGiven,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
    TimerFired,
)
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
            PauseRequested(),
        )
        before = len(self.log)
        try:
            self.tell(rng.choice(wishes))
        except Rejected:
            assert len(self.log) == before

    def go_on(self, rng: random.Random) -> None:
        waiting = [each.node_run for each in self.state.waiting.values()]
        if self.state.is_paused:
            self.tell(ResumeRequested())
        elif waiting and rng.random() < 0.5:
            self.tell(TimerFired(rng.choice(waiting)))
        elif self.running:
            node = rng.choice(self.running)
            if rng.random() < 0.3:
                run = self.state.running[node]
                self.tell(NodeRaised(run, Failure("CODE_ERROR", "broke", run.node)))
            else:
                self.complete(node)


def test_whatever_people_do_a_run_ends_and_its_log_folds_to_it() -> None:
    for seed in range(1_500):
        rng = random.Random(seed)
        sketch, script = random_sketch(rng, 7, joins_all=seed % 2 == 0)
        run = Meddled(sketch, script, cap=4)
        for _ in range(300):
            if run.state.status.is_terminal:
                break
            run.meddle(rng) if rng.random() < 0.4 else run.go_on(rng)
        assert run.state.status.is_terminal, f"{sketch} seed={seed}"
        error = run.state.error
        assert error is None or error.code != "STALLED", f"{sketch} seed={seed}"
        assert not run.machine.outstanding()
        run.state.touched.clear()
        again = ExecutionMachine.replay(run.log)
        again.state.touched.clear()
        assert again.state == run.state, f"{sketch} seed={seed}"
