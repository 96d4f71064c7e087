"""What counts as a plain JSON value here: string keys, finite 64-bit numbers, bounded depth."""

from __future__ import annotations

import math
from typing import Any

from dipeo_server.errors import InvalidInput

DOCUMENT_BYTES_MAX = 1024 * 1024
NUMBER_CHARACTERS_MAX = 100
DEPTH_MAX = 64
LABEL_CHARACTERS_MAX = 1_000
INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1


def fault_of(value: object, *, depth_max: int = DEPTH_MAX) -> str | None:
    """Why `value` is no plain JSON value, as the end of a sentence; None if it is one.

    Walks without recursion, so the depth of the value is no danger.
    """
    pending: list[tuple[Any, int]] = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if depth > depth_max:
            return f"is nested more than {depth_max} levels deep"
        match item:
            case dict():
                if not all(isinstance(key, str) and is_text(key) for key in item):
                    return "has a key that is no text"
                pending.extend((inner, depth + 1) for inner in item.values())
            case list() | tuple():
                pending.extend((inner, depth + 1) for inner in item)
            case _:
                fault = _scalar_fault(item)
                if fault is not None:
                    return fault
    return None


def check_levels(document: object) -> None:
    """Raises InvalidInput for a document that no reader would take, for it is nested too deeply."""
    layer: list[Any] = [document]
    for _ in range(DEPTH_MAX + 1):
        containers = [item for item in layer if isinstance(item, dict | list)]
        layer = []
        for item in containers:
            layer.extend(item.values() if isinstance(item, dict) else item)
    if containers:
        raise InvalidInput(
            f"In this format the diagram is nested more than {DEPTH_MAX} levels deep.",
            hint="Move what is nested most deeply into a file.",
        )


def _scalar_fault(value: object) -> str | None:
    match value:
        case None | bool():
            return None
        case str():
            return None if is_text(value) else "holds half of a surrogate pair"
        case int():
            return None if INTEGER_MIN <= value <= INTEGER_MAX else "holds an integer over 64 bits"
        case float():
            return None if math.isfinite(value) else "holds a number that is not finite"
        case _:
            return f"holds a {type(value).__name__}"


def is_text(value: str) -> bool:
    """Can it be encoded? Half a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(value: object) -> str | None:
    """A scalar as an author would write it (`true`, `1`); None for null, maps and lists."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            return None
