"""Ordered rules that reshape a value on its way along an edge, or in a transform node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.domains.execution.documents import DocumentError, parse
from dipeo_server.domains.execution.expression import evaluate
from dipeo_server.domains.execution.templates import build_context, render
from dipeo_server.errors import NodeError, Rejected


class TransformError(NodeError):
    """A transformation rule cannot be applied to the value."""

    code = "TRANSFORM_ERROR"


class TransformationExists(Rejected):
    """A transformation of that name is registered already."""


@dataclass(frozen=True, slots=True)
class TransformRule:
    """One rule: the transformation's name and its argument."""

    name: str
    argument: Any


Transform = Callable[[Any, Any], Any]
"""Takes (value, argument), gives the new value."""


def _extract(value: Any, argument: Any) -> Any:
    """`extract: a.b.0`: what lies at a path of keys and indexes."""
    found = value
    for part in str(argument).split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.lstrip("-").isdigit() and _has(found, int(part)):
            found = found[int(part)]
        else:
            known = ", ".join(map(str, found)) if isinstance(found, Mapping) else None
            message = f"extract: there is no {part!r} on the way to {argument!r}."
            raise TransformError(message, hint=f"Known keys: {known}." if known else None)
    return found


def _has(items: Sequence[Any], index: int) -> bool:
    return -len(items) <= index < len(items)


def _wrap(value: Any, argument: Any) -> Any:
    """`wrap: key`: the value under that key."""
    return {str(argument): value}


def _map(value: Any, argument: Any) -> Any:
    """`map: {new: path}`: a new map, each key from a path of the value."""
    if not isinstance(argument, Mapping):
        raise TransformError("map: the argument must be a map of new key to path.")
    return {str(key): _extract(value, path) for key, path in argument.items()}


def _template(value: Any, argument: Any) -> Any:
    """`template: text`: the text, rendered with the value's keys, `value` and `default`."""
    context = build_context({"default": value, "value": value}, {})
    return render(str(argument), context).text


def _json(value: Any, argument: Any) -> Any:
    """`json: parse` reads JSON text; `json: dump` writes it."""
    if argument == "dump":
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return value
    try:
        return parse(value, "json", name="the text")
    except DocumentError as error:
        raise TransformError(f"json: {error.message}") from error


def _expression(value: Any, argument: Any) -> Any:
    """`expression: text`: its value; names are the value's keys, and `value`."""
    names = {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}
    return evaluate(str(argument), {**names, "value": value})


BUILT_IN: Final[Mapping[str, Transform]] = {
    "extract": _extract,
    "wrap": _wrap,
    "map": _map,
    "template": _template,
    "json": _json,
    "expression": _expression,
}


class TransformationRegistry:
    """Transformations by name; the order of registration is their precedence in a map of rules."""

    def __init__(self, transformations: Mapping[str, Transform] = BUILT_IN) -> None:
        self._by_name = dict(transformations)

    def register(self, name: str, transform: Transform, *, before: str | None = None) -> None:
        """Make one usable by name; `before` puts it in front of another in precedence.

        Raises TransformationExists.
        """
        if name in self._by_name:
            raise TransformationExists(f"A transformation named {name!r} exists already.")
        order = list(self._by_name)
        order.insert(order.index(before) if before in self._by_name else len(order), name)
        known = {**self._by_name, name: transform}
        self._by_name = {each: known[each] for each in order}

    def apply(self, value: Any, rules: Iterable[TransformRule]) -> Any:
        """The value behind all rules, in order. Raises TransformError for an unknown one."""
        for rule in rules:
            transform = self._by_name.get(rule.name)
            if transform is None:
                hint = f"Known transformations: {', '.join(self._by_name)}."
                raise TransformError(f"There is no transformation {rule.name!r}.", hint=hint)
            value = transform(value, rule.argument)
        return value

    def in_order(self, rules: Mapping[str, Any]) -> tuple[TransformRule, ...]:
        """A map of rules as a list: by precedence, unknown names last."""
        order = {name: rank for rank, name in enumerate(self._by_name)}
        names = sorted(rules, key=lambda name: order.get(name, len(order)))
        return tuple(TransformRule(name, rules[name]) for name in names)


TRANSFORMATIONS: Final = TransformationRegistry()


def rules_of(transform: Mapping[str, Any] | Sequence[Any] | None) -> tuple[TransformRule, ...]:
    """The rules of an edge or node: a map (by precedence), or a list of one-key maps."""
    if not transform:
        return ()
    if isinstance(transform, Mapping):
        return TRANSFORMATIONS.in_order(transform)
    found: list[TransformRule] = []
    for number, step in enumerate(transform, start=1):
        if not isinstance(step, Mapping):
            message = f"Rule {number} is {step!r}, not a map of one name to its argument."
            raise TransformError(message, hint="Write rules as `- extract: a.b`.")
        found.extend(TransformRule(str(name), argument) for name, argument in step.items())
    return tuple(found)
