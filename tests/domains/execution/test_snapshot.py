"""A state as JSON: what is restored is what was live, after every event of any run."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.blobs import BlobRef
from dipeo_server.domains.execution.difference import apply, delta
from dipeo_server.domains.execution.events import ExecutionStarted, NodeCompleted, Recorded
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine.evolve import begin, evolve
from dipeo_server.domains.execution.shapes import Shapes
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
from dipeo_server.errors import DamagedCheckpoint
from tests.builders import Story
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


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_restored_is_what_was_live_however_often() -> None:
    for seed in range(RUNS, 20 * RUNS):
        hold(seed)


# --- bodies ---------------------------------------------------------------------------------------


def ended(value: Any) -> Story:
    """A run whose second node has given that value."""
    story = Story("s -> a -> b")
    story.returns("s")
    story.returns("a", value)
    return story


@pytest.mark.parametrize(
    "value, is_large",
    [
        ("x" * 900, False),
        ("x" * 1_100, True),
        ([1] * 100, False),
        (list(range(1_000)), True),
        ({"a": {"b": ["y" * 2_000]}}, True),
        (7, False),
        (10**4_000, True),
        (None, False),
    ],
)
def test_large_bodies_stay_in_the_log_alone(value: Any, *, is_large: bool) -> None:
    story = ended(value)
    document = snapshot(story.state)
    told = [each.seq for each in story.log if isinstance(each.event, NodeCompleted)]
    assert list(places(document)) == told[1:] * is_large
    bodies = dict.fromkeys(told[1:], value)
    again = restored(document, story.state.diagram, bodies)
    assert untouched(again) == untouched(story.state)


def test_an_envelope_is_written_once_however_many_tokens_carry_it() -> None:
    story = Story("; ".join(["s -> a", *(f"a -> b{number}" for number in range(20))]))
    story.returns("s")
    story.returns("a", "only once")
    assert to_bytes(snapshot(story.state)).count(b"only once") == 1


def test_a_document_that_lacks_its_bodies_is_refused() -> None:
    story = ended("x" * 5_000)
    with pytest.raises(DamagedCheckpoint):
        restored(snapshot(story.state), story.state.diagram, {})


def test_a_document_of_another_format_is_refused() -> None:
    story = ended("x")
    with pytest.raises(DamagedCheckpoint, match="another version"):
        restored({**snapshot(story.state), "format": 0}, story.state.diagram, {})


def test_a_document_that_was_changed_is_refused() -> None:
    whole = to_bytes(snapshot(ended("x").state))
    assert document_of([whole], hash_of(whole))
    with pytest.raises(DamagedCheckpoint):
        document_of([whole.replace(b'"x"', b'"y"')], hash_of(whole))
    with pytest.raises(DamagedCheckpoint):
        document_of([whole[:-1]], hash_of(whole))
    with pytest.raises(DamagedCheckpoint):
        document_of([], hash_of(whole))


# --- differences ----------------------------------------------------------------------------------

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from("ab=-+n"), inner),
    max_leaves=20,
)


@given(plain, st.lists(plain, max_size=4))
def test_a_base_and_its_differences_are_exactly_the_last_value(base: Any, later: list[Any]) -> None:
    """004-48: type by type, order by order."""
    deltas, last = [], base
    for value in later:
        deltas.append(json.loads(json.dumps(delta(last, value))))
        last = value
    assert json.dumps(apply(json.loads(json.dumps(base)), deltas)) == json.dumps(last)


def test_a_difference_is_small_where_little_has_changed() -> None:
    old: dict[str, Any] = {
        "nodes": [{"status": "PENDING"} for _ in range(1_000)],
        "ready": {"1": None, "2": None},
    }
    new = {**old, "nodes": list(old["nodes"]), "ready": {"2": None, "1": None}}
    new["nodes"][700] = {"status": "RUNNING"}
    assert delta(old, new) == {
        "+": {
            "nodes": {"+": {"700": {"+": {"status": {"=": "RUNNING"}}}}},
            "ready": {"-": ["1"], "+": {"1": {"=": None}}},
        }
    }
    assert delta(new, new) == {}


def test_what_is_nested_deep_is_told_as_a_whole() -> None:
    old: Any = 1
    new: Any = 1.0
    for _ in range(300):
        old, new = [old], [new]
    assert json.dumps(apply(old, [delta(old, new)])) == json.dumps(new)
    assert delta(old, [*old]) == {}


def test_types_that_have_no_shape_are_refused() -> None:
    with pytest.raises(TypeError, match="cannot be written"):
        Shapes({}).of(complex)
    with pytest.raises(TypeError, match="does not tell"):
        Shapes({}).of(NodeRun | BlobRef)
