"""Names of readable nodes: a label, perhaps a type, perhaps a position."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.diagram.formats.readable_names import (
    Name,
    parse_name,
    split_bracket,
    written_name,
)


def is_type(word: str) -> bool:
    return word in {"db", "person_job"}


@pytest.mark.parametrize(
    "text, name",
    [
        ("Start", Name("Start")),
        ("Start @(26,211)", Name("Start", None, (26, 211))),
        (
            "Optimist panel [person_job] @(600,453)",
            Name("Optimist panel", "person_job", (600, 453)),
        ),
        ("db [db]", Name("db", "db")),
        ("far @( -1.5 , +2e3 ) ", Name("far", None, (-1.5, 2000))),
        ("Code Job~1 @(.5,1.)", Name("Code Job~1", None, (0.5, 1))),
        ("draft [two]", Name("draft [two]")),
        ("draft [two] [db]", Name("draft [two]", "db")),
        ("home @(1,2) @(3,4)", Name("home @(1,2)", None, (3, 4))),
        ("mail @(home)", Name("mail @(home)")),
        ("one @(1)", Name("one @(1)")),
        ("three @(1,2,3)", Name("three @(1,2,3)")),
        ("no end @(1,2", Name("no end @(1,2")),
        ("plain (1,2)", Name("plain (1,2)")),
        ("endless @(1e999,2)", Name("endless @(1e999,2)")),
        ("[db]", Name("[db]")),
        ("@(1,2)", Name("", None, (1, 2))),
        (" kept ", Name(" kept ")),
    ],
)
def test_a_name_tells_label_type_and_position(text: str, name: Name) -> None:
    assert parse_name(text, is_type) == name


def test_a_number_of_any_length_costs_nothing() -> None:
    assert parse_name(f"x @({'1' * 200},2)", is_type).position is None


@pytest.mark.parametrize(
    "text, parts",
    [("A [b]", ("A", "b")), ("A [b] c", ("A [b] c", None)), ("A []", ("A []", None))],
)
def test_brackets_at_the_end_are_split_off(text: str, parts: tuple[str, str | None]) -> None:
    assert split_bracket(text) == parts


def test_the_origin_goes_without_saying_unless_the_label_looks_like_a_position() -> None:
    assert written_name("A", (0.0, 0.0)) == written_name("A", None) == "A"
    assert written_name("A @(1,2)", None) == "A @(1,2) @(0,0)"


@given(
    st.text(st.sampled_from("ab @()[]1,"), min_size=1).filter(lambda text: text == text.strip()),
    st.tuples(
        st.floats(allow_nan=False, allow_infinity=False),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
)
def test_a_written_name_keeps_label_and_position(label: str, position: tuple[float, float]) -> None:
    read = parse_name(written_name(label, position), lambda _: False)
    assert (read.label, read.position or (0, 0)) == (label, position)
