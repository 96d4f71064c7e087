"""Runs a sketch on the real machine, and tells what came of it in the reference's own values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from dipeo_server.domains.diagram.compile import assemble
from dipeo_server.domains.diagram.executable import AfterCrash, ExecutableDiagram
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec, Ports
from dipeo_server.domains.execution.events import ErrorStrategy, Failure, ObservedError, Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import create_node_output
from dipeo_server.domains.execution.signals import NodeRaised, NodeReturned, Signal, StartRequested
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import NodeExecutionStatus
from tests.reference.interpreter import Failures, TooManySteps
from tests.reference.outcome import NodeOutcome, Outcome, output_value
from tests.reference.sketch import Script, Sketch

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPECS = {
    "start": NodeSpec("start", NodeProps, Ports(inputs=()), is_pure=True),
    "plain": NodeSpec("plain", NodeProps, after_crash=AfterCrash.RERUN),
    "endpoint": NodeSpec("endpoint", NodeProps),
    "condition": NodeSpec(
        "condition", NodeProps, Ports(outputs=("condtrue", "condfalse")), branches=True
    ),
}
_POLICIES = {"ALL": "all", "ANY": "any", "FIRST": "first"}


def executable(sketch: Sketch, *, cap: int = 100) -> ExecutableDiagram:
    """The sketch as the machine runs it; `cap` limits nodes without a limit of their own."""
    nodes = tuple(
        DomainNode(name, name, sketch.kinds[index], name, _props(sketch, index, cap))
        for index, name in enumerate(sketch.names)
    )
    # A label each: the reference has no input names, so no fresh value hides a sticky one.
    edges = tuple(
        DomainEdge(
            f"arrow_{number}",
            sketch.names[source],
            sketch.names[target],
            port,
            label=f"input_{number}",
        )
        for number, (source, port, target) in enumerate(sketch.edges)
    )
    return assemble(DomainDiagram(nodes, edges), SPECS)[0]


def _props(sketch: Sketch, index: int, cap: int) -> dict[str, Any]:
    join = sketch.joins[index]
    policy = {"join": "k_of_n", "k": join} if isinstance(join, int) else {"join": _POLICIES[join]}
    return {"max_iteration": sketch.limits[index] or cap, **policy}


class MachineRun:
    """One run of a sketch: complete its running nodes in any order, then read the outcome."""

    def __init__(
        self, sketch: Sketch, script: Script, failures: Failures = frozenset(), *, cap: int = 100
    ) -> None:
        self.sketch, self.script, self.failures = sketch, script, failures
        self.machine = ExecutionMachine()
        self.log: list[Recorded] = []
        self.inputs: dict[int, list[dict[int, str]]] = defaultdict(list)
        self.outputs: dict[int, list[str | None]] = defaultdict(list)
        diagram = executable(sketch, cap=cap)
        self.tell(StartRequested(ExecutionID("x"), diagram, error_strategy=ErrorStrategy.COLLECT))

    @property
    def state(self) -> ExecutionState:
        """The machine's state."""
        return self.machine.state

    @property
    def running(self) -> list[int]:
        """Nodes that are being executed, in file order."""
        return sorted(self.state.running)

    def tell(self, signal: Signal) -> None:
        """Let the machine receive a signal, and keep what it records."""
        self.log.extend(self.machine.receive(signal, now=NOON))

    def complete(self, node: int) -> None:
        """End a running node as the scripts say."""
        run = self.state.running[node]
        inputs = {ref.edge: str(ref.envelope.value_at(ref.port)) for ref in self.state.inputs[node]}
        self.inputs[node].append(inputs)
        if (node, run.occurrence) in self.failures:
            self.outputs[node].append(None)
            self.tell(NodeRaised(run, Failure("CODE_ERROR", "scripted", run.node)))
            return
        value = output_value(run.node, run.occurrence, inputs)
        self.outputs[node].append(value)
        self.tell(NodeReturned(run, create_node_output({self._port(node, run): value})))

    def _port(self, node: int, run: NodeRun) -> str:
        if self.sketch.kinds[node] != "condition":
            return "default"
        answers = self.script[node]
        return "condtrue" if answers[min(run.occurrence, len(answers)) - 1] else "condfalse"

    def outcome(self) -> Outcome:
        """What came of it, for comparison."""
        no_progress = any(
            isinstance(recorded.event, ObservedError)
            and recorded.event.failure.code == "NO_PROGRESS"
            for recorded in self.log
        )
        return Outcome(
            nodes=tuple(self._node(index) for index in range(len(self.sketch.kinds))),
            ended="OK" if self.state.status.is_terminal and self.state.is_settled else "HANG",
            no_progress=no_progress,
            failed=bool(self.state.failures),
        )

    def _node(self, index: int) -> NodeOutcome:
        state = self.state.nodes[index]
        status: Any = state.status.value
        skipped = state.status is NodeExecutionStatus.SKIPPED
        reason: Any = state.skip_reason if skipped else None
        return NodeOutcome(
            status=status,
            reason=reason,
            executed=state.executed,
            maxiter=state.occurrence - state.executed,
            inputs=tuple(self.inputs[index]),
            outputs=tuple(self.outputs[index]),
        )


def run_on_machine(
    sketch: Sketch,
    script: Script,
    order: Callable[[list[int]], int],
    failures: Failures = frozenset(),
    *,
    cap: int = 100,
    max_steps: int = 10_000,
) -> MachineRun:
    """The reference's `run`, on the machine."""
    state = MachineRun(sketch, script, failures, cap=cap)
    for _ in range(max_steps):
        if not state.running:
            return state
        state.complete(order(state.running))
    raise TooManySteps(f"{max_steps} completions without an end: {sketch}")
