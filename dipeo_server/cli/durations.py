"""ISO 8601 durations, as the API writes them, in seconds and in words."""

from __future__ import annotations

import re
from typing import Final

_DURATION: Final = re.compile(
    r"(?P<sign>-?)P(?:(?P<days>[\d.]+)D)?"
    r"(?:T(?:(?P<hours>[\d.]+)H)?(?:(?P<minutes>[\d.]+)M)?(?:(?P<seconds>[\d.]+)S)?)?"
)
_UNITS: Final = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


def seconds_of(duration: str | None) -> float | None:
    """`PT1M2.5S` is 62.5; None for none, or for what is no duration."""
    found = _DURATION.fullmatch(duration) if duration else None
    if found is None:
        return None
    total = sum(float(found[unit] or 0) * factor for unit, factor in _UNITS.items())
    return round(-total if found["sign"] else total, 6)


def in_words(seconds: float | None) -> str:
    """`3 ms`, `1.25 s`, `2 min 5 s`; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
