"""What a checkpoint saves when a long log is loaded: `python -m bench.checkpoints EVENTS`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dipeo_server.domains.diagram.compile import assemble
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import create_node_output
from dipeo_server.domains.execution.signals import (
    CheckpointRequested,
    NodeReturned,
    StartRequested,
)
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.node_types import built_in_node_types
from dipeo_server.runtime.loading import load
from dipeo_server.storage.sqlite import SQLiteStore

EVENTS: Final = 100_000
NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN: Final = ExecutionID("exec_0_long")


@dataclass(frozen=True, slots=True)
class Loading:
    """Seconds to load a log of so many events, without a checkpoint and with one at its end."""

    events: int
    folded: float
    restored: float

    @property
    def ratio(self) -> float:
        """How many times faster it is with one."""
        return self.folded / self.restored


def machine_of(events: int) -> tuple[ExecutionMachine, list[Recorded]]:
    """A loop that has turned until its log was so long; it has not ended."""
    cap = {"max_iteration": events}
    kinds = {
        "start": ("start", {}),
        "work": ("code_job", {"code": "result = 1", **cap}),
        "again": ("condition", {"expression": "True", **cap}),
        "end": ("endpoint", {}),
    }
    nodes = tuple(DomainNode(key, key, type_, key, props) for key, (type_, props) in kinds.items())
    links = (
        ("start", "work", "default"),
        ("work", "again", "default"),
        ("again", "work", "condfalse"),
        ("again", "end", "condtrue"),
    )
    edges = tuple(
        DomainEdge(f"arrow_{number}", source, target, port)
        for number, (source, target, port) in enumerate(links)
    )
    diagram = assemble(DomainDiagram(nodes, edges), built_in_node_types().specs)[0]
    machine = ExecutionMachine()
    log = list(machine.receive(StartRequested(RUN, diagram, max_steps=events), now=NOON))
    while len(log) < events:
        (run,) = machine.state.running.values()
        port = "condfalse" if run.node == "again" else "default"
        returned = NodeReturned(run, create_node_output({port: f"turn {run.occurrence}"}))
        log += machine.receive(returned, now=NOON)
    log += machine.receive(CheckpointRequested(), now=NOON)
    return machine, log


async def measure(events: int) -> Loading:
    """Load it both ways, from a store in a new file."""
    with tempfile.TemporaryDirectory() as folder:
        store = await SQLiteStore.open(Path(folder) / "store.db")
        try:
            machine, log = machine_of(events)
            row = summary_of(machine.state)
            kept = machine.taken()
            await store.append(RUN, log, after=Seq(0), summary=row, checkpoints=kept)
            restored = await _seconds(store)
            await store.checkpoints.prune(RUN)
            return Loading(len(log), await _seconds(store), restored)
        finally:
            await store.close()


async def _seconds(store: SQLiteStore) -> float:
    begin = time.perf_counter()
    await load(store, RUN)
    return time.perf_counter() - begin


if __name__ == "__main__":
    found = asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS))
    sys.stdout.write(
        f"{found.events:,} events: folded in {found.folded:.2f} s, with a checkpoint in "
        f"{found.restored:.3f} s, {found.ratio:.0f} times faster\n"
    )
