"""What an expression may do with values: operators, functions and methods, all within limits.

Values are JSON's, tuples, and sets that keep their order. What is impossible or too large is
refused before it is tried.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from typing import Any

TEXT_CHARACTERS_MAX = 1_048_576
ELEMENTS_MAX = 100_000
INTEGER_BITS_MAX = 256
NUMERAL_CHARACTERS_MAX = 1_000
STRIP_CHARACTERS_MAX = 100
ROUND_DIGITS_MAX = 100


class Refused(ValueError):
    """An expression asks for something that is impossible or not allowed."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


# --------------------------------------------------------------------------------- values

SetView = type(dict[Any, Any]().keys())
SCALARS = frozenset({type(None), bool, int, float, str})
_VALUES = SCALARS | {list, dict, tuple, SetView, slice}
_KINDS = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    dict: "object",
    SetView: "set",
}


def kind(value: object) -> str:
    """The name of a value's type as messages use it: string, integer, object, list…"""
    return _KINDS.get(type(value), type(value).__name__)


def check_value(value: object) -> None:
    """Only JSON values, tuples and sets circulate, and numbers stay small and finite."""
    if type(value) not in _VALUES:
        raise Refused(f"A value of type {type(value).__name__!r} is not a JSON value")
    if isinstance(value, int) and value.bit_length() > INTEGER_BITS_MAX:
        raise Refused(f"An integer has more than {INTEGER_BITS_MAX} bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused("A number is infinite, or not a number")


def check_size(size: int, value: object) -> None:
    """Refuses a text or container of `size`; `value` only tells which of the two it is."""
    is_text = isinstance(value, str)
    limit = TEXT_CHARACTERS_MAX if is_text else ELEMENTS_MAX
    if size > limit:
        unit = "characters" if is_text else "elements"
        raise Refused(f"The result would have {size} {unit}; at most {limit} are allowed")


def as_json(value: Any) -> Any:
    """The value with lists for tuples and sets; keys must be strings."""
    if isinstance(value, list | tuple | SetView):
        return [as_json(element) for element in value]
    if not isinstance(value, dict):
        check_value(value)
        return value
    for key in value:
        if not isinstance(key, str):
            raise Refused(f"The key {key!r} of the result is no string, so it is not JSON")
    return {key: as_json(element) for key, element in value.items()}


class Budget:
    """What one evaluation may still make: an element is one unit, 64 characters are another."""

    def __init__(self, units: int) -> None:
        self._left = units

    def spend(self, units: int) -> None:
        """Takes units away; refuses when there are not enough. There is no way to gain any."""
        self._left -= max(units, 0)
        if self._left < 0:
            raise Refused(
                "This is too much work for one evaluation", hint="Use a code_job node instead."
            )

    def weigh(self, value: Any) -> int:
        """Counts, and spends, the units of everything inside a value, which must be JSON's."""
        units = 0
        pending: list[Iterable[Any]] = [(value,)]
        while pending:
            group = pending.pop()
            size = 0
            for item in group:
                if isinstance(item, str):
                    size += len(item) // 64
                elif type(item) not in SCALARS:
                    size += self._open(item, pending)
            self.spend(size)
            units += size
        return units

    def _open(self, item: Any, pending: list[Iterable[Any]]) -> int:
        if not isinstance(item, list | tuple | dict | SetView):
            check_value(item)
        pending.append(item)
        if isinstance(item, dict):
            pending.append(item.values())
        return len(item)

    def multiply(self, left: Any, right: Any) -> Any:
        """`*`: repeating a list costs everything inside it, as many times."""
        if are_numbers(left, right):
            return left * right
        repeated, times = (right, left) if isinstance(left, int) else (left, right)
        if not isinstance(repeated, str | list | tuple) or not isinstance(times, int):
            raise mismatch("*", left, right)
        check_size(len(repeated) * times, repeated)
        self.spend(self.weigh(repeated) * max(times, 0))
        return repeated * times

    def text(self, value: Any = "") -> str:
        """`str`; what is certainly too long is not even tried: an element takes some characters."""
        if not isinstance(value, str):
            check_size(4 * self.weigh(value), "")
        text = str(value)
        check_size(len(text), text)
        return text


def size_of(value: object) -> int:
    """The units of a value itself, without what is inside it."""
    if isinstance(value, str):
        return len(value) // 64
    return len(value) if isinstance(value, list | tuple | dict | SetView) else 0


def nearest(name: str, known: Collection[Any]) -> str:
    """Half a sentence with the known name most like `name`; empty when nothing is near."""
    candidates = [key for key in list(known)[:1_000] if isinstance(key, str) and len(key) <= 100]
    matches = get_close_matches(name[:100], candidates, n=1, cutoff=0.5)
    return f"; the nearest known name is {matches[0]!r}" if matches else ""


# ------------------------------------------------------------------------------ operators


def mismatch(symbol: str, left: object, right: object) -> Refused:
    """The refusal of an operator between two values it does not fit."""
    return Refused(
        f"`{symbol}` cannot be applied to {kind(left)} and {kind(right)}",
        hint="Convert one side with int(…), float(…) or str(…).",
    )


def are_numbers(left: object, right: object) -> bool:
    """Are both numbers? Booleans are, as in Python."""
    return isinstance(left, int | float) and isinstance(right, int | float)


def _arithmetic(symbol: str, apply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply_to_numbers(left: Any, right: Any) -> Any:
        if not are_numbers(left, right):
            raise mismatch(symbol, left, right)
        return apply(left, right)

    return apply_to_numbers


def _ordering(symbol: str, apply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def compare(left: Any, right: Any) -> Any:
        comparable = type(left) is type(right) and not isinstance(left, dict | None)
        if not comparable and not are_numbers(left, right):
            raise mismatch(symbol, left, right)
        return apply(left, right)

    return compare


def _is(left: Any, right: Any) -> bool:
    # Whether two equal numbers or texts are one object is an accident of the interpreter.
    if not any(side is None or isinstance(side, bool) for side in (left, right)):
        raise Refused("`is` compares with None, True and False only", hint="Write == or !=.")
    return left is right


def _in(left: Any, right: Any) -> bool:
    is_text = isinstance(right, str)
    if (is_text and not isinstance(left, str)) or (type(right) in SCALARS and not is_text):
        raise mismatch("in", left, right)
    return left in right


def _add(left: Any, right: Any) -> Any:
    if type(left) is type(right) and isinstance(left, str | list | tuple):
        check_size(len(left) + len(right), left)
    elif not are_numbers(left, right):
        raise mismatch("+", left, right)
    return left + right


def _subtract(left: Any, right: Any) -> Any:
    if isinstance(left, SetView) and isinstance(right, SetView):
        return _distinct(element for element in left if element not in right)
    if not are_numbers(left, right):
        raise mismatch("-", left, right)
    return left - right


def _sign(symbol: str, apply: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply_to_number(value: Any) -> Any:
        if not isinstance(value, int | float):
            raise Refused(f"`{symbol}` cannot be applied to {kind(value)}")
        return apply(value)

    return apply_to_number


# Multiplication is the budget's.
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Not: operator.not_,
    ast.USub: _sign("-", operator.neg),
    ast.UAdd: _sign("+", operator.pos),
    ast.Add: _add,
    ast.Sub: _subtract,
    ast.Div: _arithmetic("/", operator.truediv),
    ast.FloorDiv: _arithmetic("//", operator.floordiv),
    ast.Mod: _arithmetic("%", operator.mod),
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: _ordering("<", operator.lt),
    ast.LtE: _ordering("<=", operator.le),
    ast.Gt: _ordering(">", operator.gt),
    ast.GtE: _ordering(">=", operator.ge),
    ast.In: _in,
    ast.NotIn: lambda left, right: not _in(left, right),
    ast.Is: _is,
    ast.IsNot: lambda left, right: not _is(left, right),
}

# ------------------------------------------------------------------- functions and methods


def _distinct(values: Any = ()) -> Any:
    """A set in order of first appearance: the order of Python's own differs between processes."""
    return dict.fromkeys(values).keys()


def _sum(values: Any, start: Any = 0) -> Any:
    for value in (start, *values):
        if not isinstance(value, int | float):
            raise Refused(f"sum adds numbers, not a value of type {kind(value)}")
    return sum(values, start)


def _numeral(value: Any) -> Any:
    if isinstance(value, str) and len(value) > NUMERAL_CHARACTERS_MAX:
        raise Refused(f"A text of {len(value)} characters is too long for a number")
    return value


def _round(number: Any, digits: Any = None) -> Any:
    if isinstance(digits, int) and abs(digits) > ROUND_DIGITS_MAX:
        raise Refused(f"round takes at most {ROUND_DIGITS_MAX} digits")
    return round(number, digits)


def _made_by(make: Callable[..., Any]) -> Callable[..., Any]:
    def make_within_limits(*values: Any) -> Any:
        for value in values:
            check_size(len(value), [])
        return make(*values)

    return make_within_limits


def _strip(text: str, characters: str | None = None) -> str:
    if characters is not None and len(characters) > STRIP_CHARACTERS_MAX:
        raise Refused(f"strip takes at most {STRIP_CHARACTERS_MAX} characters")
    return text.strip(characters)


def _split(text: str, separator: str | None = None, most: int = -1) -> list[str]:
    parts = text.split(separator, ELEMENTS_MAX if most < 0 else min(most, ELEMENTS_MAX))
    check_size(len(parts), parts)
    return parts


def _replace(text: str, old: str, new: str, most: int = -1) -> str:
    count = text.count(old) if most < 0 else min(most, text.count(old))
    check_size(len(text) + count * (len(new) - len(old)), text)
    return text.replace(old, new, most)


# The evaluator puts a `str` of its own here: the text of a container costs from its budget.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": len,
    "abs": abs,
    "min": min,
    "max": max,
    "sum": _sum,
    "all": all,
    "any": any,
    "bool": bool,
    "int": lambda value=0, *base: int(_numeral(value), *base),
    "float": lambda value=0.0: float(_numeral(value)),
    "str": str,
    "round": _round,
    "list": _made_by(list),
    "dict": _made_by(dict),
    "tuple": _made_by(tuple),
    "set": _made_by(_distinct),
}
_SEQUENCE_METHODS: dict[str, Callable[..., Any]] = {
    "count": lambda values, value: values.count(value),
    "index": lambda values, value, *bounds: values.index(value, *bounds),
}
METHODS: dict[type, dict[str, Callable[..., Any]]] = {
    str: {
        "lower": str.lower,
        "upper": str.upper,
        "strip": _strip,
        "startswith": str.startswith,
        "endswith": str.endswith,
        "split": _split,
        "replace": _replace,
    },
    dict: {
        "get": dict.get,
        "keys": list,
        "values": lambda values: list(values.values()),
        "items": lambda values: list(values.items()),
    },
    list: _SEQUENCE_METHODS,
    tuple: _SEQUENCE_METHODS,
}
METHOD_NAMES = sorted({name for methods in METHODS.values() for name in methods})
