"""Ids of executions are random for new ones and a function of the visit for children."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.runtime.identity import child_execution_id, new_execution_id

FORM = re.compile(r"exec_0_[a-z2-7]{26}")
PARENT = ExecutionID("exec_0_parent")

KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
VISITS = st.tuples(KEYS, st.integers(1, 100), st.integers(0, 10), KEYS)


def child(node: str, occurrence: int, tries: int, key: str) -> ExecutionID:
    return child_execution_id(PARENT, NodeRun(node, occurrence), tries, key)


def test_ids_have_one_form() -> None:
    assert FORM.fullmatch(new_execution_id())
    assert FORM.fullmatch(child("a", 1, 0, ""))


def test_no_two_new_ids_are_alike() -> None:
    assert len({new_execution_id() for _ in range(10_000)}) == 10_000


@given(VISITS, VISITS)
def test_children_are_alike_where_their_visits_are(
    one: tuple[str, int, int, str], two: tuple[str, int, int, str]
) -> None:
    assert (child(*one) == child(*two)) is (one == two)


def test_an_attempt_after_a_restart_finds_the_child_and_a_retry_gets_another() -> None:
    first = child_execution_id(PARENT, NodeRun("a", 1, attempt=1), 0, "")
    assert child_execution_id(PARENT, NodeRun("a", 1, attempt=2), 0, "") == first
    assert child_execution_id(PARENT, NodeRun("a", 1, attempt=2), 1, "") != first
    assert child_execution_id(ExecutionID("exec_0_other"), NodeRun("a", 1), 0, "") != first
