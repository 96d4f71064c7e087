"""Content types that connections do not name."""

import pytest

from dipeo_server.domains.diagram.formats.content_types import (
    known_content_type,
    with_content_types,
)
from dipeo_server.domains.diagram.model import DomainEdge


def types(conditions: str, *edges: str) -> list[str | None]:
    """Edges as `source>target` or `source>target:type`."""
    parsed = []
    for number, edge in enumerate(edges):
        ends, _, type_ = edge.partition(":")
        source, target = ends.split(">")
        parsed.append(DomainEdge(str(number), source, target, content_type=type_ or None))
    settled = with_content_types(parsed, frozenset(conditions))
    return [edge.content_type for edge in settled]


@pytest.mark.parametrize(
    "written, known",
    [("RAW_TEXT", "raw_text"), (" object ", "object"), ("json", "object"), ("yaml", None)],
)
def test_content_types_may_be_in_any_case(written: str, known: str | None) -> None:
    assert known_content_type(written) == known


def test_a_missing_content_type_is_raw_text() -> None:
    assert types("", "a>b", "a>c:object") == ["raw_text", "object"]


def test_a_condition_passes_on_the_type_of_its_inputs() -> None:
    assert types("c", "c>x", "a>c:object", "b>c:object") == ["object", "object", "object"]


def test_a_condition_whose_inputs_differ_gives_raw_text() -> None:
    assert types("c", "a>c:object", "b>c", "c>x") == ["object", "raw_text", "raw_text"]


def test_what_is_written_wins() -> None:
    assert types("c", "a>c:object", "c>x:variable", "c>y") == ["object", "variable", "object"]


def test_conditions_in_a_row_pass_it_on() -> None:
    assert types("cd", "d>x", "c>d", "a>c:object") == ["object"] * 3


def test_a_condition_waits_for_all_conditions_before_it() -> None:
    edges = ["a>c:object", "a>d:object", "c>x", "d>x", "x>y"]
    assert types("cdx", *edges) == ["object"] * 5


def test_conditions_in_a_circle_give_raw_text() -> None:
    assert types("cd", "c>d", "d>c", "a>c:object") == ["raw_text", "raw_text", "object"]


def test_a_condition_without_inputs_gives_raw_text() -> None:
    assert types("c", "c>x") == ["raw_text"]


def test_a_long_row_of_conditions_is_quick() -> None:
    count = 20_000
    edges = [
        DomainEdge(str(n), str(n), str(n + 1), content_type=None if n else "object")
        for n in reversed(range(count))
    ]
    settled = with_content_types(edges, frozenset(str(n) for n in range(1, count)))
    assert {edge.content_type for edge in settled} == {"object"}
