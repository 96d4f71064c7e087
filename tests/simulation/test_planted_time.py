"""Faults planted in logs of forks and of changed graphs, each of which some oracle must name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Any

from dipeo_server.domains.execution.events import (
    DiagramMutated,
    Durability,
    Event,
    ExecutionForked,
    NodeStarted,
    Recorded,
    StateChanged,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from tests.simulation.oracles import ForkMade
from tests.simulation.scenario import scenario
from tests.simulation.time_oracles import graphs, overrides, restored, shared
from tests.simulation.travelling import travelled
from tests.simulation.world import World

SEEDS_MAX = 60

Log = list[Recorded]


@cache
def worlds() -> list[World]:
    """Lives of runs that are forked and whose graphs change, as many as it takes."""
    found: list[World] = []
    while len(found) < SEEDS_MAX and not (any(changed(found)) and any(forked(found))):
        world = World(travelled(scenario(len(found), Durability.ADAPTIVE)))
        world.run()
        found.append(world)
    return found


def changed(lived: list[World]) -> Iterable[Log]:
    """The logs of runs that went on with another graph."""
    for world in lived:
        for log in world.disk.logs.values():
            kinds = [type(each.event) for each in log]
            if DiagramMutated in kinds and NodeStarted in kinds[kinds.index(DiagramMutated) :]:
                yield log


def forked(lived: list[World]) -> Iterable[tuple[World, ExecutionID, ForkMade]]:
    """Forks that began with variables of their own."""
    for world in lived:
        for execution_id, made in world.witness.forks.items():
            if made.request.variables:
                yield world, execution_id, made


def told(log: Log, kind: type, change: Callable[[Any], Event]) -> Log:
    """The log with the last event of that kind told otherwise."""
    place = max(place for place, each in enumerate(log) if isinstance(each.event, kind))
    event = change(log[place].event)
    return [*log[:place], replace(log[place], event=event), *log[place + 1 :]]


def test_a_revision_that_is_left_out_is_noticed() -> None:
    log = next(iter(changed(worlds())))
    assert list(graphs(log)) == []
    assert list(graphs(told(log, DiagramMutated, lambda e: replace(e, revision_number=9))))


def test_a_node_that_is_not_in_the_graph_is_noticed() -> None:
    log = next(iter(changed(worlds())))
    assert list(graphs(told(log, NodeStarted, lambda _: NodeStarted(NodeRun("nobody", 1)))))


def test_an_origin_that_has_changed_is_noticed() -> None:
    world, execution_id, made = next(iter(forked(worlds())))
    logs, log = dict(world.disk.logs), world.disk.logs[execution_id]
    assert list(shared(log, logs)) == []
    logs[made.request.origin] = logs[made.request.origin][1:]
    assert list(shared(log, logs))


def test_a_fork_that_does_not_differ_as_it_was_to_is_noticed() -> None:
    world, execution_id, made = next(iter(forked(worlds())))
    log = world.disk.logs[execution_id]
    assert list(overrides(log, made.request)) == []
    at = made.request.at
    place = next(n for n in range(at, len(log)) if isinstance(log[n].event, StateChanged))
    assert list(overrides([*log[:place], *log[place + 1 :]], made.request))
    assert isinstance(log[at].event, ExecutionForked)


def test_a_state_that_is_not_that_of_the_log_is_noticed() -> None:
    world, execution_id, _ = next(iter(forked(worlds())))
    log = world.disk.logs[execution_id]

    def found(among: Log) -> list[str]:
        store = world.disk.store
        return list(asyncio.run(restored(store, execution_id, among, [None], 3)))

    assert found(log) == []
    assert found(told(log, ExecutionForked, lambda e: replace(e, actor="somebody else")))
