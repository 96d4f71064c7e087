"""Text in pictures: nothing invisible, nothing too long, nothing lost without a sign of it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.diagram.rendering.lettering import clean_lines, cut, wrapped
from tests.domains.diagram.rendering.authors import texts


@given(texts, st.integers(1, 30), st.integers(1, 5))
def test_wrapped_text_keeps_to_its_size(text: str, width: int, lines_max: int) -> None:
    lines = wrapped(text, width, lines_max)
    assert 1 <= len(lines) <= lines_max
    assert all(len(line) <= width for line in lines)


@given(texts, st.integers(1, 60))
def test_a_cut_text_is_one_line_of_its_size(text: str, characters_max: int) -> None:
    assert len(cut(text, characters_max)) <= characters_max
    assert len(clean_lines(cut(text, characters_max))) == 1


@given(texts)
def test_cleaned_text_has_no_control_characters(text: str) -> None:
    for sign in "".join(clean_lines(text)):
        assert unicodedata.category(sign) not in {"Cc", "Cs"}
        assert sign not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff"


@pytest.mark.parametrize(
    "text, lines",
    [
        ("one", ["one"]),
        ("one two three", ["one two", "three"]),
        ("one\ntwo", ["one", "two"]),
        ("one\n\ntwo", ["one", "", "two"]),
        ("twelve-years old", ["twelve-ye", "ars old"]),
        ("one two three four five six", ["one two", "three", "four fiv…"]),
        ("a\nb\nc\nd", ["a", "b", "c…"]),
        ("bell\a", ["bell␇"]),
        ("", [""]),
    ],
)
def test_text_is_wrapped_at_words_and_shows_where_it_was_cut(text: str, lines: list[str]) -> None:
    assert wrapped(text, 9, 3) == lines


@pytest.mark.parametrize(
    "text, line",
    [("abc", "abc"), ("abcdefghij", "abcdefgh…"), ("a\n\nb", "a b"), ("a\tb", "a b")],
)
def test_a_line_is_cut_to_its_size(text: str, line: str) -> None:
    assert cut(text, 9) == line
