"""The enumeration of small diagrams, shared among processes: what to run, and what came of it."""

from __future__ import annotations

import multiprocessing
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from tests.reference.exploring import judge
from tests.reference.lockstep import RULES, Disagreement, Rules
from tests.reference.shapes import Relabelling, Shape, Size, kinds_of, shapes, sketches

SIZES = (Size(1, 2), Size(2, 2), Size(3, 2), Size(4, 1))
BATCH = 4
"""Shapes in one message to a process."""
REPLAY_EVERY = 5
"""Of so many diagrams one has a log folded anew."""

Entry = tuple[Shape, list[Relabelling]]


@dataclass(frozen=True)
class Stratum:
    """The shapes of one size that have the same number of edges."""

    size: Size
    edges: int
    shapes: tuple[Entry, ...]

    def sample(self, quota: int | None, seed: int) -> list[Entry]:
        """So many of them by seeded chance, or all of them."""
        if quota is None or quota >= len(self.shapes):
            return list(self.shapes)
        return random.Random(f"{seed}/{self.size}/{self.edges}").sample(self.shapes, quota)


@dataclass
class Tally:
    """What was counted, for one stratum or for many."""

    shapes: int = 0
    diagrams: int = 0
    scripts: int = 0
    """Scripts in completion orders that the runs stand for."""
    runs: int = 0
    steps: int = 0
    replays: int = 0
    disagreements: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count what another tally has counted, too."""
        self.shapes += other.shapes
        self.diagrams += other.diagrams
        self.scripts += other.scripts
        self.runs += other.runs
        self.steps += other.steps
        self.replays += other.replays
        self.disagreements += other.disagreements


@dataclass(frozen=True)
class Batch:
    """Some shapes of one stratum."""

    size: Size
    edges: int
    shapes: tuple[Entry, ...]


def strata(size: Size) -> list[Stratum]:
    """The shapes of a size, fewest edges first."""
    found: dict[int, list[Entry]] = defaultdict(list)
    for kinds in kinds_of(size):
        for shape, same in shapes(kinds, size.fan):
            found[shape.edge_count].append((shape, same))
    return [Stratum(size, edges, tuple(found[edges])) for edges in sorted(found)]


def check(entries: Sequence[Entry], rules: Rules = RULES, *, stops: bool = False) -> Tally:
    """Compare on every diagram of these shapes; with `stops`, up to the first disagreement."""
    tally = Tally()
    for shape, same in entries:
        tally.shapes += 1
        for sketch in sketches(shape, same):
            tally.diagrams += 1
            replays = rules is RULES and tally.diagrams % REPLAY_EVERY == 1
            tally.replays += replays
            try:
                walks = judge(sketch, rules, replays=replays)
            except Disagreement as error:
                tally.disagreements.append(str(error))
                if stops:
                    return tally
                continue
            tally.scripts += sum(walk.scripts for walk in walks)
            tally.runs += sum(walk.runs for walk in walks)
            tally.steps += sum(walk.steps for walk in walks)
    return tally


def check_batch(batch: Batch) -> tuple[Size, int, Tally]:
    """What a process does with a message."""
    return batch.size, batch.edges, check(batch.shapes)


def run_all(batches: Sequence[Batch], workers: int) -> Iterator[tuple[Size, int, Tally]]:
    """Give the tally of each batch as soon as it is there; which process ran it does not matter."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for done in as_completed([pool.submit(check_batch, batch) for batch in batches]):
            yield done.result()


def batches(stratum: Stratum, entries: Sequence[Entry], size: int = BATCH) -> Iterator[Batch]:
    """Cut what is to be run of a stratum into messages."""
    for start in range(0, len(entries), size):
        yield Batch(stratum.size, stratum.edges, tuple(entries[start : start + size]))
