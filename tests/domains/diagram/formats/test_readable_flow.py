"""Texts of the flow: clauses, and the older form with parentheses."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.diagram.formats.readable_flow import (
    clauses,
    has_clauses,
    older,
    written_clauses,
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ('to "db"', [{"to": "db"}]),
        (
            'to "A b" in "_first" as "raw_text" naming "topic"',
            [{"to": "A b", "in": "_first", "as": "raw_text", "naming": "topic"}],
        ),
        ('  from "_condtrue" to "A"  ', [{"from": "_condtrue", "to": "A"}]),
        ('as "object"   to "A"in "first"', [{"as": "object", "to": "A", "in": "first"}]),
        ('to "A" - to "B - C" as "object"', [{"to": "A"}, {"to": "B - C", "as": "object"}]),
        ('to ""', [{"to": ""}]),
    ],
)
def test_clauses_are_read(text: str, expected: list[dict[str, str]]) -> None:
    assert clauses(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "A", 'to A', 'to "A', 'in "first"', 'to "A" to "B"', 'to "A" - ', 'to "A" - in "x"',
     'to "A" as raw_text', 'to "A" B', '- to "A"'],
)  # fmt: skip
def test_other_texts_are_no_clauses(text: str) -> None:
    assert clauses(text) is None


def test_a_text_that_was_meant_as_clauses_is_told_apart() -> None:
    assert has_clauses(' to "A" as raw_text')
    assert has_clauses("to 'A'")
    assert not has_clauses("to")
    assert not has_clauses("into the fire")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("A", {"to": "A"}),
        ("A_first (raw_text)(topic)", {"to": "A_first", "as": "raw_text", "naming": "topic"}),
        ("A (topic) (json)", {"to": "A", "naming": "topic", "as": "json"}),
        ("A (topic)", {"to": "A", "naming": "topic"}),
        ("A (raw_text)(object)", {"to": "A", "as": "raw_text", "naming": "object"}),
        ("Step (draft)", {"to": "Step (draft)"}),
        ("Step (draft) (raw_text)", {"to": "Step (draft)", "as": "raw_text"}),
        ("A (one)(two)", {"to": "A (one)(two)"}),
        ("A ()", {"to": "A ()"}),
        ("A)", {"to": "A)"}),
        ("A (b))", {"to": "A (b))"}),
        ("A (raw_text)(x)(y)", {"to": "A (raw_text)(x)(y)"}),
    ],
)
def test_older_texts_are_read(text: str, expected: dict[str, str]) -> None:
    assert older(text, ["A", "Step (draft)"]) == expected


def test_hostile_texts_cost_little() -> None:
    assert older("()" * 200_000, []) == {"to": "()" * 200_000}
    assert clauses('to "' * 100_000) is None
    assert clauses(" " * 500_000 + "-") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"to": 'the "best"'},
        {"to": "A", "kind": "when"},
        {"to": "A", "naming": 1},
        {"to": "two\nlines"},
        {"as": "object"},
    ],
)
def test_what_clauses_cannot_tell_is_no_text(fields: dict[str, Any]) -> None:
    assert written_clauses(fields) is None


names = st.text(st.sampled_from('ab" -_\n'), max_size=5)


@given(st.dictionaries(st.sampled_from(["from", "to", "in", "as", "naming", "key"]), names))
def test_written_clauses_are_read_as_they_were(fields: dict[str, str]) -> None:
    text = written_clauses(fields)
    assert text is None or clauses(text) == [fields]
