"""A state as JSON: what is restored is what was live, after every event of any run."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from dipeo_server.domains.execution.difference import delta
from dipeo_server.domains.execution.events import ExecutionStarted, Recorded
from dipeo_server.domains.execution.machine.evolve import begin, evolve
from dipeo_server.domains.execution.snapshot import (
    Document,
    document_of,
    hash_of,
    places,
    restored,
    snapshot,
    to_bytes,
)
from dipeo_server.domains.execution.state import ExecutionState
from tests.domains.execution.machine.test_meddling import Meddled
from tests.reference.generate import random_sketch

RUNS = 100
DELTAS = 20


def log_of(seed: int) -> list[Recorded]:
    """The log of a random run that people meddle with; some of its results are large."""
    rng = random.Random(seed)
    sketch, script = random_sketch(rng, 7, joins_all=seed % 2 == 0)
    run = Meddled(sketch, script, cap=4)
    for _ in range(60):
        if run.state.status.is_terminal:
            break
        run.meddle(rng) if rng.random() < 0.4 else run.go_on(rng)
    return [_enlarged(each, rng) for each in run.log]


def _enlarged(recorded: Recorded, rng: random.Random) -> Recorded:
    event: Any = recorded.event
    if getattr(event, "output", None) is None or rng.random() < 0.5:
        return recorded
    size = rng.choice((10, 900, 1_100, 5_000))
    output = replace(event.output, body={"text": "ü" * size, "was": event.output.body})
    return replace(recorded, event=replace(event, output=output))


def bodies_of(log: list[Recorded], document: Document) -> dict[int, Any]:
    """What is missing in a document."""
    events: list[Any] = [recorded.event for recorded in log]
    return {seq: events[seq - 1].output.body for seq in places(document)}


def untouched(state: ExecutionState) -> ExecutionState:
    """The state but for what only its runner has to know."""
    state.touched.clear()
    return state


def hold(seed: int) -> None:
    """Restore one run behind each of its events, from a base and differences. Raises."""
    log = log_of(seed)
    started = log[0].event
    assert isinstance(started, ExecutionStarted)
    live = begin(log[0])
    parts: list[bytes] = []
    last: Document = {}
    for count, recorded in enumerate(log, 1):
        if count > 1:
            evolve(live, recorded)
        document = snapshot(live)
        is_base = (count - 1) % (DELTAS + 1) == 0
        whole = to_bytes(document)
        parts = [whole] if is_base else [*parts, to_bytes(delta(last, document))]
        last = document
        found = document_of(parts, hash_of(whole))
        again = restored(found, started.diagram, bodies_of(log, found))
        assert untouched(again) == untouched(live), f"seed={seed} event={count}"
        assert to_bytes(snapshot(again)) == whole, f"seed={seed} event={count}"
        if count % 7 == 0:
            for following in log[count : count + 40]:
                evolve(again, following)
            behind = begin(log[0])
            for each in log[1 : count + 40]:
                evolve(behind, each)
            assert untouched(again) == untouched(behind), f"seed={seed} behind {count}"


def test_restored_is_what_was_live_behind_every_event_of_random_runs() -> None:
    """004-48, 004-W11: a base and its differences are the state at each of its steps."""
    for seed in range(RUNS):
        hold(seed)
