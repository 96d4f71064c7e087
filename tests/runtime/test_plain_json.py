"""What handlers hand over is plain JSON of its own, or it is refused with a reason."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.output import (
    SKIP_BRANCH,
    HandlerResult,
    Message,
    TokenUsage,
    WaitForPerson,
    WaitUntil,
    create_node_output,
)
from dipeo_server.errors import OutputTooLarge
from dipeo_server.runtime.plain_json import (
    OUTPUT_BYTES_MAX,
    WAIT_SECONDS_MAX,
    NotPlain,
    plain_json,
    plain_output,
    plain_result,
)

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


class Size(IntEnum):
    """A whole number with a name."""

    SMALL = 1


class Metres(float):
    """A number of a type of its own, as numerical libraries have them."""


class Pair(NamedTuple):
    """Two values with names."""

    a: int
    b: str


@dataclass
class Point:
    """What JSON has no word for."""

    x: int


@given(JSON_VALUES)
def test_json_stays_as_it_is(value: Any) -> None:
    assert plain_json(value) == value
    assert json.loads(json.dumps(plain_json(value))) == value


@given(JSON_VALUES)
def test_making_it_plain_twice_changes_nothing(value: Any) -> None:
    assert plain_json(plain_json((value,))) == plain_json((value,))


@pytest.mark.parametrize(
    "value, plain",
    [
        ((1, 2), [1, 2]),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
        (Point(3), {"x": 3}),
        (Size.SMALL, 1),
        (math.nan, None),
        (math.inf, None),
        ([-math.inf], [None]),
        (Metres(1.5), 1.5),
        (Pair(1, "b"), [1, "b"]),
        (MappingProxyType({"a": MappingProxyType({})}), {"a": {}}),
    ],
    ids=repr,
)
def test_what_json_spells_differently_is_spelled_so(value: object, plain: object) -> None:
    assert plain_json(value) == plain
    assert type(plain_json(value)) is type(plain)


def test_what_was_handed_over_can_be_changed_later_without_effect() -> None:
    mine = {"list": [1]}
    plain = plain_json(mine)
    mine["list"].append(2)
    assert plain == {"list": [1]}


def circle() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, b"bytes", lambda: 1, 2**64, "\ud83d", circle(), 1j],
    ids=["object", "set", "bytes", "function", "large", "half a character", "circle", "complex"],
)
def test_what_json_cannot_hold_is_refused_with_a_reason(value: object) -> None:
    with pytest.raises(NotPlain, match="not plain JSON") as refused:
        plain_json({"deep": [value]})
    assert refused.value.code == "OUTPUT_NOT_JSON"
    assert refused.value.hint


def test_what_is_too_large_is_refused_with_a_way_out() -> None:
    with pytest.raises(OutputTooLarge, match="the limit is 16,777,216") as refused:
        plain_json("x" * OUTPUT_BYTES_MAX)
    assert refused.value.hint == "Write it to a file and pass the path on."


def test_every_part_of_an_output_is_made_plain() -> None:
    output = create_node_output(
        {"default": (1,)},
        {"at": datetime(2026, 1, 1, tzinfo=UTC)},
        token_usage=TokenUsage(1, 2, 3),
        messages=(Message("1", "a", "b", "hello"),),
    )
    plain = plain_output(output)
    assert plain.value == {"default": [1]}
    assert plain.metadata == {"at": "2026-01-01T00:00:00+00:00"}
    assert (plain.token_usage, plain.messages) == (output.token_usage, output.messages)


def test_a_read_only_map_is_a_map() -> None:
    output = create_node_output({"default": 1})
    proxied = MappingProxyType({"default": 2})
    assert plain_output(type(output)(proxied)).value == {"default": 2}


@pytest.mark.parametrize(
    "output",
    [
        {"value": 5},
        {"value": {"default": object()}},
        {"value": {}, "metadata": ["no", "map"]},
        {"value": {}, "token_usage": TokenUsage(-1)},
        {"value": {}, "token_usage": TokenUsage(1.5)},  # type: ignore[arg-type]  # as handlers do
        {"value": {}, "token_usage": 12},
        {"value": {}, "messages": ("text",)},
        {"value": {}, "messages": (Message("1", "a", "b", "\udc80"),)},
    ],
    ids=["no map", "object", "metadata", "negative", "half tokens", "number", "text", "surrogate"],
)
def test_an_output_that_is_none_is_refused(output: dict[str, Any]) -> None:
    with pytest.raises(NotPlain):
        plain_output(type(create_node_output({}))(**output))


def test_waits_are_made_plain() -> None:
    wait = plain_result(WaitUntil(-1, create_node_output({"default": (1,)})))
    assert wait == WaitUntil(0.0, create_node_output({"default": [1]}))
    wish = WaitForPerson("answer", ("Which?",), {"type": "string"}, 5, default_answer=(1,))
    plain = plain_result(wish)
    assert plain == WaitForPerson("answer", ["Which?"], {"type": "string"}, 5.0, default_answer=[1])
    assert plain_result(SKIP_BRANCH) is SKIP_BRANCH


@pytest.mark.parametrize("seconds", [math.nan, math.inf, WAIT_SECONDS_MAX + 1, "5", None])
def test_nobody_waits_for_what_is_no_time(seconds: Any) -> None:
    results: list[HandlerResult] = [WaitUntil(seconds, create_node_output({}))]
    if seconds is not None:
        results.append(WaitForPerson("approval", "?", timeout=seconds))
    for result in results:
        with pytest.raises(NotPlain, match="One can wait for up to"):
            plain_result(result)


def test_a_schema_of_an_answer_is_a_map() -> None:
    with pytest.raises(NotPlain, match="answer schema must be a map"):
        plain_result(WaitForPerson("answer", "?", answer_schema=True))  # type: ignore[arg-type]  # as handlers do
