"""The expression language: what it computes, what it refuses, and what it costs."""

from __future__ import annotations

import ast
import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipeo_server.domains.execution.expression import (
    DEPTH_MAX,
    NODES_MAX,
    SOURCE_CHARACTERS_MAX,
    Expression,
    ExpressionError,
    evaluate,
    names_used,
)
from dipeo_server.errors import NodeError

NAMES: dict[str, Any] = {
    "a": 12,
    "counter": 3,
    "state": {"counter": 3, "status": "ready", "_batch_index": 1, "items": [1, 2, 3]},
    "input_data": {"valid": ["x"]},
    "words": ["red", "green", "red"],
    "text": " Hello World ",
    "big": "x" * 1_000_000,
    "many": list(range(1000)),
    "nothing": None,
    "d": {"x": 1},
}


@pytest.mark.parametrize(
    "source, value",
    [
        ("a > 10", True),
        ("a>10", True),
        ("state.counter", 3),
        ('state["counter"] + 1', 4),
        ("state._batch_index", 1),
        ("state.items", [1, 2, 3]),
        ("state.items[-1]", 3),
        ("state.items[1:]", [2, 3]),
        ("text[1:3]", "He"),
        ("input_data.get('invalid', [])", []),
        ("input_data.get('missing')", None),
        ("d.keys()", ["x"]),
        ("d.values()", [1]),
        ("d.items()", [["x", 1]]),
        ("counter == 3 and not nothing", True),
        ("nothing or 'default'", "default"),
        ("1 < counter < 5", True),
        ("'many' if len(many) > 5 else 'few'", "many"),
        ("-counter", -3),
        ("+counter", 3),
        ("7 // 2 + 7 % 2 - 1 / 2", 3.5),
        ("'ab' * 2 + 'c'", "ababc"),
        ("2 * [1]", [1, 1]),
        ("(1, 2)", [1, 2]),
        ("{'k': [1, (2, 3)]}", {"k": [1, [2, 3]]}),
        ("{1: 'one'}[1]", "one"),
        ("'red' in words and 'blue' not in words", True),
        ("'counter' in state", True),
        ("'ell' in text", True),
        ("nothing is None and nothing is not True", True),
        ("true and not false and null is None", True),
        ("len(words) + abs(-2)", 5),
        ("max(1, 2) + min([3, 4])", 5),
        ("sum([1, 2]) + sum([], 1)", 4),
        ("all([1, 0]) or any([0, 1])", True),
        ("bool([])", False),
        ("int('12') + int('ff', 16) + int()", 267),
        ("float('1.5') + float()", 1.5),
        ("round(2.567, 2) + round(1.2)", 3.57),
        ("str(12) + str(None) + str()", "12None"),
        ("str(['a', 1])", "['a', 1]"),
        ("list('ab')", ["a", "b"]),
        ("dict([['a', 1]])", {"a": 1}),
        ("tuple(words) == ('red', 'green', 'red')", True),
        ("set(words)", ["red", "green"]),
        ("set([2, 1]) == set([1, 2, 2])", True),
        ("set([3, 1, 2]) - set([1])", [3, 2]),
        ("set([1]) <= set([1, 2])", True),
        ("text.strip().lower().split(' ')", ["hello", "world"]),
        ("'a,b,c'.split(',', 1)", ["a", "b,c"]),
        ("'xxaxx'.strip('x').upper()", "A"),
        ("text.strip().startswith('Hell') and text.endswith(' ')", True),
        ("'aaa'.replace('a', 'b', 2)", "bba"),
        ("words.count('red') + words.index('green')", 3),
        ("(1, 2, 1).count(1)", 2),
        ("True + 1", 2),
    ],
)
def test_an_expression_has_the_value_python_would_give(source: str, value: object) -> None:
    result = evaluate(source, NAMES)

    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "source",
    [
        # Statements, and more than one of them.
        *("a; b", "a\nb", "a = 1", "del a", "import os", "assert a", "pass", "", "   ", "a +"),
        # Powers, shifts, bits.
        *("9**3999999", "2 ** 2", "1 << 100", "1 >> 1", "~1", "a & 1", "a | 1", "a ^ 1", "a @ a"),
        # Work through sizes.
        *('"%099999999d" % 1', '"%s" % a', '"x".ljust(10**8)', '"x".ljust(100000000)'),
        *('"a" * 1000000000', "1000000000 * 'a'", "[0] * 1000000", "(0,) * 1000000"),
        "[[[[0] * 999] * 999] * 999] * 999",
        "[[0] * 99999, [0] * 99999] * 99999",
        "big + big",
        "big.replace('x', 'yy')",
        "big.replace('', 'yy')",
        "('x ' * 500000).split()",
        "big.strip(big)",
        "str([big, big])",
        "[big, big, big, big, big, big, big, big, big, big, big, big] * 99999",
        "list(big)",
        "sum([[0] * 9], [])",
        "round(5, -1000000000)",
        "round(5, 1000000000)",
        "int(big)",
        "float('1' * 5000)",
        "(10 * 99999999999999999999999999999999999999) * 99999999999999999999999999999999999999999",
        "1e308 * 10",
        "1e999",
        "float('nan')",
        "float('inf')",
        "range(10)",
        "max(range(10))",
        # Python's objects and other syntax.
        *("''.__class__", "().__class__.__mro__", "state.__class__", "a.__add__(1)", "__import__"),
        *("__import__('os')", "getattr(a, 'b')", "eval('1')", "exec('1')", "open('x')", "type(a)"),
        *("vars()", "globals()", "locals()", "dir()", "print(1)", "input()", "repr(a)", "id(a)"),
        *("'{0.__class__}'.format(a)", "text.format_map(d)", "text.join(words)", "text.encode()"),
        *('f"{a}"', "f'{a!r:>10}'", "lambda: 1", "(lambda: 1)()", "(a := 1)", "(yield)", "await a"),
        *("[x for x in words]", "{x for x in words}", "{x: 1 for x in words}", "{1, 2}"),
        *("(x for x in words)", "any(x for x in words)", "[*words]", "len(*words)", "{**d}"),
        *("dict(**d)", "dict(a=1)", "max(words, key=len)", "len", "[len][0]", "[len][0](words)"),
        *("len(words)(1)", "'a'()", "(state.items)[0]()", "state.counter()", "b'b'", "1j", "..."),
        # Changes.
        *("d.update(d)", "d.pop('x')", "d.clear()", "d.setdefault('y', 1)", "words.append(1)"),
        *("[].append(1)", "words.sort()", "words.reverse()", "words.extend(words)", "del d['x']"),
        # Unicode: identifiers are normalised before they are checked.
        *(
            "\uff45\uff56\uff41\uff4c('1')",
            "a.\uff3f\uff3fclass\uff3f\uff3f",
            "\U0001d451.update(d)",
            "text.\ufb00",
            '"\\ud800"',
        ),
        # Depth and length.
        "(" * 500 + "1" + ")" * 500,
        "-" * 1500 + "1",
        "not " * 400 + "a",
        "+".join(["1"] * 100),
        "[" * 40 + "]" * 40,
        "a" + "[0]" * 50,
        "a" + ".b" * 50,
        " or ".join(["a"] * 300),
        "'" + "x" * 2000 + "'",
        # Not what the values are.
        *("text > 1", "text + 1", "1 + text", "words * words", "text - text", "-text", "+words"),
        *("d < d", "nothing < 1", "1 in 5", "1 in text", "a is 12", "len(5)", "words['x']"),
        *("words[9]", "state['nope']", "state.nope", "a.b", "a[0]", "nothing.x", "nothing[0]"),
        *("1 / 0", "1 // 0", "1 % 0", "int('x')", "words.index('blue')", "{[]: 1}", "set([[]])"),
        *("d[[]]", "d.get([])", "d[1:2]", "text.strip(1)", "text.split('')", "words.lower()"),
        *("{1: 2}", "max([])", "max(1, 'a')", "len()", "len(1, 2)", "dict(5)", "sum('ab')"),
        *("1if a else 2", r"'\d'", "\x00", "'a' 1", "'\ud800'", "\uff10\uff58\uff11z"),
    ],
)
def test_everything_else_is_refused_with_an_expression_error(source: str) -> None:
    before = copy.deepcopy(NAMES)

    with pytest.raises(ExpressionError) as refusal:
        evaluate(source, NAMES)

    assert refusal.value.code == "EXPRESSION_ERROR"
    assert isinstance(refusal.value, NodeError)
    assert not refusal.value.retryable
    assert len(str(refusal.value)) < 600
    assert before == NAMES


def test_an_unknown_name_is_answered_with_the_nearest_known_one() -> None:
    with pytest.raises(ExpressionError) as refusal:
        evaluate("conter > 3", NAMES)

    assert "Unknown name 'conter'; the nearest known name is 'counter'" in str(refusal.value)
    assert "conter > 3" in str(refusal.value)
    assert refusal.value.hint is not None
    assert "counter" in refusal.value.hint


def test_an_unknown_name_among_none_says_that_there_are_none() -> None:
    with pytest.raises(ExpressionError) as refusal:
        evaluate("conter", {})

    assert refusal.value.hint == "Known names: none."


def test_an_unknown_key_is_answered_with_the_nearest_known_one() -> None:
    with pytest.raises(ExpressionError, match=r"`state` has no key 'countr'.*'counter'"):
        evaluate("state.countr", NAMES)


def test_a_text_and_a_number_are_not_compared_but_named() -> None:
    with pytest.raises(ExpressionError, match="`>` cannot be applied to string and integer"):
        evaluate('"11" > 10', {})


@pytest.mark.parametrize(
    "source, message",
    [
        ("lenn(words)", "Unknown function 'lenn'; the nearest known name is 'len'"),
        ("text.lowr()", "Unknown method 'lowr'; the nearest known name is 'lower'"),
        ("words.lower()", "list has no method 'lower'"),
        ("len", "'len' is a function: call it"),
        ("text.strip", "it has no key 'strip'"),
        ("words[7]", "`words` has 3 elements: there is no \\[7\\]"),
        ("text.strip(1, 2, 3)", "strip\\(…\\): takes from 1 to 2 positional arguments"),
        ("a +", "Not an expression: invalid syntax"),
        ("2 ** 8", "The power operator `\\*\\*` is not available"),
    ],
)
def test_a_refusal_says_what_is_wrong(source: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        evaluate(source, NAMES)


def test_a_python_object_among_the_names_is_refused() -> None:
    for source in ("x", "x.real", "[x]", "len(x)", "d.x.y"):
        with pytest.raises(ExpressionError, match="is not a JSON value"):
            evaluate(source, {"x": object(), "d": {"x": ast}})


def test_a_python_object_inside_a_result_is_refused() -> None:
    with pytest.raises(ExpressionError, match="is not a JSON value"):
        evaluate("x", {"x": [{"y": object()}]})


def test_a_value_nested_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    for value in (endless, deep):
        with pytest.raises(ExpressionError):
            evaluate("x", {"x": value})


def test_what_an_expression_makes_in_all_is_bounded() -> None:
    fifty = ", ".join(["big.upper()"] * 50)

    with pytest.raises(ExpressionError, match="too much work"):
        evaluate(f"[{fifty}]", NAMES)


def test_large_values_can_be_read() -> None:
    names = {"text": "x" * 30_000_000, "numbers": list(range(3_000_000)), "d": {}}
    names["d"] = {"text": names["text"], "numbers": names["numbers"]}

    assert evaluate("len(text) > 5 and 'y' not in d.text", names)
    assert evaluate("len(d['numbers']) + d.numbers[7]", names) == 3_000_007


def test_the_free_names_are_names_without_functions_and_literals() -> None:
    assert names_used("len(a) > b.c[d] and true or x.get(y, max) is null") == {
        *("a", "b", "d", "x", "y", "max")
    }
    assert names_used("1 + 2") == frozenset()


def test_parse_accepts_what_evaluate_does_and_refuses_the_rest() -> None:
    expression = Expression.parse("a > 10")

    assert expression.source == "a > 10"
    assert evaluate(expression, NAMES) is True
    for check in (Expression.parse, names_used):
        with pytest.raises(ExpressionError):
            check("a; b")


def test_sizes_are_counted_in_characters_terms_and_levels() -> None:
    Expression.parse("x" + " " * (SOURCE_CHARACTERS_MAX - 2) + " ")
    Expression.parse(f"[{','.join(['1'] * (NODES_MAX - 1))}]")
    Expression.parse("[" * DEPTH_MAX + "]" * DEPTH_MAX)

    for source in (
        "x" + " " * SOURCE_CHARACTERS_MAX,
        f"[{','.join(['1'] * NODES_MAX)}]",
        "[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1),
    ):
        with pytest.raises(ExpressionError):
            Expression.parse(source)


def test_a_set_keeps_the_order_in_which_values_first_appear() -> None:
    words = [f"word{number % 50}" for number in range(500)]

    assert evaluate("list(set(words))", {"words": words}) == words[:50]


# ------------------------------------------------------------------ the same as in Python

VALUES = st.one_of(
    st.integers(-50, 50),
    st.floats(-10, 10, allow_nan=False).map(lambda number: round(number, 2)),
    st.booleans(),
    st.none(),
    st.text("ab \"'{", max_size=4),
    st.lists(st.integers(-3, 3), max_size=3),
    st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 3), max_size=2),
)
LEAVES = st.one_of(VALUES.map(repr), st.sampled_from(["x", "y", "z"]))
BINARY = ["+", "-", "*", "/", "//", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(BINARY), inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, inner).map(lambda parts: f"({parts[0]} < {parts[1]} <= {parts[0]})"),
        st.tuples(st.sampled_from(["not ", "-", "+"]), inner).map(lambda p: f"({p[0]}{p[1]})"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
        st.tuples(inner, inner).map(lambda parts: f"{parts[0]}[{parts[1]}]"),
        st.tuples(inner, inner, inner).map(lambda p: f"{p[0]}[{p[1]}:{p[2]}]"),
        st.tuples(inner, inner).map(lambda parts: f"[{parts[0]}, {parts[1]}]"),
        st.tuples(st.sampled_from(["len", "str", "bool", "sum", "any", "list", "max"]), inner).map(
            lambda parts: f"{parts[0]}({parts[1]})"
        ),
    )


def _in_python(source: str, names: dict[str, Any]) -> Any:
    return eval(source, {}, names)  # noqa: S307 - the reference is Python itself


@settings(max_examples=400)
@given(
    source=st.recursive(LEAVES, _grown, max_leaves=8),
    names=st.fixed_dictionaries({"x": VALUES, "y": VALUES, "z": VALUES}),
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_an_accepted_expression_means_what_it_means_in_python(
    source: str, names: dict[str, Any]
) -> None:
    before = copy.deepcopy(names)
    try:
        value = evaluate(source, names)
    except ExpressionError:
        return  # What is refused on purpose is listed above.

    assert value == _in_python(source, names)
    assert names == before


NUMBERS = st.recursive(
    st.one_of(st.integers(-99, 99).map(str), st.sampled_from(["x", "y"])),
    lambda inner: st.tuples(
        inner, st.sampled_from(["+", "-", "*", "<", "==", ">=", "and", "or"]), inner
    ).map(lambda parts: f"({' '.join(parts)})"),
    max_leaves=10,
)


@given(source=NUMBERS, x=st.integers(-99, 99), y=st.integers(-99, 99))
def test_arithmetic_and_comparisons_of_numbers_are_never_refused(
    source: str, x: int, y: int
) -> None:
    assert evaluate(source, {"x": x, "y": y}) == _in_python(source, {"x": x, "y": y})


@given(st.text(max_size=60) | st.text("ab.[](){}*+-'\"_ ,:", max_size=60))
def test_no_text_does_anything_but_evaluate_or_be_refused(source: str) -> None:
    with suppress(ExpressionError):
        evaluate(source, {"a": {"b": [1]}, "b": "text"})
