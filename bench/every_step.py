"""What a checkpoint at every step costs as diagrams grow: `python -m bench.every_step SIZES…`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from dipeo_server.domains.diagram.compile import assemble
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.execution.checkpoint import CheckpointPolicy, CheckpointTrigger
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import create_node_output
from dipeo_server.domains.execution.signals import NodeReturned, StartRequested
from dipeo_server.node_types import built_in_node_types

SIZES: Final = (100, 400, 1_600)
STEPS: Final = 100
NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Steps:
    """Microseconds of the processor for a step in the middle of a chain, without and with one."""

    nodes: int
    plain: float
    kept: float
    bytes_each: float

    @property
    def extra(self) -> float:
        """What the checkpoint of a step costs."""
        return self.kept - self.plain


def chain(count: int) -> ExecutableDiagram:
    """So many nodes, one behind the other."""
    keys = [f"node {number}" for number in range(count)]
    types = ["start", *("transform" for _ in keys[1:])]
    nodes: tuple[DomainNode[Any], ...] = tuple(
        DomainNode(key, key, type_, key, {}) for key, type_ in zip(keys, types, strict=True)
    )
    edges = tuple(
        DomainEdge(f"arrow {number}", keys[number - 1], keys[number]) for number in range(1, count)
    )
    return assemble(DomainDiagram(nodes, edges), built_in_node_types().specs)[0]


def measure(count: int) -> Steps:
    """The steps in the middle of a chain of so many nodes."""
    diagram = chain(count)
    plain, _ = _walked(diagram, ())
    kept, size = _walked(diagram, (CheckpointTrigger.EVERY_STEP,))
    return Steps(count, plain, kept, size)


def _walked(diagram: ExecutableDiagram, policy: CheckpointPolicy) -> tuple[float, float]:
    """Microseconds of the processor, and bytes, a step."""
    count = len(diagram.nodes)
    machine = ExecutionMachine()
    machine.receive(StartRequested(ExecutionID("x"), diagram, checkpoints=policy), now=NOON)
    first = max(0, count // 2 - STEPS // 2)
    begin, size = 0.0, 0
    for step in range(min(count, first + STEPS)):
        if step == first:
            machine.taken()
            begin = time.process_time()
        (run,) = machine.state.running.values()
        machine.receive(NodeReturned(run, create_node_output({"default": step})), now=NOON)
        if step >= first:
            size += sum(len(each.payload) for each in machine.taken())
    steps = min(count, first + STEPS) - first
    return (time.process_time() - begin) / steps * 1e6, size / steps


if __name__ == "__main__":
    first: Steps | None = None
    for argument in sys.argv[1:] or map(str, SIZES):
        found = measure(int(argument))
        first = first or found
        sys.stdout.write(
            f"{found.nodes:>6,} nodes: {found.plain:,.0f} µs a step, with a checkpoint "
            f"{found.kept:,.0f} µs ({found.bytes_each:,.0f} bytes): the checkpoint costs "
            f"{found.extra / first.extra:.1f} times that of {first.nodes:,} nodes\n"
        )
