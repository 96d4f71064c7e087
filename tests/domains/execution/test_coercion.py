"""What the content type of an edge makes of a value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.coercion import coerce

TALK = {"messages": [{"role": "user", "content": "hi"}], "last_message": "hi", "context": {}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "value, text",
    [
        ("x", "x"),
        (TALK, "hi"),
        ({"default": "x"}, "x"),
        ({"default": {"default": TALK}}, "hi"),
        ({"default": "x", "b": 1}, {"default": "x", "b": 1}),
        ({"a": 1}, {"a": 1}),
        ([1], [1]),
        (1.5, 1.5),
        (None, None),
        ({"messages": []}, {"messages": []}),
    ],
)
def test_raw_text_unwraps(value: Any, text: Any) -> None:
    assert coerce(value, "raw_text") == text


@pytest.mark.parametrize(
    "value, found",
    [
        ('{"a": [1]}', {"a": [1]}),
        ("[1]", [1]),
        ("5", 5),
        ("not JSON", {"text": "not JSON"}),
        ("", {"text": ""}),
        ({"a": 1}, {"a": 1}),
        (7, 7),
        (None, None),
    ],
)
def test_object_parses_text(value: Any, found: Any) -> None:
    assert coerce(value, "object") == found


@pytest.mark.parametrize(
    "value, content",
    [
        ("x", "x"),
        ({"a": 1}, '{"a": 1}'),
        ({"default": "x"}, "x"),
        ({"last_message": "é"}, '{"last_message": "é"}'),
        (None, "null"),
    ],
)
def test_anything_becomes_a_conversation(value: Any, content: str) -> None:
    assert coerce(value, "conversation_state") == {
        "messages": [{"role": "assistant", "content": content}],
        "last_message": content,
        "context": {},
    }


def test_a_conversation_stays_one() -> None:
    assert coerce(TALK, "conversation_state") is TALK


def test_empty_carries_nothing() -> None:
    assert coerce({"a": 1}, "empty") is None


@pytest.mark.parametrize("content_type", [None, "generic", "variable", "binary", "unheard of"])
def test_every_other_type_leaves_the_value_alone(content_type: str | None) -> None:
    assert coerce(TALK, content_type) is TALK


@given(JSON, st.sampled_from(["raw_text", "object", "conversation_state", "empty", None]))
def test_coercing_twice_is_coercing_once(value: Any, content_type: str | None) -> None:
    once = coerce(value, content_type)
    if content_type == "object" and isinstance(once, str):
        return  # JSON text in JSON text: each edge takes off one wrapping.
    assert coerce(once, content_type) == once
