"""The custom scalars: one encoder and one decoder each."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import strawberry
from graphql import GraphQLError
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition

from dipeo_server.api.json_dialect import INTEGER_MAX, INTEGER_MIN
from dipeo_server.domains.execution.ids import Seq

SEQUENCE_MAX: Final = 2**63 - 1

_DATE_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DURATION: Final = re.compile(
    r"P(?=.)(?:(?P<weeks>\d{1,6})W)?(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?"
    r"(?:(?P<seconds>\d{1,9}(?:\.\d{1,9})?)S)?)?",
    re.ASCII,
)
_SEQUENCE: Final = re.compile(r"\d{1,19}", re.ASCII)


def encode_date_time(moment: datetime) -> str:
    """RFC 3339 in UTC, six digits of the second, Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def decode_date_time(text: object) -> datetime:
    """An aware time. Raises GraphQLError."""
    if not isinstance(text, str) or not _DATE_TIME.fullmatch(text):
        raise GraphQLError(f"{text!r} is no time in RFC 3339, like 2026-01-31T12:00:00Z.")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as problem:
        raise GraphQLError(f"{text!r} is no time in RFC 3339: {problem}.") from problem


def encode_duration(span: timedelta) -> str:
    """ISO 8601 in hours, minutes and seconds: PT0S, PT1.25S, PT26H3M."""
    microseconds = abs(span) // timedelta(microseconds=1)
    minutes, rest = divmod(microseconds, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1e6:.6f}".rstrip("0").rstrip(".")
    parts = [f"{hours}H" if hours else "", f"{minutes}M" if minutes else ""]
    parts.append(f"{seconds}S" if rest or not (hours or minutes) else "")
    return ("-PT" if span < timedelta(0) else "PT") + "".join(parts)


def decode_duration(text: object) -> timedelta:
    """Weeks, days, hours, minutes and seconds; not months or years. Raises GraphQLError."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise GraphQLError(f"{text!r} is no ISO 8601 duration, like PT2S, PT1.5S or P1DT12H.")
    return timedelta(**{unit: float(count) for unit, count in found.groupdict("0").items()})


def encode_sequence(sequence: int) -> str:
    """A decimal string, so that no client loses digits."""
    return str(sequence)


def decode_sequence(value: object) -> Seq:
    """From a decimal string or an integer, not negative. Raises GraphQLError."""
    if isinstance(value, str) and _SEQUENCE.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= SEQUENCE_MAX:
        raise GraphQLError(f"{value!r} is no sequence: pass a number from 0, or its digits.")
    return Seq(value)


def decode_json(value: object) -> object:
    """The value, if every number in it survives being stored. Raises GraphQLError."""
    match value:
        case bool() | str() | None:
            pass
        case int() if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise GraphQLError("An integer does not fit 64 bits; send it as a string.")
        case float() if not math.isfinite(value):
            raise GraphQLError("A number is too large for JSON.")
        case dict():
            for item in value.values():
                decode_json(item)
        case list():
            for item in value:
                decode_json(item)
        case _:
            pass
    return value


SCALARS: Mapping[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="RFC 3339 UTC with microseconds.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=encode_date_time,
        parse_value=decode_date_time,
    ),
    timedelta: strawberry.scalar(
        name="Duration",
        description="ISO 8601 duration.",
        serialize=encode_duration,
        parse_value=decode_duration,
    ),
    Seq: strawberry.scalar(
        name="Sequence",
        description=(
            "Position in one execution's event log: 1, 2, 3 … without gaps; a decimal string."
        ),
        serialize=encode_sequence,
        parse_value=decode_sequence,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description=(
            "Any JSON value; only for user data (envelope bodies, variables, node props), never "
            "for our own structure."
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        parse_value=decode_json,
    ),
}
"""What `StrawberryConfig.scalar_map` takes, by Python type."""
