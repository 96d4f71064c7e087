"""Durations: ISO 8601 as the API writes them, as people type them, in seconds and in words."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from dipeo_server.cli.outcome import Unusable

_DURATION: Final = re.compile(
    r"(?P<sign>-?)P(?:(?P<days>[\d.]+)D)?"
    r"(?:T(?:(?P<hours>[\d.]+)H)?(?:(?P<minutes>[\d.]+)M)?(?:(?P<seconds>[\d.]+)S)?)?"
)
_UNITS: Final = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
_TYPED: Final = re.compile(r"(?:\d+(?:\.\d+)?[wdhms])+", re.ASCII)
_TYPED_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([wdhms])", re.ASCII)
_TYPED_UNITS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SECONDS_MAX: Final = 999_999_999


def iso_of(text: str, option: str) -> str:
    """`90s`, `5m`, `1h30m` or `PT90S`, as the API takes it. Raises Unusable."""
    typed = text.strip()
    seconds = seconds_of(typed.upper())
    if seconds is not None and seconds >= 0 and typed[-1:].isalpha() and len(typed) > 2:
        return typed.upper()
    if not _TYPED.fullmatch(typed.lower()):
        hint = "Write a number and s, m, h, d or w: 90s, 5m, 1h30m, 2d; or ISO 8601: PT90S."
        raise Unusable(f"{option} cannot be {text!r}.", hint=hint)
    parts = _TYPED_PART.findall(typed.lower())
    total = sum((Decimal(count) * _TYPED_UNITS[unit] for count, unit in parts), Decimal(0))
    if total > _SECONDS_MAX:
        raise Unusable(f"{option} {text} is more than this program can count.")
    return f"PT{total.normalize():f}S"


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
