"""What a base and the differences since make up is what was live, after every event of any run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from dipeo_server.domains.execution.events import (
    BarrierResolved,
    BarrierWaiting,
    DiagramMutated,
    EarlyDecisionChanged,
    ExecutionForked,
    ExecutionStarted,
    NodeOutputSet,
    NodeReported,
    ParallelStarted,
    Recorded,
    StateChanged,
)
from dipeo_server.domains.execution.machine.evolve import begin, evolve
from dipeo_server.domains.execution.snapshot import (
    Document,
    Snapshots,
    difference,
    document_of,
    hash_of,
    places,
    restored,
    snapshot,
    to_bytes,
)
from dipeo_server.domains.execution.state import ExecutionState
from tests.domains.execution.kept_story import Lived
from tests.histories.folding import LOGS, read

RUNS = 60
DELTAS = 20
HISTORIES = sorted(file.stem for file in LOGS.glob("*.jsonl"))


def hold(log: Sequence[Recorded], where: str, *, share: float = 1.0) -> None:
    """Write a run behind its events, or some of them, and restore it from that. Raises."""
    rng = random.Random(where)
    live = begin(log[0])
    diagram = live.diagram
    written, parts, last = Snapshots(), list[bytes](), Document()
    for count, recorded in enumerate(log, 1):
        if count > 1:
            evolve(live, recorded)
        if isinstance(recorded.event, DiagramMutated):
            diagram = recorded.event.diagram
        if rng.random() >= share:
            continue
        change, fresh = written.take(live), snapshot(live)
        is_base = not parts or len(parts) > DELTAS
        parts = [to_bytes(written.document)] if is_base else [*parts, to_bytes(change)]
        place = f"{where} event={count}"
        assert written.content_hash == hash_of(fresh), place
        found = document_of(parts, written.content_hash)
        again = untouched(restored(found, diagram, bodies_of(log, found)))
        assert again == untouched(live), place
        assert to_bytes(snapshot(again)) == to_bytes(fresh), place
        if last and rng.random() < 0.2:
            whole = document_of([to_bytes(last), to_bytes(difference(last, fresh))], hash_of(fresh))
            assert untouched(restored(whole, diagram, bodies_of(log, found))) == again, place
        if rng.random() < 0.05:
            goes_on_alike(again, log, count, place)
        last = fresh


def goes_on_alike(again: ExecutionState, log: Sequence[Recorded], count: int, where: str) -> None:
    """What follows makes the same of what was restored."""
    behind = begin(log[0])
    for each in log[1 : count + 30]:
        evolve(behind, each)
    for each in log[count : count + 30]:
        evolve(again, each)
    assert untouched(again) == untouched(behind), where


def bodies_of(log: Sequence[Recorded], document: Document) -> dict[int, Any]:
    """What is missing in a document."""
    events: list[Any] = [recorded.event for recorded in log]
    return {seq: events[seq - 1].output.body for seq in places(document)}


def untouched(state: ExecutionState) -> ExecutionState:
    """The state but for what only its runner has to know."""
    state.touched.clear()
    return state


def share_of(seed: int) -> float:
    """At every event, or at one of three: then more lies between two."""
    return 1.0 if seed % 2 else 0.3


def test_restored_is_what_was_live_behind_every_event_of_random_runs() -> None:
    """004-48, 004-W11: a base and its differences are the state at each of its steps.

    The graph is changed and results are given, runs are forked and asked about, decided ahead of
    time and run in branches.
    """
    told: Counter[type] = Counter()
    for seed in range(RUNS):
        log = Lived(seed).live()
        told.update({type(recorded.event) for recorded in log})
        hold(log, f"seed={seed}", share=share_of(seed))
    for kind in (
        DiagramMutated,
        ExecutionForked,
        NodeOutputSet,
        EarlyDecisionChanged,
        BarrierWaiting,
        BarrierResolved,
        ParallelStarted,
        StateChanged,
    ):
        assert told[kind] > RUNS // 20, kind


@pytest.mark.prove
@pytest.mark.timeout(1_800)
def test_restored_is_what_was_live_however_often() -> None:
    for seed in range(RUNS, 2_000 + RUNS):
        hold(Lived(seed).live(), f"seed={seed}", share=share_of(seed))


@pytest.mark.parametrize("name", HISTORIES)
def test_restored_is_what_was_live_in_frozen_runs(name: str) -> None:
    """004-48: sub-diagrams, groups, forks of forks, and whatever else was ever frozen."""
    log = read(LOGS / f"{name}.jsonl")
    assert isinstance(log[0].event, ExecutionStarted)
    hold(log, name)
    hold(log, f"{name} again", share=0.3)


def test_frozen_runs_have_what_only_handlers_tell() -> None:
    kinds = {type(each.event) for name in HISTORIES for each in read(LOGS / f"{name}.jsonl")}
    assert {ParallelStarted, ExecutionForked, NodeReported} <= kinds
