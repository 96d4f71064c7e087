"""A state as JSON: what is restored is what was live, after every event of any run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.blobs import BlobRef
from dipeo_server.domains.execution.difference import apply, delta
from dipeo_server.domains.execution.events import NodeCompleted
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.shapes import Shapes
from dipeo_server.domains.execution.snapshot import (
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


def untouched(state: ExecutionState) -> ExecutionState:
    """The state but for what only its runner has to know."""
    state.touched.clear()
    return state


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
    document = snapshot(ended("x").state)
    whole, content_hash = to_bytes(document), hash_of(document)
    assert document_of([whole], content_hash) == document
    with pytest.raises(DamagedCheckpoint):
        document_of([whole.replace(b'"x"', b'"y"')], content_hash)
    with pytest.raises(DamagedCheckpoint):
        document_of([whole[:-1]], content_hash)
    with pytest.raises(DamagedCheckpoint):
        document_of([], content_hash)


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
