"""The goals, as ratios of what was measured side by side in one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from bench import field
from bench.field import Contestant
from bench.growth import Growth
from bench.measure import Results
from bench.stored import BigStore

GROWTH_MAX: Final = 1.3
MEMORY_KIB_MAX: Final = 60 * 1024


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal: what, how it stands, and what was wanted of it."""

    what: str
    value: float
    wanted: float
    is_limit: bool = False

    @property
    def is_reached(self) -> bool:
        """Is the value at least (of a limit: at most) what was wanted?"""
        return self.value <= self.wanted if self.is_limit else self.value >= self.wanted


PEER_RATIOS: Final[dict[str, float]] = {
    "chain": 4,
    "fan": 20,
    "layered": 20,
    "small": 30,
    "loop": 3,
}
"""STRICT against the best peer that promises as much."""
IDEAL_SHARES: Final[dict[str, float]] = {
    "chain": 0.8,
    "fan": 0.4,
    "layered": 0.4,
    "small": 0.4,
    "loop": 0.4,
}
"""STRICT against the ideal engine."""


def engine_goals(results: Results, names: Iterable[str]) -> Iterator[Goal]:
    """What was wanted of the engine, for each workload that was measured."""
    for name in names:
        strict = (field.STRICT, name)
        adaptive = (field.ADAPTIVE, name)
        memory = (field.MEMORY, name)
        yield from _faster(results, strict, field.STRICT_PEERS, PEER_RATIOS[name])
        yield from _faster(results, strict, (field.IDEAL_STRICT,), IDEAL_SHARES[name])
        yield from _faster(results, adaptive, field.DURABLE_PEERS, 20)
        yield from _faster(results, adaptive, (field.IDEAL_AHEAD,), 0.2)
        yield from _faster(results, memory, (field.LANGGRAPH_BARE,), 8)
        yield from _faster(results, memory, (field.PYDANTIC_GRAPH,), 2)
        yield from _faster(results, memory, (field.HAMILTON,), 1)
        yield from _memory(results, name)


def _faster(
    results: Results, ours: tuple[Contestant, str], others: Iterable[Contestant], wanted: float
) -> Iterator[Goal]:
    """How many times as fast as the best of the others."""
    contestant, name = ours
    own = results.of(contestant, name)
    rivals = [(each, found) for each in others if (found := results.of(each, name))]
    if own is None or not rivals:
        return
    best, figures = min(rivals, key=lambda rival: rival[1].best)
    yield Goal(f"{name}: {contestant.name} / {best.name}", figures.best / own.best, wanted)


def _memory(results: Results, name: str) -> Iterator[Goal]:
    for contestant in field.OURS:
        figures = results.of(contestant, name)
        if figures is not None:
            what = f"{name}: {contestant.name}, peak MiB"
            yield Goal(what, figures.kib / 1024, MEMORY_KIB_MAX / 1024, is_limit=True)


def growth_goals(grown: Iterable[Growth]) -> Iterator[Goal]:
    """The cost of a node in a large diagram, against that in a small one."""
    for growth in grown:
        first, last = growth.sizes[0], growth.sizes[-1]
        what = f"{growth.shape}: a node of {last:,} / of {first:,}"
        yield Goal(what, growth.ratio, GROWTH_MAX, is_limit=True)


def store_goals(stores: BigStore) -> Iterator[Goal]:
    """What a run costs in a full store, against an empty one."""
    for part, ratio in stores.ratios.items():
        yield Goal(f"{part}: {stores.events:,} events / none", ratio, GROWTH_MAX, is_limit=True)
