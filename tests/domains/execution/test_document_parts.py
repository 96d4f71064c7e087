"""Values are found and set by dotted keys, lines by their numbers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.document_parts import (
    PartMissing,
    key_paths,
    line_ranges,
    select_lines,
    value_at,
    with_value_at,
)

DOCUMENT = {"a": {"b": [10, {"c": 20}], "x.y": 30}, "n": None, "0": "zero"}
NAMES = st.text("abc", min_size=1, max_size=3)


@pytest.mark.parametrize(
    "path, value",
    [
        ("a.b.0", 10),
        ("a.b.-1.c", 20),
        ("a.x.y", 30),
        ("n", None),
        ("0", "zero"),
        ("a.b", [10, {"c": 20}]),
    ],
)
def test_a_path_leads_to_a_value(path: str, value: Any) -> None:
    assert value_at(DOCUMENT, path) == value


@pytest.mark.parametrize(
    "path, reason",
    [
        ("a.d", "'a.d': there is no 'd'"),
        ("a.b.2", "a list of 2 has no item '2'"),
        ("a.b.one", "has no item 'one'"),
        ("n.x", "no map in which 'x' could be"),
        ("a.b.0.x", "no map in which 'x' could be"),
        ("", "there is no ''"),
        (".".join("a" * 40), "there is no 'a'"),
    ],
)
def test_where_a_path_ends_is_said(path: str, reason: str) -> None:
    with pytest.raises(PartMissing, match=reason):
        value_at(DOCUMENT, path)


def test_the_nearest_key_is_suggested() -> None:
    with pytest.raises(PartMissing) as failure:
        value_at({"section_title": 1}, "section_titel")
    assert failure.value.hint == "Did you mean 'section_title'?"


def test_a_path_is_bounded() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = {"a": deep}
    path = ".".join("a" * 40)
    with pytest.raises(PartMissing, match="more than 32 parts"):
        value_at(deep, path)
    with pytest.raises(PartMissing, match="more than 32 parts"):
        with_value_at({}, path, 1)
    with pytest.raises(PartMissing, match="more than 32 parts"):
        with_value_at({}, "." * 100_000, 1)


@given(st.lists(NAMES, min_size=1, max_size=5), st.lists(NAMES, max_size=5))
def test_what_is_set_is_found_and_nothing_else_changes(path: list[str], other: list[str]) -> None:
    before = with_value_at({}, ".".join(other), "other") if other else {}
    try:
        after = with_value_at(before, ".".join(path), "new")
    except PartMissing:
        assert path[: len(other)] == other
        return
    assert value_at(after, ".".join(path)) == "new"
    if other and other[: len(path)] != path:
        assert value_at(after, ".".join(other)) == "other"


def test_a_document_is_copied_on_the_way_only() -> None:
    document = {"a": {"b": 1}, "c": [1, {"d": 2}]}
    changed = with_value_at(with_value_at(document, "a.b", 2), "c.1.d", 3)
    assert document == {"a": {"b": 1}, "c": [1, {"d": 2}]}
    assert changed == {"a": {"b": 2}, "c": [1, {"d": 3}]}


def test_a_key_with_dots_that_is_there_is_set_as_it_is() -> None:
    assert with_value_at({"a.b": 1}, "a.b", 2) == {"a.b": 2}


def test_null_makes_way_for_a_map() -> None:
    assert with_value_at({"a": None}, "a.b", 1) == {"a": {"b": 1}}
    assert with_value_at(None, "a", 1) == {"a": 1}


@pytest.mark.parametrize(
    "written, paths",
    [
        (None, ()),
        ("", ()),
        ("a.b", ("a.b",)),
        (" a , b.c,", ("a", "b.c")),
        (["a", " b "], ("a", "b")),
    ],
)
def test_keys_are_a_list_or_a_text_with_commas(written: Any, paths: tuple[str, ...]) -> None:
    assert key_paths(written) == paths


@pytest.mark.parametrize(
    "written, ranges",
    [
        ("5", ((5, 5),)),
        (5, ((5, 5),)),
        ("1:120", ((1, 120),)),
        ("7:", ((7, None),)),
        (":3", ((1, 3),)),
        (":", ((1, None),)),
        ("1, 3 : 4", ((1, 1), (3, 4))),
        (["1", 2, "3:4,6"], ((1, 1), (2, 2), (3, 4), (6, 6))),
    ],
)
def test_ranges_of_lines(written: Any, ranges: Any) -> None:
    assert line_ranges(written) == ranges


@pytest.mark.parametrize(
    "written", ["", "a", "1-3", "0", "0:2", "3:2", "1:2:3", "-1", "5 6", "1,", [], ["1"] * 1_001]
)
def test_what_is_no_range_of_lines(written: Any) -> None:
    if written == []:
        assert line_ranges(written) == ()
        return
    with pytest.raises(ValueError, match="range"):
        line_ranges(written)


@pytest.mark.parametrize(
    "text, written, selected",
    [
        ("a\nb\nc\n", "2", "b"),
        ("a\nb\nc", "2:", "b\nc"),
        ("a\nb\nc", "3,1:2,2", "a\nb\nc"),
        ("a\n\nc", "2", ""),
        ("a", "2:999999999", ""),
    ],
)
def test_lines_come_once_and_in_the_order_of_the_text(
    text: str, written: str, selected: str
) -> None:
    assert select_lines(text, line_ranges(written)) == selected
