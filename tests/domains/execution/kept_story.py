"""Runs in which everything happens that can happen to a state, at random."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from dipeo_server.domains.diagram.mutations import apply_mutations
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.execution.delta import StateDelta
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BranchCompleted,
    ParallelCompleted,
    ParallelStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.machine.forking import forkable_until, undone
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import WaitForPerson, WaitUntil, create_node_output
from dipeo_server.domains.execution.signals import (
    BarrierDecided,
    BranchTold,
    DecisionMade,
    ForkRequested,
    GraphMutationRequested,
    NodeReturned,
    OutputGiven,
    PauseRequested,
    RetryRequested,
    RunnerRestarted,
    Signal,
    SkipRequested,
    StepRequested,
)
from dipeo_server.errors import Rejected
from tests.domains.execution.machine.test_changing_graphs import Changed, go_on, mutations_for
from tests.reference.generate import random_sketch
from tests.reference.machine_run import NOON, SPECS, executable

KINDS = {**SPECS, "barrier": replace(SPECS["plain"], type="barrier")}

STEPS = 60
DECISIONS = (BarrierAction.APPROVE, BarrierAction.REJECT, BarrierAction.SKIP)


class Lived(Changed):
    """A run that is changed, forked, steered and asked about; its nodes do what nodes may do."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        sketch, _ = random_sketch(self.rng, 7, joins_all=seed % 2 == 0)
        diagram = executable(sketch, cap=4)
        nodes = (
            replace(node, type="barrier") if node.type == "plain" and node.index % 2 else node
            for node in diagram.nodes
        )
        super().__init__(replace(diagram, nodes=tuple(nodes)), seed)
        self.forks = 0

    def live(self) -> list[Recorded]:
        """Its log, whether or not it has ended; some of its results are large."""
        deeds = (self._changes, self._forks, self._people, self._people, self._nodes, self._nodes)
        for _ in range(STEPS):
            if self.state.status.is_terminal:
                break
            if self.rng.random() < 0.5:
                self.rng.choice(deeds)()
            else:
                go_on(self, self.rng)
        return [_enlarged(each, self.rng) for each in self.log]

    def _changes(self) -> None:
        try:
            wanted = mutations_for(self.rng, self.state.diagram)
            new = apply_mutations(self.state.diagram, wanted, KINDS).executable
        except DiagramInvalid:
            return
        self.wish(GraphMutationRequested(new, self.state.revision))

    def _forks(self) -> None:
        at = self.rng.randint(1, len(self.log))
        log = self.log[:at]
        if self.forks == 2 or forkable_until(log) != at:
            return
        name = self._name()
        wish = ForkRequested(
            ExecutionID(f"fork{self.forks}"),
            self.state.id,
            log[-1].event,
            undone(log),
            variables={"k": "of the fork"} if self.rng.random() < 0.5 else {},
            outputs={name: self._value(name)} if self.rng.random() < 0.3 else {},
        )
        machine = ExecutionMachine.replay(log)
        try:
            begun = machine.receive(wish, now=NOON)
        except Rejected:
            return
        self.forks += 1
        self.machine, self.log = machine, [*log, *begun]

    def _people(self) -> None:
        name = self._name()
        action = self.rng.choice(DECISIONS)
        wishes: tuple[Signal, ...] = (
            RetryRequested(name),
            SkipRequested(name),
            OutputGiven(name, self._value(name)),
            PauseRequested(self.rng.choice(tuple(PauseMode))),
            StepRequested(self.rng.choice((name, None))),
            *(
                DecisionMade(node.key, self.rng.choice((None, 1, 2)), action)
                for node in self.state.diagram.nodes
                if node.type == "barrier"
            ),
            RunnerRestarted(),
            *(BarrierDecided(waits.node_run.barrier, action) for waits in self._waiting()),
        )
        self.wish(self.rng.choice(wishes))

    def _nodes(self) -> None:
        if not self.state.running:
            return
        run = self.state.running[self.rng.choice(sorted(self.state.running))]
        results: tuple[Signal, ...] = (
            NodeReturned(run, WaitForPerson("approval", f"{run.node}?", variable=run.node)),
            NodeReturned(run, WaitForPerson("answer", "?", timeout=9.0)),
            NodeReturned(run, WaitUntil(5.0, create_node_output({"default": "later"}))),
            *self._group(run),
        )
        self.wish(self.rng.choice(results))

    def tell(self, signal: Signal) -> None:
        """What nodes give changes variables, too, and who approves a question answers it."""
        if isinstance(signal, BarrierDecided):
            record = self.state.barriers.get(signal.barrier)
            is_answer = record is not None and record.purpose == "answer"
            if is_answer and signal.action is BarrierAction.APPROVE:
                signal = replace(signal, answer="because")
        if isinstance(signal, NodeReturned) and self.rng.random() < 0.4:
            value = self.rng.choice((1, 1.0, True, "text", {"a": [1]}, [1, 2]))
            deletes = ("gone",) if self.rng.random() < 0.2 else ()
            delta = StateDelta({self.rng.choice(("k", "m", "gone")): value}, deletes)
            signal = replace(signal, deltas=(delta,))
        super().tell(signal)

    def _group(self, run: NodeRun) -> tuple[Signal, ...]:
        return (
            BranchTold(run, ParallelStarted(run, ("left", "right"))),
            BranchTold(run, BranchCompleted(run, "left", 1.5)),
            BranchTold(run, ParallelCompleted(run, 2.5)),
        )

    def _waiting(self) -> Any:
        return self.state.waiting.values()

    def _name(self) -> str:
        return self.rng.choice(self.state.diagram.nodes).key

    def _value(self, name: str) -> Any:
        node = self.state.diagram.get_node(name)
        return {self.rng.choice(node.ports): name} if node.branches else name


def _enlarged(recorded: Recorded, rng: random.Random) -> Recorded:
    event: Any = recorded.event
    if getattr(event, "output", None) is None or rng.random() < 0.5:
        return recorded
    size = rng.choice((10, 900, 1_100, 5_000))
    output = replace(event.output, body={"text": "ü" * size, "was": event.output.body})
    return replace(recorded, event=replace(event, output=output))
