"""Breakpoints on the command line: NODE, NODE:after, NODE=CONDITION, NODE:after=CONDITION."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dipeo_server.cli.outcome import Unusable


def breakpoint_of(text: str, option: str, keys: Collection[str] = ()) -> dict[str, Any]:
    """What the API calls BreakpointInput; a key that is known may hold `=` and `:after` itself.

    Raises Unusable.
    """
    for key in sorted(keys, key=len, reverse=True):
        found = _behind(key, text[len(key) :]) if text.startswith(key) else None
        if found is not None:
            return found
    place, equals, condition = text.partition("=")
    for when in ("before", "after"):
        if place.endswith(f":{when}"):
            place = place.removesuffix(f":{when}")
            return _checked(place, when, condition if equals else None, text, option)
    return _checked(place, "before", condition if equals else None, text, option)


def _behind(key: str, rest: str) -> dict[str, Any] | None:
    """The breakpoint whose node ends where `rest` begins; None if it cannot end there."""
    place, equals, condition = rest.partition("=")
    when = {"": "BEFORE", ":before": "BEFORE", ":after": "AFTER"}.get(place)
    if when is None or (equals and not condition.strip()):
        return None
    return {"nodeKey": key, "when": when, "condition": condition if equals else None}


def _checked(
    place: str, when: str, condition: str | None, text: str, option: str
) -> dict[str, Any]:
    if not place.strip() or (condition is not None and not condition.strip()):
        hint = "For example: review, review:after, or 'pay=amount > 100'."
        raise Unusable(f"{option} {text!r} is not written NODE[:after][=CONDITION].", hint=hint)
    return {"nodeKey": place.strip(), "when": when.upper(), "condition": condition}


def in_words(found: Mapping[str, Any]) -> str:
    """`after review, if amount > 100`."""
    condition = f", if {found['condition']}" if found.get("condition") else ""
    return f"{found['when'].lower()} {found['nodeKey']}{condition}"
