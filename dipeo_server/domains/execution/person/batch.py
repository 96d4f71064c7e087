"""The items of a batch: where they are found, what each one sees, and what comes of them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dipeo_server.errors import NodeError


def batch_items(inputs: Mapping[str, Any], key: str) -> list[Any]:
    """The list under `key`, in the inputs or in a map on `default`; a lone value is one item."""
    found = inputs.get(key)
    default = inputs.get("default")
    if found is None and isinstance(default, Mapping):
        found = default.get(key)
    if found is None:
        return []
    return list(found) if isinstance(found, list | tuple) else [found]


def batch_inputs(
    inputs: Mapping[str, Any], items: Sequence[Any], index: int, *, key: str
) -> dict[str, Any]:
    """What one item sees: itself as `default`, its place, and every other input."""
    others = {name: value for name, value in inputs.items() if name not in (key, "default")}
    return {"default": items[index], "_batch_index": index, "_batch_total": len(items), **others}


def batch_result(
    items: Sequence[Any], outcomes: Sequence[Mapping[str, Any] | NodeError]
) -> dict[str, Any]:
    """{total_items, successful, failed, results, errors}, both lists in the order of the items.

    A result is its outcome with `index`; an error is {index, error, error_type, item}.
    """
    results: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, NodeError):
            error = {"error": outcome.message, "error_type": outcome.code, "item": items[index]}
            errors.append({"index": index, **error})
        else:
            results.append({"index": index, **outcome})
    return {
        "total_items": len(items),
        "successful": len(results),
        "failed": len(errors),
        "results": results,
        "errors": errors,
    }
