"""What is written of an event is read back as that event, by this version and by later ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipeo_server.domains.execution.envelope import EnvelopeFactory
from dipeo_server.domains.execution.events import (
    ExecutionStarted,
    Failure,
    NodeCompleted,
    NodeRetryScheduled,
    NodeSkipped,
    NodeStarted,
    StateChanged,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.errors import StorageError
from dipeo_server.storage.codec import KINDS, EventCodec, UnreadableEvent, stamp, unstamp
from tests.builders import diagram
from tests.storage.event_strategies import MOMENT, values_of

CODEC = EventCodec()


def there_and_back(event: Any) -> Any:
    return CODEC.decode(event.kind, CODEC.encode(event), CODEC.version_of(event.kind))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=100)
def test_every_kind_of_event_comes_back_as_it_was(kind: str, data: st.DataObject) -> None:
    event = data.draw(values_of(KINDS[kind]))
    assert there_and_back(event) == event


def test_a_compiled_diagram_comes_back_with_its_tuples_and_enums() -> None:
    compiled = diagram("s -> a -> c; c.t -> e; c.f -> a", props={"a": {"deep": [{"x": (1.5,)}]}})
    started = ExecutionStarted(ExecutionID("x"), compiled, {}, max_steps=9)
    found = there_and_back(started).diagram
    assert found.nodes[0].retry == compiled.nodes[0].retry
    assert found.blocks == compiled.blocks
    assert [type(node.ports) for node in found.nodes] == [tuple] * len(found.nodes)
    assert [type(node.join) for node in found.nodes] == [type(n.join) for n in compiled.nodes]


def test_what_a_diagram_has_cached_is_not_written() -> None:
    compiled = diagram("s -> a -> e")
    started = ExecutionStarted(ExecutionID("x"), compiled, {}, max_steps=9)
    before = CODEC.encode(started)
    assert compiled.index_of
    assert compiled.edge_index_of
    assert CODEC.encode(started) == before


def test_frozen_mappings_become_maps() -> None:
    frozen = MappingProxyType({"a": MappingProxyType({"b": 1})})
    assert there_and_back(StateChanged("k", frozen)) == StateChanged("k", {"a": {"b": 1}})


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, -(2**63) - 1, 10**40, 5e-324, 1.7e308, -0.0])
def test_numbers_keep_every_digit(number: float) -> None:
    found = there_and_back(StateChanged("k", [number])).value[0]
    assert (type(found), repr(found)) == (type(number), repr(number))


@pytest.mark.parametrize("depth", [100, 199, 200, 253, 254, 300])
def test_however_deep_a_value_is_it_can_be_read_again(depth: int) -> None:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    envelope = EnvelopeFactory.create("a", value)
    event = NodeCompleted(NodeRun("a", 1), envelope, ("default",))
    assert there_and_back(event) == event


def test_lone_surrogates_come_back_as_they_were() -> None:
    assert there_and_back(StateChanged("k", "\ud83d")) == StateChanged("k", "\ud83d")


def test_what_no_json_can_hold_is_refused_by_its_kind() -> None:
    with pytest.raises(StorageError, match="'state_changed' is not plain JSON: object is not"):
        CODEC.encode(StateChanged("k", object()))


def test_times_are_utc_to_the_microsecond() -> None:
    here = datetime(2026, 7, 1, 14, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    event = NodeRetryScheduled(NodeRun("a", 1), here, Failure("TIMEOUT", "too slow"))
    assert there_and_back(event).due_at == here
    assert stamp(here) == "2026-07-01T12:30:00.123456Z"
    assert stamp(datetime(2026, 7, 1, tzinfo=UTC)) == "2026-07-01T00:00:00.000000Z"


@given(MOMENT, MOMENT)
def test_stamps_are_ordered_as_times_are(one: datetime, two: datetime) -> None:
    assert unstamp(stamp(one)) == one
    assert (stamp(one) < stamp(two)) == (one < two)


# --- older and newer versions -------------------------------------------------------------------

# As they were first written. These lines never change: logs are for ever.
FIRST_WRITTEN = [
    (
        NodeStarted(NodeRun("a", 2, 3)),
        b'{"node_run":{"node":"a","occurrence":2,"attempt":3},"kind":"node_started"}',
    ),
    (
        NodeSkipped("b", "by_user", "anna"),
        b'{"node":"b","reason":"by_user","actor":"anna","kind":"node_skipped"}',
    ),
    (
        StateChanged("k", [1, 2.5, None, True, {"n": "ü"}]),
        '{"key":"k","value":[1,2.5,null,true,{"n":"ü"}],"kind":"state_changed"}'.encode(),
    ),
]


@pytest.mark.parametrize("event, payload", FIRST_WRITTEN)
def test_what_the_first_version_wrote_is_read_for_ever(event: Any, payload: bytes) -> None:
    assert CODEC.decode(event.kind, payload, 1) == event


def test_fields_that_came_later_have_their_defaults() -> None:
    payload = b'{"node":"b","reason":"by_user","kind":"node_skipped"}'
    assert CODEC.decode("node_skipped", payload, 1) == NodeSkipped("b", "by_user")


def test_older_versions_are_brought_up_step_by_step() -> None:
    def rename(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "reason": document.pop("why")}

    def shout(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "reason": document["reason"].upper()}

    steps = {("node_skipped", 1): rename, ("node_skipped", 2): shout}
    codec = EventCodec({"node_skipped": 3}, steps)
    first = orjson.dumps({"node": "b", "why": "unreachable"})
    second = orjson.dumps({"node": "b", "reason": "unreachable"})
    third = codec.encode(NodeSkipped("b", "unreachable"))
    assert codec.version_of("node_skipped") == 3
    assert codec.decode("node_skipped", first, 1) == NodeSkipped("b", "UNREACHABLE")
    assert codec.decode("node_skipped", second, 2) == NodeSkipped("b", "UNREACHABLE")
    assert codec.decode("node_skipped", third, 3) == NodeSkipped("b", "unreachable")


def test_a_version_without_a_way_to_it_is_noticed_at_once() -> None:
    with pytest.raises(AssertionError, match=r"node_skipped has no upcaster from version \[2\]"):
        EventCodec({"node_skipped": 3}, {("node_skipped", 1): dict})


@pytest.mark.parametrize("kind, version", [("node_exploded", 1), ("node_started", 2)])
def test_an_event_of_a_newer_server_is_refused(kind: str, version: int) -> None:
    with pytest.raises(UnreadableEvent, match=f"'{kind}' of version {version}, unknown here"):
        CODEC.decode(kind, b"{}", version)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"null", b"{}", b'{"node_run":1}', b"\xff", json.dumps([{}] * 3).encode()],
)
def test_a_damaged_event_is_refused(payload: bytes) -> None:
    with pytest.raises(UnreadableEvent, match="'node_started' of version 1 cannot be read"):
        CODEC.decode("node_started", payload, 1)
