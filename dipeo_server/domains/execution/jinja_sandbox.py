"""The Jinja environment of templates: plain values, allowed attributes, bounded work.

Jinja's own sandbox keeps a template away from Python's internals, but not from endless work: here
every operator, call and filter pays from a budget, and sizes are checked before they are made.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from functools import wraps
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.filters import FILTERS
from jinja2.runtime import BlockReference, Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import Cycler, Joiner, Namespace
from markupsafe import Markup
from typing_extensions import override

from dipeo_server.domains.execution.operations import (
    OPERATORS,
    SCALARS,
    Budget,
    Refused,
    check_size,
    check_value,
    kind,
    size_of,
)
from dipeo_server.domains.execution.template_syntax import is_true

UNITS_MAX = 1_000_000
RANGE_MAX = 10_000
INTEGER_ARGUMENT_MAX = 10_000
INDENT_MAX = 8

# -------------------------------------------------------------- what a call makes, beforehand


_Arguments = tuple[Any, ...]
_Options = Mapping[str, Any]


def _option(args: _Arguments, options: _Options, position: int, name: str) -> Any:
    return args[position] if len(args) > position else options.get(name)


def _joined(args: _Arguments, options: _Options) -> int:
    return len(str(_option(args, options, 1, "d") or "")) * len(args[0])


def _joined_by(args: _Arguments, options: _Options) -> int:
    return len(args[0]) * len(_option(args, options, 1, "iterable"))


def _replaced(args: _Arguments, options: _Options) -> int:
    old, new = (str(_option(args, options, *place)) for place in ((1, "old"), (2, "new")))
    text = str(args[0])
    return len(text) + text.count(old) * max(len(new) - len(old), 0)


def _stripped(args: _Arguments, options: _Options) -> int:
    return len(str(args[0])) * len(_option(args, options, 1, "chars") or "") // 64


def _indented(args: _Arguments, options: _Options) -> int:
    width = _option(args, options, 1, "width") or 4
    return (len(args[0].splitlines()) + 1) * (len(width) if isinstance(width, str) else width)


def _wrapped(args: _Arguments, options: _Options) -> int:
    lines = len(args[0]) // max(_option(args, options, 1, "width") or 79, 1) + args[0].count("\n")
    # Wrapping is slow: a line costs like a hundred characters.
    return int((lines + 1) * (100 + len(_option(args, options, 3, "wrapstring") or "")))


def _summed(args: _Arguments, options: _Options) -> int:
    if not isinstance(_option(args, options, 2, "start"), int | float | None):
        raise Refused("sum adds numbers")
    return 0


def _dumped(args: _Arguments, options: _Options) -> int:
    indent = _option(args, options, 1, "indent") or 0
    if not isinstance(indent, int) or indent > INDENT_MAX:
        raise Refused(f"indent is a number up to {INDENT_MAX}")
    return 0


_ESTIMATES: dict[str, Callable[[_Arguments, _Options], int]] = {
    "join": _joined,
    "replace": _replaced,
    "trim": _stripped,
    "indent": _indented,
    "wordwrap": _wrapped,
    "sum": _summed,
    "tojson": _dumped,
    "json": _dumped,
    ".join": _joined_by,
    ".replace": _replaced,
    ".strip": _stripped,
    ".lstrip": _stripped,
    ".rstrip": _stripped,
}
_SMALL = {"center", "batch", "slice", "round", "truncate", ".center", ".ljust", ".rjust", ".zfill"}

# -------------------------------------------------------------------------------- filters


def _words(text: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", str(text))
    return [word for word in re.split(r"[\W_]+", spaced) if word]


def _pascal_case(text: str) -> str:
    return "".join(word[:1].upper() + word[1:].lower() for word in _words(text))


def _camel_case(text: str) -> str:
    pascal = _pascal_case(text)
    first = next(iter(_words(text)), "")
    return first.lower() + pascal[len(first) :]


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _each(value: Any) -> Any:
    if isinstance(value, dict):
        return list(value.values())
    if value is not None and not isinstance(value, list | tuple | Undefined):
        raise Refused(f"#each cannot go through {kind(value)}")
    return [] if value is None else value


_OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "json": _json,
    "snake_case": lambda text: "_".join(_words(text)).lower(),
    "kebab_case": lambda text: "-".join(_words(text)).lower(),
    "camel_case": _camel_case,
    "pascal_case": _pascal_case,
    "each": _each,
}
# Left out: what is not deterministic, formats by a text, reaches attributes, or makes Markup.
_LEFT_OUT = {
    *("random", "format", "attr", "pprint", "safe", "forceescape"),
    *("striptags", "urlize", "xmlattr"),
}

# ----------------------------------------------------------------------------- attributes

_SEQUENCE_ATTRIBUTES = frozenset({"count", "index"})
_ATTRIBUTES: dict[type, frozenset[str]] = {
    str: frozenset(
        {
            *("lower", "upper", "title", "capitalize", "swapcase", "casefold"),
            *("strip", "lstrip", "rstrip", "removeprefix", "removesuffix", "replace"),
            *("startswith", "endswith", "find", "rfind", "index", "count"),
            *("split", "rsplit", "splitlines", "partition", "rpartition", "join"),
            *("isdigit", "isalpha", "isalnum", "isspace", "isupper", "islower", "isidentifier"),
            *("center", "ljust", "rjust", "zfill"),
        }
    ),
    list: _SEQUENCE_ATTRIBUTES,
    tuple: _SEQUENCE_ATTRIBUTES,
    dict: frozenset({"get", "keys", "values", "items"}),
    LoopContext: frozenset(
        {
            *("index", "index0", "revindex", "revindex0", "first", "last", "length"),
            *("depth", "depth0", "previtem", "nextitem", "cycle", "changed"),
        }
    ),
    Cycler: frozenset({"current", "next", "reset"}),
    BlockReference: frozenset({"super"}),
}
_BINARY = {
    "+": OPERATORS[ast.Add],
    "-": OPERATORS[ast.Sub],
    "/": OPERATORS[ast.Div],
    "//": OPERATORS[ast.FloorDiv],
    "%": OPERATORS[ast.Mod],
}
_VIEWS = (KeysView, ValuesView, ItemsView)
_ADDED_BY_JINJA = {"_loop_vars", "_block_vars"}
_OBJECTS = (Namespace, Cycler, Joiner, Macro)


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """One rendering's environment; filters whose names begin with # are set by the compiler."""

    intercepted_binops = frozenset({*_BINARY, "*", "**"})

    def __init__(self, call_cost: int = 1) -> None:
        super().__init__(
            undefined=StrictUndefined,
            optimized=False,
            keep_trailing_newline=True,
            finalize=self._printable,
        )
        self._budget = Budget(UNITS_MAX)
        self._call_cost = call_cost
        self._operators = {**_BINARY, "*": self._budget.multiply}
        self.globals = {
            "range": _range,
            "dict": dict,
            "namespace": Namespace,
            "cycler": Cycler,
            "joiner": Joiner,
        }
        offered: dict[str, Callable[..., Any]]
        offered = {name: FILTERS[name] for name in FILTERS.keys() - _LEFT_OUT} | _OWN_FILTERS
        self.filters = {name: self._guarded(name, offered[name]) for name in offered} | {
            "#bound": self._bound,
            "#loop": self._loop,
            "#concat": self._concatenated,
        }
        self.tests = {name: self._guarded(f"is {name}", TESTS[name]) for name in TESTS} | {
            "truthy": lambda value: not isinstance(value, Undefined) and is_true(value)
        }

    # What the compiler asks for.

    @override
    def concat(self, parts: Iterable[str]) -> str:
        size = 0
        written = []
        for part in parts:
            size += len(part)
            check_size(size, "")
            self._budget.spend(1 + size_of(part))
            written.append(part)
        return "".join(written)

    @override
    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        for side in (left, right):
            if isinstance(side, Undefined):
                str(side)  # It raises, and says what is undefined.
        return self._checked(self._operators[operator](left, right))

    @override
    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        self._budget.spend(self._call_cost)
        given = {name: kwargs[name] for name in kwargs.keys() - _ADDED_BY_JINJA}
        receiver = getattr(function, "__self__", None)
        if isinstance(receiver, str):
            self._check_arguments(f".{function.__name__}", (receiver, *args), given)
        else:
            self._check_arguments("", args, given)
        return self._checked(super().call(context, function, *args, **kwargs))

    @override
    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if attr.startswith("_"):
            return False
        if isinstance(obj, Namespace):
            return True
        allowed = _ATTRIBUTES.get(type(obj), ())
        return attr in allowed or attr in getattr(type(obj), "_fields", ())

    @override
    def wrap_str_format(self, value: Any) -> None:
        """Nothing is formatted by a text, so `format` is like any attribute that is not allowed."""

    # What guards it.

    def _guarded(self, name: str, function: Any) -> Callable[..., Any]:
        skipped = 1 if hasattr(function, "jinja_pass_arg") else 0

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self._check_arguments(name, args[skipped:], kwargs)
            return self._checked(function(*args, **kwargs))

        return guarded

    def _check_arguments(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        for value in (*args, *kwargs.values()):
            self._bound(value)
            if isinstance(value, str):
                self._budget.spend(len(value) // 8)
        numbers = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, int)]
        if name in _SMALL and max(numbers, default=0) > INTEGER_ARGUMENT_MAX:
            raise Refused(f"{name} takes numbers up to {INTEGER_ARGUMENT_MAX}")
        if name in _ESTIMATES and not any(isinstance(value, Undefined) for value in args):
            size = _ESTIMATES[name](args, kwargs)
            check_size(size, "")
            self._budget.spend(size // 8)

    def _checked(self, value: Any) -> Any:
        if isinstance(value, Markup):
            value = str.__str__(value)
        elif isinstance(value, (Iterator, *_VIEWS)):
            value = self._listed(value)
        if type(value) in SCALARS:
            check_value(value)
            check_size(len(value) if isinstance(value, str) else 0, "")
        return self._bound(value)

    def _listed(self, values: Iterable[Any]) -> list[Any]:
        listed = []
        for value in values:
            self._budget.spend(1)
            listed.append(value)
        check_size(len(listed), listed)
        return listed

    def _printable(self, value: Any) -> Any:
        if isinstance(value, list | tuple | dict):
            return self._budget.text(value)
        if isinstance(value, Undefined):
            return str(value)
        if type(value) not in SCALARS:
            raise Refused(f"A {type(value).__name__} cannot be printed")
        return value

    def _bound(self, value: Any) -> Any:
        if not isinstance(value, (Undefined, *_OBJECTS)):
            self._budget.weigh(value)
        return value

    def _loop(self, values: Any, cost: int) -> Any:
        self._bound(values)
        if isinstance(values, str | list | tuple | dict):
            self._budget.spend(cost * len(values))
        return values

    def _concatenated(self, values: list[Any]) -> str:
        texts = [str(self._printable(value)) for value in values]
        return self.concat(texts)


def _range(*bounds: int) -> list[int]:
    numbers = range(*bounds)
    if len(numbers) > RANGE_MAX:
        raise Refused(f"range gives at most {RANGE_MAX} numbers")
    return list(numbers)
