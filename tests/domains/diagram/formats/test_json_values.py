"""What is a plain JSON value, and what is wrong with the rest."""

import pytest

from dipeo_server.domains.diagram.formats.json_values import (
    DEPTH_MAX,
    as_text,
    check_levels,
    fault_of,
)
from dipeo_server.errors import InvalidInput


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [None, True, 2**63 - 1, -(2**63), 1.5, "é", [], {}, {"a": [{"b": None}]}, nested(DEPTH_MAX)],
)
def test_plain_json_values_have_no_fault(value: object) -> None:
    assert fault_of(value) is None


@pytest.mark.parametrize(
    "value, fault",
    [
        (2**63, "64 bits"),
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        ({1: 2}, "no text"),
        ({"\ud800": 2}, "no text"),
        (["\ud800"], "surrogate"),
        ({"a": {1, 2}}, "a set"),
        (nested(DEPTH_MAX + 1), "64 levels"),
        (nested(100_000), "64 levels"),
    ],
)
def test_everything_else_is_named(value: object, fault: str) -> None:
    assert fault in (fault_of(value) or "")


@pytest.mark.parametrize(
    "value, text",
    [
        ("a", "a"),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (1.5, "1.5"),
        (None, None),
        ([], None),
    ],
)
def test_a_scalar_reads_as_an_author_would_write_it(value: object, text: str | None) -> None:
    assert as_text(value) == text


def test_a_document_may_be_as_deep_as_readers_take_and_no_deeper() -> None:
    deepest: object = {}
    for _ in range(DEPTH_MAX - 1):
        deepest = [1, deepest]
    check_levels(deepest)
    check_levels("no container")
    with pytest.raises(InvalidInput, match="more than 64 levels"):
        check_levels({"x": deepest})
