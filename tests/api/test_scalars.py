"""The custom scalars: what they print, what they take, and what they refuse."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from graphql import GraphQLError
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.api.types.scalars import (
    decode_date_time,
    decode_duration,
    decode_json,
    decode_sequence,
    encode_date_time,
    encode_duration,
    encode_sequence,
)


def test_a_time_always_has_six_digits_and_z() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert encode_date_time(noon) == "2026-01-31T12:00:00.000000Z"
    east = noon.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert encode_date_time(east) == encode_date_time(noon)


@given(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the time zone
def test_a_time_comes_back_as_it_went(moment: datetime) -> None:
    assert decode_date_time(encode_date_time(moment)) == moment


def test_a_time_may_come_in_any_zone() -> None:
    assert decode_date_time("2026-01-31t13:00:00.5+01:00") == datetime(
        2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "text", ["2026-01-31", "2026-01-31T12:00:00", "2026-13-31T12:00:00Z", "noon", "", 5, None]
)
def test_what_is_no_time_is_refused(text: object) -> None:
    with pytest.raises(GraphQLError, match="RFC 3339"):
        decode_date_time(text)


@pytest.mark.parametrize(
    "span, text",
    [
        (timedelta(0), "PT0S"),
        (timedelta(seconds=2), "PT2S"),
        (timedelta(milliseconds=1250), "PT1.25S"),
        (timedelta(microseconds=1), "PT0.000001S"),
        (timedelta(minutes=90), "PT1H30M"),
        (timedelta(days=1, hours=2, seconds=3), "PT26H3S"),
        (timedelta(seconds=-1.5), "-PT1.5S"),
    ],
)
def test_a_duration_is_told_in_hours_minutes_and_seconds(span: timedelta, text: str) -> None:
    assert encode_duration(span) == text


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=10_000)))
def test_a_duration_comes_back_as_it_went(span: timedelta) -> None:
    assert decode_duration(encode_duration(span)) == span


@pytest.mark.parametrize(
    "text, span",
    [
        ("P1W", timedelta(weeks=1)),
        ("P1DT12H", timedelta(days=1.5)),
        ("PT0.5S", timedelta(seconds=0.5)),
        ("PT1H2M3S", timedelta(hours=1, minutes=2, seconds=3)),
    ],
)
def test_a_duration_may_have_days_and_weeks(text: str, span: timedelta) -> None:
    assert decode_duration(text) == span


@pytest.mark.parametrize("text", ["P", "PT", "P1Y", "P1M", "2s", "PT1S ", "-PT1S", 2, None])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(GraphQLError, match="ISO 8601"):
        decode_duration(text)


@pytest.mark.parametrize("value", [7, "7", "007"])
def test_a_sequence_is_taken_as_number_or_digits(value: object) -> None:
    assert decode_sequence(value) == 7


def test_a_sequence_is_told_as_digits() -> None:
    assert encode_sequence(2**60) == "1152921504606846976"


@pytest.mark.parametrize("value", [-1, "-1", "", "x", "\u0667", 1.0, True, None, 2**63, "9" * 30])
def test_what_is_no_sequence_is_refused(value: object) -> None:
    with pytest.raises(GraphQLError, match="sequence"):
        decode_sequence(value)


@pytest.mark.parametrize("value", [None, 1, 1.5, "x", [1, {"a": None}], 2**64 - 1, -(2**63)])
def test_json_is_taken_as_it_is(value: object) -> None:
    assert decode_json(value) == value


@pytest.mark.parametrize("value", [2**64, {"a": [-(2**63) - 1]}, float("inf"), [float("nan")]])
def test_a_number_that_json_cannot_keep_is_refused(value: object) -> None:
    with pytest.raises(GraphQLError):
        decode_json(value)
