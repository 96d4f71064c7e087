"""Transformation rules: what each does, in which order, and how others are added."""

from __future__ import annotations

from typing import Any

import pytest

from dipeo_server.domains.execution.expression import ExpressionError
from dipeo_server.domains.execution.templates import TemplateError
from dipeo_server.domains.execution.transformation import (
    BUILT_IN,
    TRANSFORMATIONS,
    TransformationExists,
    TransformationRegistry,
    TransformError,
    TransformRule,
    rules_of,
)

VALUE = {"user": {"name": "Ann", "tags": ["x", "y"]}, "n": 2}


def applied(value: Any, *rules: tuple[str, Any]) -> Any:
    return TRANSFORMATIONS.apply(value, [TransformRule(*rule) for rule in rules])


@pytest.mark.parametrize(
    "rule, argument, result",
    [
        ("extract", "user.name", "Ann"),
        ("extract", "user.tags.1", "y"),
        ("extract", "user.tags.-1", "y"),
        ("extract", "n", 2),
        ("wrap", "data", {"data": VALUE}),
        ("wrap", 1, {"1": VALUE}),
        ("map", {"who": "user.name", "count": "n"}, {"who": "Ann", "count": 2}),
        ("template", "{{user.name}} has {{n}}", "Ann has 2"),
        ("template", "{{value.n}} {{default.n}} {{gone}}", "2 2 {{gone}}"),
        ("json", "parse", VALUE),
        ("expression", "n * 2 + len(user.tags)", 6),
        ("expression", "value['n']", 2),
    ],
)
def test_what_a_rule_does(rule: str, argument: Any, result: Any) -> None:
    assert applied(VALUE, (rule, argument)) == result


def test_json_goes_both_ways() -> None:
    assert applied('{"a": "é"}', ("json", "parse")) == {"a": "é"}
    assert applied({"a": "é"}, ("json", "dump")) == '{"a": "é"}'
    assert applied([1], ("json", "dump"), ("json", "parse")) == [1]


@pytest.mark.parametrize(
    "value, argument, result",
    [("text", "{{value}}!", "text!"), ([1, 2], "{{value[0]}}", "1"), (None, "{{value}}", "null")],
)
def test_a_template_takes_any_value(value: Any, argument: str, result: str) -> None:
    assert applied(value, ("template", argument)) == result


@pytest.mark.parametrize(
    "value, rule, argument, error, reason",
    [
        (
            VALUE,
            "extract",
            "user.age",
            TransformError,
            "there is no 'age' on the way to 'user.age'",
        ),
        (VALUE, "extract", "user.tags.2", TransformError, "'2'"),
        ("text", "extract", "a", TransformError, "'a'"),
        (VALUE, "map", "user", TransformError, "must be a map"),
        (VALUE, "map", {"x": "gone"}, TransformError, "'gone'"),
        ("{", "json", "parse", TransformError, "not JSON"),
        (VALUE, "template", "{{#if n}}", TemplateError, "if"),
        (VALUE, "expression", "gone", ExpressionError, "gone"),
        (VALUE, "shuffle", True, TransformError, "no transformation 'shuffle'"),
    ],
)
def test_what_cannot_be_applied_says_why(
    value: Any, rule: str, argument: Any, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        applied(value, (rule, argument))


def test_a_missing_key_names_those_that_are_there() -> None:
    with pytest.raises(TransformError) as failure:
        applied(VALUE, ("extract", "user.age"))
    assert failure.value.hint == "Known keys: name, tags."


def test_rules_are_a_pipeline() -> None:
    rules = [("extract", "user"), ("map", {"n": "name"}), ("wrap", "who"), ("expression", "who.n")]
    assert applied(VALUE, *rules) == "Ann"
    assert applied(VALUE) is VALUE


# --- order


def test_a_list_of_rules_keeps_its_order() -> None:
    assert rules_of([{"wrap": "a"}, {"extract": "a"}, {"json": "dump"}]) == (
        TransformRule("wrap", "a"),
        TransformRule("extract", "a"),
        TransformRule("json", "dump"),
    )


def test_a_map_of_rules_goes_by_precedence_unknown_ones_last() -> None:
    rules = rules_of({"mystery": 1, "json": "dump", "wrap": "a", "extract": "b"})
    assert [rule.name for rule in rules] == ["extract", "wrap", "json", "mystery"]


@pytest.mark.parametrize("nothing", [None, {}, []])
def test_no_rules(nothing: Any) -> None:
    assert rules_of(nothing) == ()


# --- others


def reverse(value: Any, argument: Any) -> Any:
    return f"{argument}{value[::-1]}"


def test_a_registered_transformation_is_usable_by_name() -> None:
    registry = TransformationRegistry()
    registry.register("reverse", reverse)
    assert registry.apply("abc", [TransformRule("reverse", ">")]) == ">cba"
    assert [rule.name for rule in registry.in_order({"reverse": "", "json": ""})] == [
        "json",
        "reverse",
    ]


def test_it_may_come_before_another() -> None:
    registry = TransformationRegistry()
    registry.register("reverse", reverse, before="wrap")
    rules = registry.in_order({"wrap": "x", "reverse": "", "extract": "a"})
    assert [rule.name for rule in rules] == ["extract", "reverse", "wrap"]
    assert registry.apply({"a": "ab"}, rules) == {"x": "ba"}


def test_a_name_is_taken_once_and_registries_do_not_share() -> None:
    registry = TransformationRegistry()
    registry.register("reverse", reverse)
    for name in ("reverse", "extract"):
        with pytest.raises(TransformationExists, match=name):
            registry.register(name, reverse)
    assert "reverse" not in BUILT_IN
    with pytest.raises(TransformError):
        TRANSFORMATIONS.apply("abc", [TransformRule("reverse", "")])
