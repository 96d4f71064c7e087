"""Documents are read into JSON values, and what is written can be read again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.documents import (
    PARSED_CHARACTERS_MAX,
    DocumentError,
    as_text,
    csv_addition,
    dump,
    ended,
    format_of,
    parse,
)

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
CONTAINERS = st.recursive(
    st.lists(SCALARS, max_size=3) | st.dictionaries(TEXTS, SCALARS, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@given(CONTAINERS)
def test_json_that_was_written_is_read_as_it_was(value: Any) -> None:
    assert parse(dump(value, "json"), "json", name="it") == value


@given(CONTAINERS)
def test_yaml_that_was_written_is_read_as_it_was(value: Any) -> None:
    assert parse(dump(value, "yaml"), "yaml", name="it") == value


@given(st.lists(st.fixed_dictionaries({"a": CELLS, "b c": CELLS}), min_size=1, max_size=4))
def test_csv_that_was_written_is_read_as_it_was(rows: list[dict[str, str]]) -> None:
    assert parse(dump(rows, "csv"), "csv", name="it") == rows


@given(st.lists(st.fixed_dictionaries({"a": CELLS, "b": CELLS}), min_size=2, max_size=4))
def test_csv_grows_to_what_it_would_be_at_once(rows: list[dict[str, str]]) -> None:
    first, rest = rows[:1], rows[1:]
    start = dump(first, "csv")
    assert start + csv_addition(start, rest, name="it") == dump(rows, "csv")


def test_one_value_in_two_places_is_written_twice() -> None:
    shared = {"x": [1]}
    text = dump({"a": shared, "b": shared}, "yaml")
    assert "&" not in text
    assert parse(text, "yaml", name="it") == {"a": shared, "b": shared}


@pytest.mark.parametrize(
    "path, format_",
    [
        ("a.json", "json"),
        ("a/b.YAML", "yaml"),
        ("a.yml", "yaml"),
        ("a.light.yaml", "yaml"),
        ("a.csv", "csv"),
        ("a.xml", "xml"),
        ("a.md", "text"),
        ("a.json.bak", "text"),
        ("json", "text"),
        (".json", "text"),
    ],
)
def test_the_suffix_names_a_format(path: str, format_: str) -> None:
    assert format_of(path) == format_


@pytest.mark.parametrize(
    "text, format_, reason",
    [
        ("", "json", "it is not JSON: line 1, column 1"),
        ('{"a": 1,}', "json", "line 1, column 9"),
        ("NaN", "json", "NaN is no JSON number"),
        ("[1e999]", "json", "not finite"),
        ("[" + "9" * 30 + "]", "json", "over 64 bits"),
        ("9" * 5_000, "json", "it is not JSON"),
        ("[" * 100 + "]" * 100, "json", "more than 64 levels"),
        ("[" * 100_000, "json", "it is not JSON"),
        ('"\\ud800"', "json", "surrogate"),
        ("a: [1", "yaml", "it is not plain YAML: did not find"),
        ("a: &x 1\nb: *x", "yaml", "anchor &x is not allowed"),
        ("a: 1\na: 2", "yaml", "written twice"),
        ("a: 1\n---\nb: 2", "yaml", r"more than one YAML document \(line 2\)"),
        ("a: .nan", "yaml", "no finite number"),
        ("a,a\n1,2", "csv", "two columns 'a'"),
        ("a,b\n1,2,3", "csv", "it, line 2: a row of 3 cells, and the header has 2"),
        ('a,b\n"1', "csv", "it is not CSV: line 2"),
        ("x" * (PARSED_CHARACTERS_MAX + 1), "json", "too large"),
    ],
)
def test_what_cannot_be_read_says_where_and_why(text: str, format_: Any, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason) as failure:
        parse(text, format_, name="it")
    assert "diagram" not in f"{failure.value.message} {failure.value.hint}"
    assert len(failure.value.message) < 300


@pytest.mark.parametrize("format_", ["text", "xml"])
def test_text_and_xml_are_text_however_long(format_: Any) -> None:
    text = "<" * (PARSED_CHARACTERS_MAX + 1)
    assert parse(text, format_, name="it") == text


@pytest.mark.parametrize(
    "text, rows",
    [
        ("", []),
        ("a,b\n", []),
        ("a,b\n1,2\n\n3\n", [{"a": "1", "b": "2"}, {"a": "3", "b": None}]),
        ("a,\n1,2,\n", [{"a": "1", "column_2": "2"}]),
        (' a ,"b\nc"\r\n1,"x,\ny"\r\n', [{"a": "1", "b\nc": "x,\ny"}]),
    ],
)
def test_csv_is_a_list_of_maps(text: str, rows: list[Any]) -> None:
    assert parse(text, "csv", name="it") == rows


def test_an_empty_cell_alone_is_a_row() -> None:
    assert dump([["a"], [None]], "csv") == 'a\n""\n'
    assert parse(dump([{"a": ""}, {"a": "x"}], "csv"), "csv", name="it") == [{"a": ""}, {"a": "x"}]


def test_yaml_dates_and_numbers_are_plain() -> None:
    text = "day: 2025-01-11\nversion: '1.10'\nyes: 0x10\n"
    assert parse(text, "yaml", name="it") == {"day": "2025-01-11", "version": "1.10", "yes": 16}


@pytest.mark.parametrize("format_", ["json", "yaml"])
@pytest.mark.parametrize("value", [float("nan"), {"a": {1, 2}}, [b"x"], {1: 2}])
def test_only_json_values_are_written(format_: Any, value: Any) -> None:
    with pytest.raises(DocumentError, match="The value"):
        dump(value, format_)


@pytest.mark.parametrize(
    "value, text",
    [
        ("x", "x"),
        (None, ""),
        (1.5, "1.5"),
        (False, "false"),
        ([1], "[\n  1\n]"),
        ({"default": {"default": "x"}}, "x"),
        ({"default": 1, "b": 2}, '{\n  "default": 1,\n  "b": 2\n}'),
        ({"messages": [], "last_message": "x"}, "x"),
        ({"messages": [], "last_message": {"a": "é"}}, '{\n  "a": "é"\n}'),
    ],
)
def test_a_value_as_text(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_a_line_break_is_added_once() -> None:
    assert [ended(text) for text in ("", "a", "a\n")] == ["", "a\n", "a\n"]
