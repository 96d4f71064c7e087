"""The difference between two JSON documents: small where little has changed, and exact.

Equal is what is written alike: 1, 1.0 and true are three values here, and the order of an object's
keys counts. A difference is `{}` (the same), `{"=": value}`, for objects `{"-": keys that are gone,
"+": {key: difference}}`, for lists `{"n": length that is kept, "+": {index: difference}, "a": what
follows}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, Final

DEPTH_MAX: Final = 12
"""Deeper down what is not the same is told as a whole."""

_SAME: Final[Mapping[str, Any]] = {}


def delta(old: Any, new: Any, depth: int = 0) -> Mapping[str, Any]:
    """What makes `new` of `old`."""
    if old is new:
        return _SAME
    if type(old) is not type(new):
        return {"=": new}
    is_near = depth < DEPTH_MAX
    if is_near and isinstance(new, dict):
        return _of_objects(old, new, depth)
    if is_near and isinstance(new, list):
        return _of_lists(old, new, depth)
    return _SAME if _is_written_alike(old, new) else {"=": new}


def apply(base: Any, deltas: Iterable[Mapping[str, Any]]) -> Any:
    """What `base` has become; it stays as it is itself. Raises LookupError for a wrong base."""
    return reduce(_applied, deltas, base)


def _is_written_alike(old: Any, new: Any) -> bool:
    if isinstance(new, float | dict | list):  # -0.0 equals 0.0, and what is nested may be of both.
        return json.dumps(old) == json.dumps(new)
    return bool(old == new)


def _of_objects(old: dict[str, Any], new: dict[str, Any], depth: int) -> Mapping[str, Any]:
    moved = _moved(old, new)
    gone = [key for key in old if key not in new or key in moved]
    changed: dict[str, Any] = {}
    for key, value in new.items():
        if key not in old or key in moved:
            changed[key] = {"=": value}
        else:
            found = delta(old[key], value, depth + 1)
            if found:
                changed[key] = found
    result: dict[str, Any] = {}
    if gone:
        result["-"] = gone
    if changed:
        result["+"] = changed
    order = [*(key for key in old if key in new and key not in moved)]
    order += [key for key in new if key not in old or key in moved]
    return result if order == list(new) else {"=": new}


def _moved(old: dict[str, Any], new: dict[str, Any]) -> set[str]:
    """Keys that are in both, but were taken out and put in again behind others."""
    kept = [key for key in old if key in new]
    moved: set[str] = set()
    place = 0
    for key in new:
        if key in moved or key not in old:
            continue
        while kept[place] != key:
            moved.add(kept[place])
            place += 1
        place += 1
    return moved


def _of_lists(old: list[Any], new: list[Any], depth: int) -> Mapping[str, Any]:
    result: dict[str, Any] = {}
    if len(new) < len(old):
        result["n"] = len(new)
    changed = {}
    for index, (before, after) in enumerate(zip(old, new, strict=False)):
        found = delta(before, after, depth + 1)
        if found:
            changed[str(index)] = found
    if changed:
        result["+"] = changed
    if len(new) > len(old):
        result["a"] = new[len(old) :]
    return result


def _applied(base: Any, change: Mapping[str, Any]) -> Any:
    if not change:
        return base
    if "=" in change:
        return change["="]
    if isinstance(base, list):
        return _applied_to_list(base, change)
    return _applied_to_object(base, change)


def _applied_to_object(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for key in change.get("-", ()):
        del found[key]
    for key, each in change.get("+", {}).items():
        found[key] = _applied(found.get(key), each)
    return found


def _applied_to_list(base: Sequence[Any], change: Mapping[str, Any]) -> list[Any]:
    found = list(base[: change.get("n", len(base))])
    for index, each in change.get("+", {}).items():
        found[int(index)] = _applied(found[int(index)], each)
    found.extend(change.get("a", ()))
    return found
