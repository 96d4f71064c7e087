"""Reducers: what a branch contributed, so that it can be merged with what others did."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.delta import (
    BUILT_IN,
    Reducer,
    ReducerFailed,
    ReducerRegistry,
    contribution,
    reduce_value,
)

COMMUTATIVE = [reducer for reducer in BUILT_IN if reducer.is_commutative]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "add": st.integers(),
    "min": st.integers(),
    "max": st.integers(),
    "union": st.lists(st.integers(), max_size=4, unique=True),
}


@pytest.mark.parametrize("reducer", COMMUTATIVE, ids=lambda reducer: reducer.name)
@given(data=st.data())
def test_branches_that_began_alike_merge_as_if_they_had_run_one_after_the_other(
    reducer: Reducer, data: st.DataObject
) -> None:
    values = VALUES[reducer.name]
    old = data.draw(st.none() | values)
    branches = data.draw(st.lists(st.lists(values, min_size=1, max_size=3), min_size=2, max_size=3))
    one_after_the_other = merged = old
    for puts in branches:
        ended = old
        for put in puts:
            ended = reduce_value(reducer, "k", ended, put)
            one_after_the_other = reduce_value(reducer, "k", one_after_the_other, put)
        contributed = contribution(reducer, "k", old, ended)
        merged = reduce_value(reducer, "k", merged, contributed)
    if reducer.name == "union":  # A first value is taken as it is, so its order may differ.
        merged, one_after_the_other = sorted(merged or ()), sorted(one_after_the_other or ())
    assert merged == one_after_the_other


@pytest.mark.parametrize(
    "old, new, added", [(5, 7, 2), (5, 3, -2), ("ab", "abc", "c"), ([1], [1, 2], [2]), (None, 4, 4)]
)
def test_what_was_added_is_what_lies_between(old: Any, new: Any, added: Any) -> None:
    assert contribution(ReducerRegistry().get("add"), "k", old, new) == added


@pytest.mark.parametrize("old, new", [(5, "x"), ("ab", "xabc"), ([1], [2]), ({}, {"a": 1})])
def test_what_cannot_have_been_added_is_told(old: Any, new: Any) -> None:
    with pytest.raises(
        ReducerFailed, match="'add' cannot tell what a branch put into variable 'k'"
    ):
        contribution(ReducerRegistry().get("add"), "k", old, new)


def test_a_reducer_of_ones_own_without_between_has_to_bear_repetition() -> None:
    longest = Reducer("longest", lambda a, b: max(a, b, key=len), is_commutative=True)
    assert contribution(longest, "k", "a", "abc") == "abc"
    times = Reducer("times", lambda a, b: a * b, is_commutative=True)
    with pytest.raises(ReducerFailed, match="began with 2 and ended with 6") as failure:
        contribution(times, "k", 2, 6)
    assert failure.value.hint == "Register the reducer with `between`."
    divided = Reducer("times", lambda a, b: a * b, is_commutative=True, between=lambda a, b: b // a)
    assert contribution(divided, "k", 2, 6) == 3
