"""Whatever is changed in the graph of a run, and whenever: it ends, and its log folds to it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.mutations import (
    DeleteEdge,
    DeleteNode,
    GraphMutation,
    UpsertEdge,
    UpsertNode,
    apply_mutations,
)
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.execution.events import (
    BarrierAction,
    DiagramMutated,
    ErrorStrategy,
    Failure,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.machine.mutating import impact
from dipeo_server.domains.execution.output import create_node_output
from dipeo_server.domains.execution.signals import (
    BarrierDecided,
    GraphMutationRequested,
    NodeRaised,
    NodeReturned,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    RunnerRestarted,
    Signal,
    SkipRequested,
    StartRequested,
    StepRequested,
    TimerFired,
)
from dipeo_server.domains.execution.state import ExecutionState, WaitKind
from dipeo_server.errors import Rejected
from tests.reference.generate import random_sketch
from tests.reference.machine_run import NOON, SPECS, executable


class Changed:
    """A run in which somebody changes the graph; nodes do the same in every order."""

    def __init__(self, diagram: ExecutableDiagram, seed: int) -> None:
        self.seed = seed
        self.machine = ExecutionMachine()
        self.log: list[Recorded] = []
        self.refusals: list[str] = []
        wish = StartRequested(ExecutionID("x"), diagram, error_strategy=ErrorStrategy.COLLECT)
        self.tell(wish)

    @property
    def state(self) -> ExecutionState:
        return self.machine.state

    def tell(self, signal: Signal) -> None:
        self.log.extend(self.machine.receive(signal, now=NOON))

    def wish(self, signal: Signal) -> bool:
        """Tell it what may be refused, and then changes nothing."""
        before = len(self.log)
        try:
            self.tell(signal)
        except Rejected as refusal:
            assert len(self.log) == before
            self.refusals.append(refusal.message)
            return False
        return True

    def end(self, index: int, *, is_failing: bool = False) -> None:
        run = self.state.running[index]
        node = self.state.diagram.nodes[index]
        if is_failing:
            self.tell(NodeRaised(run, Failure("CODE_ERROR", "broke", run.node)))
            return
        port = "default"
        if node.type == "condition":
            answer = random.Random(f"{self.seed} {run.node} {run.occurrence}").random() < 0.5
            port = "condtrue" if answer else "condfalse"
        inputs = sorted(
            (self.state.diagram.edges[ref.edge].key, str(ref.envelope.value_at(ref.port)))
            for ref in self.state.inputs[index]
        )
        value = f"{run.node}#{run.occurrence}{len(repr(inputs))}"
        self.tell(NodeReturned(run, create_node_output({port: value})))

    def change(self, *mutations: GraphMutation) -> bool:
        new = apply_mutations(self.state.diagram, mutations, SPECS).executable
        return self.wish(GraphMutationRequested(new, self.state.revision))

    def check(self, where: str) -> None:
        """What always holds."""
        again = ExecutionMachine.replay(self.log)
        again.state.touched.clear()
        live = replace(self.state, touched=set())
        assert again.state == live, where
        state = self.state
        indexes = {*state.running, *state.waiting, *state.ready}
        assert all(index < len(state.nodes) for index in indexes), where
        assert not (set(state.running) & set(state.ready)), where
        for index, run in state.running.items():
            assert state.diagram.nodes[index].key == run.node, where


def random_mutation(rng: random.Random, diagram: ExecutableDiagram) -> GraphMutation:
    keys = [node.key for node in diagram.nodes]
    kind = rng.random()
    if kind < 0.2 and len(keys) > 2:
        return DeleteNode(rng.choice(keys[1:] or ["n"]))
    if kind < 0.4 and diagram.edges:
        return DeleteEdge(rng.choice(diagram.edges).key)
    if kind < 0.65:
        type_ = rng.choice(("plain", "plain", "condition", "endpoint"))
        key = rng.choice((f"n{rng.randrange(4)}", rng.choice(keys[1:] or ["n"])))
        props: dict[str, Any] = {"max_iteration": rng.randint(1, 4)}
        if rng.random() < 0.2:
            props["join"] = "any"
        return UpsertNode({"key": key, "type": type_, "props": props})
    source = rng.choice([node for node in diagram.nodes if node.type != "endpoint"])
    port = rng.choice(source.ports)
    target = rng.choice(keys[1:] or keys)
    return UpsertEdge({"source": source.key, "target": target, "source_handle": port})


def mutations_for(rng: random.Random, diagram: ExecutableDiagram) -> Sequence[GraphMutation]:
    chosen = [random_mutation(rng, diagram) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.5:
        new = f"m{rng.randrange(5)}"
        source = rng.choice([node for node in diagram.nodes if node.type != "endpoint"])
        chosen.append(UpsertNode({"key": new, "type": "plain", "props": {"max_iteration": 3}}))
        handle = rng.choice(source.ports)
        chosen.append(UpsertEdge({"source": source.key, "target": new, "source_handle": handle}))
        if rng.random() < 0.6:
            target = rng.choice(diagram.nodes[1:] or diagram.nodes).key
            chosen.append(UpsertEdge({"source": new, "target": target}))
    return chosen


def changed_at_random(run: Changed, rng: random.Random, where: str) -> None:
    state = run.state
    try:
        mutations = mutations_for(rng, state.diagram)
        new = apply_mutations(state.diagram, mutations, SPECS).executable
    except DiagramInvalid:
        return
    found = impact(state, new)
    listed = [*found.kept, *found.rerun, *found.unreachable]
    assert sorted(listed) == sorted(node.key for node in new.nodes), where
    is_done = run.wish(GraphMutationRequested(new, state.revision))
    if state.ending is None and not state.status.is_terminal:
        assert is_done is not bool(found.problems) or new == state.diagram, where


def meddle(run: Changed, rng: random.Random) -> None:
    name = rng.choice(run.state.diagram.nodes).key
    run.wish(
        rng.choice(
            (
                RetryRequested(name),
                SkipRequested(name),
                PauseRequested(rng.choice(tuple(PauseMode))),
                StepRequested(None),
                RunnerRestarted(),
            )
        )
    )


def go_on(run: Changed, rng: random.Random) -> None:
    waiting = list(run.state.waiting.values())
    if run.state.is_paused and (not run.state.running or rng.random() < 0.5):
        run.tell(ResumeRequested())
    elif waiting and rng.random() < 0.5:
        chosen = rng.choice(waiting)
        if chosen.kind is WaitKind.PERSON:  # After a restart: is it to run again?
            run.tell(BarrierDecided(chosen.node_run.barrier, BarrierAction.APPROVE))
        else:
            run.tell(TimerFired(chosen.node_run))
    elif run.state.running:
        run.end(rng.choice(sorted(run.state.running)), is_failing=rng.random() < 0.1)


RUNS = 250


def changing(seed: int) -> Changed:
    """One run to its end. Raises AssertionError."""
    rng = random.Random(seed)
    sketch, _ = random_sketch(rng, 8, joins_all=seed % 2 == 0)
    run = Changed(executable(sketch, cap=4), seed)
    where = f"{sketch} seed={seed}"
    for step in range(200):
        if run.state.status.is_terminal:
            break
        chance = rng.random()
        if chance < 0.4 and step < 60:
            changed_at_random(run, rng, where)
        elif chance < 0.5 and step < 60:
            meddle(run, rng)
        else:
            go_on(run, rng)
        run.check(where)
    assert run.state.status.is_terminal, where
    assert run.state.error is None or run.state.error.code != "STALLED", where
    return run


def test_whatever_is_changed_a_run_ends_and_its_log_folds_to_it() -> None:
    changes = 0
    for seed in range(RUNS):
        run = changing(seed)
        changes += sum(isinstance(each.event, DiagramMutated) for each in run.log)
        visits = [each.event.node_run for each in run.log if isinstance(each.event, NodeStarted)]
        assert len(set(visits)) == len(visits), seed
    assert changes > RUNS / 2


def test_what_no_path_from_the_change_leads_to_is_as_without_it() -> None:
    changes = 0
    for seed in range(RUNS):
        changes += unaffected(seed)
    assert changes > RUNS / 4


def unaffected(seed: int) -> bool:
    """One run with a change, and one without; tells whether there was one."""
    rng = random.Random(seed)
    sketch, _ = random_sketch(rng, 8, joins_all=True)
    plain, changed = (Changed(executable(sketch, cap=4), seed) for _ in range(2))
    where = f"{sketch} seed={seed}"
    for _ in range(rng.randint(0, 3)):
        go_on_well(changed, rng)
    before = changed.state.diagram
    for _ in range(5):
        if changed.state.diagram is before:
            changed_at_random(changed, rng, where)
    for run in (plain, changed):
        while not run.state.status.is_terminal:
            go_on_well(run, rng)
    touched = affected(before, changed.state.diagram)
    for node in plain.state.diagram.nodes:
        if node.key not in touched:
            assert standing(plain, node.key) == standing(changed, node.key), (where, node.key)
    return before is not changed.state.diagram


def go_on_well(run: Changed, rng: random.Random) -> None:
    if run.state.running:
        run.end(rng.choice(sorted(run.state.running)))


def standing(run: Changed, key: str) -> tuple[Any, ...]:
    state = run.state.node_state(key)
    output = None if state.output is None else state.output.body
    refs = run.state.inputs.get(run.state.diagram.index_of[key], ())
    inputs = sorted((ref.envelope.produced_by, ref.envelope.occurrence, ref.port) for ref in refs)
    return state.status, state.occurrence, state.skip_reason, output, inputs


def affected(old: ExecutableDiagram, new: ExecutableDiagram) -> set[str]:
    """What differs, and everything that a path leads to from there."""
    found = {key for key in (*old.index_of, *new.index_of) if form(old, key) != form(new, key)}
    size = 0
    while len(found) > size:
        size = len(found)
        for diagram in (old, new):
            for edge in diagram.edges:
                if diagram.nodes[edge.source].key in found:
                    found.add(diagram.nodes[edge.target].key)
    return found


def form(diagram: ExecutableDiagram, key: str) -> tuple[Any, ...] | None:
    """A node with the edges into it."""
    index = diagram.index_of.get(key)
    if index is None:
        return None
    node = diagram.nodes[index]
    edges = {
        (edge.key, diagram.nodes[edge.source].key, edge.source_handle)
        for edge in diagram.edges
        if edge.target == index
    }
    return node.type, node.props, edges


def test_a_change_that_changes_nothing_is_no_event() -> None:
    sketch, _ = random_sketch(random.Random(4), 7, joins_all=True)
    run = Changed(executable(sketch, cap=4), 4)
    before = len(run.log)
    node = run.state.diagram.nodes[1]
    assert run.change(UpsertNode({"key": node.key, "type": node.type, "props": node.props}))
    assert len(run.log) == before
    assert run.state.revision == 0


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_however_often_it_is_changed() -> None:
    for seed in range(RUNS, 20 * RUNS):
        changing(seed)
