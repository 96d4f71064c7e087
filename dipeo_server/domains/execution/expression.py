"""Expressions of conditions, edges and transform rules: one closed language over JSON values.

Nothing in it can change a value, reach a Python object, or do more than a bounded amount of work:
the syntax is a list of allowed nodes, every operator and function is one of ours, and what an
expression makes is paid for from a budget.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from simpleeval import EvalWithCompoundTypes

from dipeo_server.domains.execution.operations import (
    FUNCTIONS,
    METHOD_NAMES,
    METHODS,
    OPERATORS,
    SCALARS,
    Budget,
    Refused,
    as_json,
    check_value,
    kind,
    nearest,
    size_of,
)
from dipeo_server.errors import NodeError

SOURCE_CHARACTERS_MAX = 2_000
# Nothing repeats, so this also bounds the steps of an evaluation.
NODES_MAX = 200
DEPTH_MAX = 32
UNITS_MAX = 500_000


class ExpressionError(NodeError):
    """An expression is malformed, names something unknown, or cannot be evaluated."""

    code = "EXPRESSION_ERROR"


@dataclass(frozen=True, slots=True)
class Expression:
    """The text of an expression that has passed every check of its syntax and size."""

    source: str

    @classmethod
    def parse(cls, source: str) -> Expression:
        """Checks syntax, allowed nodes and size; raises ExpressionError."""
        _parse(source)
        return cls(source)


def evaluate(expression: Expression | str, names: Mapping[str, Any]) -> Any:
    """The value of an expression over `names`, whose values are plain JSON and stay unchanged.

    The result is plain JSON too: tuples and sets become lists. `true`, `false` and `null` may be
    written for `True`, `False` and `None`. Raises ExpressionError.
    """
    source = expression.source if isinstance(expression, Expression) else expression
    tree = _parse(source)
    try:
        return _Evaluator(names).json_value(tree)
    except Refused as refusal:
        raise _error(str(refusal), source, hint=refusal.hint) from None
    except ZeroDivisionError:
        raise _error("Division by zero", source) from None
    except RecursionError:
        raise _error("A value is nested too deeply", source) from None
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise _error(str(error), source) from None


def check_expression(source: str) -> str | None:
    """What is wrong with an expression, or None."""
    try:
        Expression.parse(source)
    except ExpressionError as error:
        return error.message
    return None


def names_used(source: str) -> frozenset[str]:
    """The free names of an expression: what `names` must hold. Raises ExpressionError."""
    nodes = list(ast.walk(_parse(source)))
    functions = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    return frozenset(
        node.id
        for node in nodes
        if isinstance(node, ast.Name) and id(node) not in functions and node.id not in _LITERALS
    )


def _error(problem: str, source: str, *, hint: str | None = None) -> ExpressionError:
    shown = source.strip()
    shown = shown if len(shown) <= 120 else f"{shown[:119]}…"
    return ExpressionError(f"{problem} (in the expression {shown!r})", hint=hint)


# --------------------------------------------------------------------------------- syntax

_LITERALS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_EXPRESSIONS = (
    *(ast.BoolOp, ast.UnaryOp, ast.Compare, ast.BinOp, ast.IfExp, ast.Call),
    *(ast.Subscript, ast.Slice, ast.Attribute, ast.Name, ast.Constant),
    *(ast.List, ast.Tuple, ast.Dict),
)
_OPERATORS: tuple[type[ast.AST], ...] = (ast.And, ast.Or, ast.Mult, ast.expr_context, *OPERATORS)
_WORDING = {
    "Pow": "The power operator `**`",
    "LShift": "The shift operator `<<`",
    "RShift": "The shift operator `>>`",
    "Invert": "The bit operator `~`",
    "BitAnd": "The bit operator `&`",
    "BitOr": "The bit operator `|`",
    "BitXor": "The bit operator `^`",
    "MatMult": "The operator `@`",
    "JoinedStr": "An f-string",
    "NamedExpr": "An assignment",
    "Starred": "Unpacking with `*`",
    "keyword": "A named argument",
    "Set": "A set in braces (write `set([…])`)",
    "Lambda": "A lambda",
    "ListComp": "A comprehension",
    "SetComp": "A comprehension",
    "DictComp": "A comprehension",
    "GeneratorExp": "A generator",
}


@lru_cache(maxsize=512)
def _parse(source: str) -> ast.expr:
    try:
        _check_text(source)
        # Python merely warns of some malformed literals; whether it does must not matter here.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = ast.parse(source.strip(), mode="eval").body
        _check_tree(tree)
    except SyntaxError as error:
        column = f" at column {error.offset}" if error.offset else ""
        hint = "Write one expression with Python's operators, without statements."
        raise _error(f"Not an expression: {error.msg}{column}", source, hint=hint) from None
    except Refused as refusal:
        raise _error(str(refusal), source, hint=refusal.hint) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _error(f"Not an expression: {error}", source) from None
    return tree


def _check_text(source: str) -> None:
    if len(source) > SOURCE_CHARACTERS_MAX:
        raise Refused(
            f"An expression of {len(source)} characters; at most {SOURCE_CHARACTERS_MAX} "
            "are allowed",
            hint="Move the computation to a code_job or a transform node.",
        )
    if not source.strip():
        raise Refused("The expression is empty", hint="Write a condition, such as: count > 3")


def _check_tree(tree: ast.expr) -> None:
    pending = [(tree, 1)]
    count = 0
    while pending:
        node, depth = pending.pop()
        count += 1
        if count > NODES_MAX or depth > DEPTH_MAX:
            raise Refused(
                f"The expression is too large: at most {NODES_MAX} terms, {DEPTH_MAX} levels deep",
                hint="Split it over several conditions, or use a code_job node.",
            )
        _check_node(node)
        pending.extend((child, depth + 1) for child in _children(node))


def _children(node: ast.expr) -> Iterator[ast.expr]:
    """The expressions right below a node; every other part of Python is refused here."""
    for child in ast.iter_child_nodes(node):
        if isinstance(node, ast.Call) and child is node.func and isinstance(child, ast.Name):
            continue
        if isinstance(child, ast.expr):
            yield child
        elif not isinstance(child, _OPERATORS):
            raise _unavailable(child)


def _check_node(node: ast.expr) -> None:
    if not isinstance(node, _EXPRESSIONS):
        raise _unavailable(node)
    match node:
        case ast.Constant(value=value):
            _check_constant(value)
        case ast.Attribute(attr=name) if name.startswith("__"):
            raise Refused(f"There is no attribute {name!r}: a dot reads the keys of an object")
        case ast.Dict(keys=keys) if None in keys:
            raise Refused("Unpacking with `**` is not available in expressions")
        case ast.Call(func=ast.Name(id=name)) if name not in FUNCTIONS:
            raise Refused(f"Unknown function {name!r}{nearest(name, FUNCTIONS)}")
        case ast.Call(func=ast.Attribute(attr=name)) if name not in METHOD_NAMES:
            raise Refused(f"Unknown method {name!r}{nearest(name, METHOD_NAMES)}")
        case ast.Call(func=func) if not isinstance(func, ast.Name | ast.Attribute):
            raise Refused("Only functions and methods can be called, by their names")


def _check_constant(value: object) -> None:
    if type(value) not in SCALARS:
        raise Refused(f"The literal {value!r} is not a JSON value")
    check_value(value)
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise Refused("A text holds half of a surrogate pair")


def _unavailable(node: ast.AST) -> Refused:
    name = type(node).__name__
    wording = _WORDING.get(name, f"The syntax {name!r}")
    return Refused(f"{wording} is not available in expressions")


# ----------------------------------------------------------------------------- evaluation

_MAKING = (ast.BinOp, ast.Call, ast.List, ast.Tuple, ast.Dict)


class _Evaluator(EvalWithCompoundTypes):  # type: ignore[misc] # simpleeval ships no types
    """simpleeval with tables of our own; `_parse` has refused every node that is not in them."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        super().__init__(names=names)
        self._budget = Budget(UNITS_MAX)
        self.operators = {**OPERATORS, ast.Mult: self._budget.multiply}
        self.functions: dict[str, Callable[..., Any]] = {**FUNCTIONS, "str": self._budget.text}
        self.nodes = {
            ast.BoolOp: self._eval_boolop,
            ast.UnaryOp: self._eval_unaryop,
            ast.Compare: self._eval_compare,
            ast.BinOp: self._eval_binop,
            ast.IfExp: self._eval_ifexp,
            ast.Call: self._eval_call,
            ast.Subscript: self._eval_subscript,
            ast.Slice: self._eval_slice,
            ast.Attribute: self._eval_attribute,
            ast.Name: self._eval_name,
            ast.Constant: self._eval_constant,
            ast.List: self._eval_list,
            ast.Tuple: self._eval_tuple,
            ast.Dict: self._eval_dict,
        }

    def json_value(self, tree: ast.expr) -> Any:
        """Evaluates a checked tree; the result is JSON, and bounded like everything made."""
        value = self._eval(tree)
        self._budget.weigh(value)
        return as_json(value)

    def _eval(self, node: ast.expr) -> Any:
        value = self.nodes[type(node)](node)
        check_value(value)
        if isinstance(node, _MAKING):
            self._budget.spend(size_of(value))
        return value

    def _eval_name(self, node: ast.Name) -> Any:
        name = node.id
        if name in _LITERALS:
            return _LITERALS[name]
        if name in self.names:
            return self.names[name]
        if name in FUNCTIONS:
            raise Refused(f"{name!r} is a function: call it, as in {name}(…)")
        known = ", ".join(sorted(map(str, self.names))[:20]) or "none"
        raise Refused(
            f"Unknown name {name!r}{nearest(name, self.names)}", hint=f"Known names: {known}."
        )

    def _eval_attribute(self, node: ast.Attribute) -> Any:
        value = self._eval(node.value)
        if isinstance(value, dict):
            return _at_key(value, node.attr, node.value)
        hint = f"Call it, as in .{node.attr}(…)." if node.attr in METHOD_NAMES else None
        raise Refused(
            f"`{ast.unparse(node.value)}` is no object but {kind(value)}: it has no key "
            f"{node.attr!r}",
            hint=hint,
        )

    def _eval_subscript(self, node: ast.Subscript) -> Any:
        container = self._eval(node.value)
        key = self._eval(node.slice)
        if isinstance(container, dict):
            return _at_key(container, key, node.value)
        if not isinstance(container, str | list | tuple):
            raise Refused(f"`{ast.unparse(node.value)}` is {kind(container)}: it has no elements")
        if isinstance(key, int) and not -len(container) <= key < len(container):
            raise Refused(
                f"`{ast.unparse(node.value)}` has {len(container)} elements: there is no [{key}]"
            )
        element = container[key]
        if isinstance(key, slice):
            self._budget.spend(size_of(element))
        return element

    def _eval_call(self, node: ast.Call) -> Any:
        values = [self._eval(argument) for argument in node.args]
        if isinstance(node.func, ast.Attribute):
            name, receiver = node.func.attr, self._eval(node.func.value)
            methods = METHODS.get(type(receiver), {})
            if name not in methods:
                raise Refused(f"{kind(receiver)} has no method {name!r}{nearest(name, methods)}")
            function, values = methods[name], [receiver, *values]
        else:
            assert isinstance(node.func, ast.Name)
            name = node.func.id
            function = self.functions[name]
        try:
            return function(*values)
        except TypeError as error:
            raise Refused(f"{name}(…): {str(error).split('() ', 1)[-1]}") from None


def _at_key(container: dict[Any, Any], key: Any, node: ast.expr) -> Any:
    if key not in container:
        raise Refused(
            f"`{ast.unparse(node)}` has no key {key!r}{nearest(str(key), container)}",
            hint="Use .get(key, default) for keys that may be missing.",
        )
    return container[key]
