"""Ids of states sort by time, and are found again in the events that they name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.executors.state_ids import StateIds, actor_of, derived_id, state_of_actor

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = st.timedeltas(timedelta(0), timedelta(days=90_000)).map(lambda since: EPOCH + since)


def test_new_ids_are_later_than_those_before() -> None:
    ids = StateIds()
    made = [ids.new() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {(each.version, each.variant) for each in made} == {(7, "specified in RFC 4122")}


@given(TIMES, st.timedeltas(timedelta(microseconds=1), timedelta(days=1)), st.text())
def test_derived_ids_are_the_same_for_the_same_and_sort_by_time(
    at: datetime, later: timedelta, text: str
) -> None:
    assert derived_id(at, text) == derived_id(at, text)
    assert derived_id(at, text) != derived_id(at, f"{text}!")
    assert derived_id(at, text) < derived_id(at + later, "")
    assert derived_id(at, text).version == 7


@pytest.mark.parametrize("actor", [None, "", "ann", "state:", "state:1", "state:ann"])
def test_other_actors_name_no_state(actor: str | None) -> None:
    assert state_of_actor(actor) is None


def test_an_actor_names_its_state() -> None:
    for state_id in (UUID(int=0), uuid4()):
        assert state_of_actor(actor_of(state_id)) == state_id
