"""The JSON this server speaks: strict when it reads, forgiving when it writes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import orjson

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1

LEVELS_MAX: Final = 200
"""What is nested deeper is refused when it is read: neither the log nor answers could hold it."""
_TOO_DEEP: Final = "(nested too deeply)"

# orjson reads integers beyond 64 bits as floats; only a text with this many digits can hold one.
_MAY_BE_TOO_LARGE: Final = re.compile(rb"[0-9]{19}")


def loads(text: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises ValueError for anything else: invalid UTF-8, NaN, nesting beyond LEVELS_MAX, and
    integers that do not fit 64 bits (they would lose digits on their way).
    """
    value = orjson.loads(text)
    if text.count(b"[") + text.count(b"{") > LEVELS_MAX and _is_too_deep(value):
        raise ValueError(f"it is nested beyond {LEVELS_MAX} levels")
    if _MAY_BE_TOO_LARGE.search(text):
        json.loads(text, parse_int=_integer)
    return value


def dumps(value: object) -> bytes:
    """UTF-8 JSON. NaN and infinities become null, what is no JSON value becomes its text.

    Of what is nested beyond LEVELS_MAX, if there is such a thing, the depths are left out.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        # User data may hold what orjson refuses: integers beyond 64 bits, lone surrogates, depths.
        return json.dumps(_plain(value, LEVELS_MAX), separators=(",", ":")).encode()


def canonical(value: object) -> bytes:
    """The same bytes for equal values, whatever the order of their keys."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":")).encode()


def _is_too_deep(value: object) -> bool:
    level = [value]
    for _ in range(LEVELS_MAX):
        inner: list[object] = []
        for each in level:
            if isinstance(each, dict):
                inner.extend(each.values())
            elif isinstance(each, list):
                inner.extend(each)
        level = [each for each in inner if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def _integer(digits: str) -> int:
    number = int(digits) if len(digits) <= 20 else INTEGER_MAX + 1
    if not INTEGER_MIN <= number <= INTEGER_MAX:
        raise ValueError("An integer does not fit 64 bits; send it as a string.")
    return number


def _plain(value: object, levels: float = math.inf) -> object:
    if levels <= 0:
        return _TOO_DEEP
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {_text(key): _plain(item, levels - 1) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, levels - 1) for item in value]
        case _ if is_dataclass(value):
            return {
                part.name: _plain(getattr(value, part.name), levels - 1) for part in fields(value)
            }
        case _:
            return _text(value)


def _text(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()
