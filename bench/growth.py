"""What a node costs in diagrams of 100, 1,000 and 10,000 nodes: `python -m bench.growth SHAPE`."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.contestants import ours
from bench.measure import child
from bench.shapes import SHAPES, Workload, workload
from dipeo_server.domains.execution.events import Durability
from dipeo_server.domains.execution.registry import HandlerRegistry
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.storage.codec import EventCodec
from dipeo_server.storage.sqlite import SQLiteStore

SIZES: Final = (100, 1_000, 10_000)
NODES_MIN: Final = 2_000
"""Small diagrams run again and again, so that each size is timed over as many nodes."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Microseconds per node by size: running, compiling, starting; and the first event's bytes.

    `run` is from the request to the end and holds `starting`: pure nodes run while the request is
    being committed, so the two cannot be told apart.
    """

    shape: str
    sizes: tuple[int, ...]
    run: tuple[float, ...]
    compiling: tuple[float, ...]
    starting: tuple[float, ...]
    first_event: tuple[int, ...]

    @property
    def ratio(self) -> float:
        """A node of the largest diagram against one of the smallest."""
        return self.run[-1] / self.run[0]


def measure(rounds: int, sizes: tuple[int, ...] = SIZES) -> Iterator[Growth]:
    """Each shape in a process of its own, the best of the rounds. Raises ChildFailed."""
    for shape in SHAPES:
        seen = [
            child(Path(sys.executable), "bench.growth", shape, *sizes)["points"]
            for _ in range(rounds)
        ]
        best = [
            [min(values) for values in zip(*points, strict=True)]
            for points in zip(*seen, strict=True)
        ]
        runs, compiling, starting, first = zip(*best, strict=True)
        yield Growth(shape, sizes, runs, compiling, starting, tuple(map(int, first)))


async def points(shape: str, sizes: Iterable[int]) -> list[tuple[float, float, float, int]]:
    """One point a size, in one process with one store."""
    with tempfile.TemporaryDirectory() as folder:
        store = await SQLiteStore.open(Path(folder) / "store.db")
        types = ours.node_types(is_pure=True)
        async with ours.runner(store, types) as runner:
            await ours.run(runner, ours.compiled(workload(shape, 100), types), Durability.ADAPTIVE)
            return [await _point(runner, workload(shape, size), types) for size in sizes]


async def _point(
    runner: LocalRunner, work: Workload, types: HandlerRegistry
) -> tuple[float, float, float, int]:
    """Per node: microseconds to run, to compile, and until it was accepted; then bytes."""
    began = time.perf_counter()
    diagram = ours.compiled(work, types)
    compiling = time.perf_counter() - began
    times = max(1, NODES_MIN // work.node_runs)
    starting = running = 0.0
    for _ in range(times):
        gc.collect()
        began = time.perf_counter()
        accepted = await runner.start(ours.request(diagram, Durability.ADAPTIVE))
        starting += time.perf_counter() - began
        await ours.end(runner, accepted)
        running += time.perf_counter() - began
    first = (await runner.read_events(accepted.execution_id, after=ours.FIRST, limit=1))[0]
    size = len(EventCodec().encode(first.event))
    scale = 1e6 / work.node_runs
    return running / times * scale, compiling * scale, starting / times * scale, size


if __name__ == "__main__":
    _, shape, *sizes = sys.argv
    print(json.dumps({"points": asyncio.run(points(shape, map(int, sizes)))}))
