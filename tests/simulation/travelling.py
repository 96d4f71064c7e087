"""People who go back and change things: they fork runs, change graphs, and see to checkpoints."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableDiagram, ExecutableNode
from dipeo_server.domains.diagram.mutations import (
    DeleteEdge,
    DeleteNode,
    GraphMutation,
    UpsertEdge,
    UpsertNode,
    apply_mutations,
)
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.execution.checkpoint import (
    PRESETS,
    CheckpointPreset,
    CheckpointTrigger,
)
from dipeo_server.domains.execution.events import NodeCompleted, NodeFailed, NodeStarted, Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.machine.forking import forkable_until
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.runner import Accepted, ForkExecution, IdempotencyKey
from dipeo_server.domains.execution.signals import CheckpointRequested, GraphMutationRequested
from dipeo_server.errors import Rejected
from dipeo_server.runtime.local import LocalRunner
from tests.simulation.clients import Outside, RunClient
from tests.simulation.meddling import controlled
from tests.simulation.oracles import ForkMade
from tests.simulation.scenario import CHILD, ITERATIONS_MAX, Meddling, Reader, RunPlan, Scenario

DEPTH_MAX = 2
"""Forks of forks, and no further."""
_POLICIES = (
    (),
    PRESETS[CheckpointPreset.CONSERVATIVE],
    (CheckpointTrigger.EVERY_STEP,),
    (CheckpointTrigger.ADAPTIVE, CheckpointTrigger.EXECUTION_COMPLETED),
)
_NEW = ("pure", "work", "ask", "condition", "barrier", "endpoint")


def travelled(scenario: Scenario) -> Scenario:
    """The same scenario with people who control its runs, fork them, and change their graphs."""
    chance = random.Random(f"time {scenario.seed}")
    plans = [_less_known(chance, plan) for plan in controlled(scenario).runs]
    runs = tuple(
        replace(
            plan,
            meddling=(*plan.meddling, *_journeys(chance, plan, chance.randint(1, 4))),
            checkpoints=chance.choice(_POLICIES),
        )
        for plan in plans
    )
    return replace(scenario, runs=runs)


def _less_known(chance: random.Random, plan: RunPlan) -> RunPlan:
    """Some more of whose end the reference knows nothing, so that their graphs may change.

    Whoever breaks at each of a thousand turns would see no end of it.
    """
    if plan.cap > ITERATIONS_MAX:
        calm = tuple(each for each in plan.meddling if each.kind != "break")
        plan = replace(plan, meddling=calm)
    return plan if chance.random() < 0.5 else replace(plan, is_comparable=False)


def _journeys(chance: random.Random, plan: RunPlan, count: int) -> tuple[Meddling, ...]:
    kinds = ["fork", "fork", "save", "forget"]
    if not plan.is_comparable:  # Nobody knows what becomes of a run whose graph is changed.
        kinds += ["change", "change", "change"]
    return tuple(
        Meddling(chance.choice(kinds), chance.choice((0.0, chance.uniform(0, 3))), chance.random())
        for _ in range(count)
    )


async def travel(outside: Outside, client: RunClient, meddling: Meddling, name: str) -> None:
    """Make one of the journeys."""
    match meddling.kind:
        case "fork":
            await _fork(outside, client, meddling, name)
        case "change":
            await _change(outside, client, meddling, name)
        case "save":
            await client.signal("save", "", CheckpointRequested("ann"), name)
        case _:
            checkpoints = outside.witness.disk.store.checkpoints
            await checkpoints.prune(client.execution_id, keep=int(meddling.luck * 3))


# --- other graphs -------------------------------------------------------------------------------


async def _change(outside: Outside, client: RunClient, meddling: Meddling, name: str) -> None:
    """Make the change of the graph that the run has when it is asked."""
    execution_id, witness = client.execution_id, outside.witness

    async def wish(runner: LocalRunner, key: IdempotencyKey) -> Accepted:
        if known := await runner.answered(key):
            return known
        seen = await runner.view(execution_id)
        assert seen is not None
        chance = random.Random(f"change {meddling.luck}")
        made_from = seen.revision - (chance.random() < 0.05)
        new = changed(chance, seen.diagram, client.plan)
        signal = GraphMutationRequested(new, made_from, actor=name)
        return await runner.signal(execution_id, signal, key)

    answer = await outside.insist("change", name, wish, name)
    if isinstance(answer, Rejected):
        witness.refused.add(name)


def changed(chance: random.Random, diagram: ExecutableDiagram, plan: RunPlan) -> ExecutableDiagram:
    """The graph with a few random changes. Raises DiagramInvalid, now and then."""
    mutations = [_mutation(chance, diagram) for _ in range(chance.randint(0, 2))]
    source = _source(chance, diagram)
    if not mutations or (source is not None and chance.random() < 0.5):
        key = f"m{chance.randrange(4)}"
        mutations.append(_node(chance, key, "pure"))
        if source is not None:
            mutations.append(_edge(chance, source, key))
            targets = [node.key for node in diagram.nodes if not node.is_start]
            if targets and chance.random() < 0.5:
                target = chance.choice(targets)
                mutations.append(UpsertEdge(_fields(chance, key, target, "default")))
    return apply_mutations(diagram, mutations, plan.specs).executable


def _mutation(chance: random.Random, diagram: ExecutableDiagram) -> GraphMutation:
    others = [node.key for node in diagram.nodes if not node.is_start] or ["nobody"]
    kind = chance.random()
    source = _source(chance, diagram)
    if kind < 0.25:
        return DeleteNode(chance.choice((*others, "nobody") if kind < 0.05 else others))
    if kind < 0.4 and diagram.edges:
        return DeleteEdge(chance.choice(diagram.edges).key)
    if kind < 0.65 or source is None:
        if chance.random() < 0.4:
            return _node(chance, f"n{chance.randrange(3)}", chance.choice(_NEW))
        old = chance.choice(diagram.nodes)
        type_ = chance.choice((old.type, old.type, old.type, *_NEW))
        return _node(chance, old.key, type_, old.props)
    return _edge(chance, source, chance.choice(others))


def _source(chance: random.Random, diagram: ExecutableDiagram) -> ExecutableNode | None:
    found = [node for node in diagram.nodes if node.type != "endpoint"]
    return chance.choice(found) if found else None


def _node(
    chance: random.Random, key: str, type_: str, before: Mapping[str, Any] = MappingProxyType({})
) -> UpsertNode:
    """A node with other settings; where it may hang it still has its timeout."""
    props = {**before, "max_iteration": chance.randint(1, 3)}
    if chance.random() < 0.2:
        props["join"] = "any"
    return UpsertNode({"key": key, "type": type_, "props": props})


def _edge(chance: random.Random, source: ExecutableNode, target: str) -> UpsertEdge:
    return UpsertEdge(_fields(chance, source.key, target, chance.choice(source.ports)))


def _fields(chance: random.Random, source: str, target: str, port: str) -> dict[str, Any]:
    label = f"input_{chance.randrange(100, 1_000)}"
    return {"source": source, "target": target, "source_handle": port, "label": label}


# --- forks --------------------------------------------------------------------------------------


async def _fork(outside: Outside, client: RunClient, meddling: Meddling, name: str) -> None:
    """Fork the run from somewhere before, and do for the fork what people do for runs."""
    chance = random.Random(f"fork {meddling.luck}")
    label = f"{client.plan.name}~{name.rpartition(' ')[2]}"
    log = outside.witness.disk.logs[client.execution_id]
    last = forkable_until(log) if chance.random() < 0.9 else len(log)
    at = _place(chance, log[:last])
    request = _request(chance, client, label, ExecutionMachine.replay(log[:at]))

    async def wish(runner: LocalRunner, key: IdempotencyKey) -> Accepted:
        return await runner.fork(request, key)

    answer = await outside.insist("fork", label, wish, f"fork {label}")
    if isinstance(answer, Rejected):
        outside.witness.refused.add(label)
        return
    plan = _plan(chance, client.plan, request, label)
    outside.witness.forks[answer.execution_id] = ForkMade(request, plan)
    _bring_in(outside, plan, answer.execution_id, at)


def _place(chance: random.Random, log: Sequence[Recorded]) -> Seq:
    """Anywhere, now, or where children ran, if they did."""
    how = chance.random()
    found = _with_children(log) if how < 0.3 else [len(log)] if how < 0.5 else []
    return Seq(chance.choice(found or [chance.randint(1, max(1, len(log)))]))


def _with_children(log: Sequence[Recorded]) -> list[int]:
    """Where visits run that have runs of their own."""
    nodes = ExecutionMachine.replay(log).state.diagram.nodes
    children = {node.key for node in nodes if node.type == CHILD}
    found: list[int] = []
    running: set[NodeRun] = set()
    for recorded in log:
        match recorded.event:
            case NodeStarted(node_run=run) if run.node in children:
                running.add(run)
            case NodeCompleted(node_run=run) | NodeFailed(node_run=run):
                running.discard(run)
            case _:
                pass
        if running:
            found.append(recorded.seq)
    return found


def _bring_in(outside: Outside, plan: RunPlan, execution_id: ExecutionID, at: Seq) -> None:
    client = RunClient(outside, plan, at)
    outside.clients.append(client)
    client.begins(execution_id)
    client.errands()
    outside.send_readers(client)


def _request(
    chance: random.Random, client: RunClient, label: str, there: ExecutionMachine
) -> ForkExecution:
    diagram, state = None, there.state
    if not client.plan.is_comparable and chance.random() < 0.3:
        try:
            diagram = changed(chance, state.diagram, client.plan)
        except DiagramInvalid:
            diagram = None
    nodes = state.diagram.nodes
    outputs = {}
    if chance.random() < 0.4:
        chosen = chance.sample(nodes, min(len(nodes), chance.randint(1, 2)))
        outputs = {node.key: _output(chance, node) for node in chosen}
    return ForkExecution(
        client.execution_id,
        state.last_seq,
        {"extra": chance.randrange(100)} if chance.random() < 0.3 else {},
        outputs,
        is_paused=chance.random() < 0.3,
        actor=label,
        diagram=diagram,
    )


def _output(chance: random.Random, node: ExecutableNode) -> Any:
    value = f"given {chance.randrange(100)}"
    return {chance.choice(node.ports): value} if node.branches else value


def _plan(chance: random.Random, plan: RunPlan, request: ForkExecution, label: str) -> RunPlan:
    """What is to become of the fork; without changes it ends as its origin should."""
    is_as_before = plan.is_comparable and not request.outputs and request.diagram is None
    fork = replace(
        plan,
        name=label,
        is_comparable=is_as_before,
        abort_at=chance.uniform(0, 3) if not is_as_before and chance.random() < 0.2 else None,
        readers=(Reader(chance.choice((0.0, 0.1)), chance.choice((0.0, 0.1)), 0.0),),
        meddling=(),
    )
    return replace(fork, meddling=_meddling_with(chance, fork))


def _meddling_with(chance: random.Random, fork: RunPlan) -> tuple[Meddling, ...]:
    if fork.name.count("~") >= DEPTH_MAX:
        return ()
    pauses = [Meddling("pause", chance.uniform(0, 2), chance.random())]
    return (*pauses[: chance.randint(0, 1)], *_journeys(chance, fork, chance.randint(0, 2)))
