"""Opaque ids: reversible, and nothing else is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.api.ids import Kind, PartID, decode, is_execution_id
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.trace_ids import root_span_id, span_id, trace_id

RUN = ExecutionID("exec_0_abc")


@given(st.sampled_from(Kind), st.text(st.characters(codec="utf-8")), st.integers(0, 10**6))
def test_an_id_tells_what_it_is_of(kind: Kind, node: str, occurrence: int) -> None:
    part = PartID(kind, RUN, node, occurrence)
    assert decode(part.encode()) == part


@given(st.text())
def test_anything_else_is_no_id(text: str) -> None:
    found = decode(text)
    assert found is None or found.encode() == text


@pytest.mark.parametrize("text", ["", "exec_0_abc", "barrier_", "barrier_!!", "what_YQAxAGI"])
def test_a_wrong_id_is_none(text: str) -> None:
    assert decode(text) is None


def test_an_id_has_one_spelling() -> None:
    text = PartID(Kind.BARRIER, RUN, "gate", 1).encode()
    assert decode(text + "=") is None
    assert decode(text.replace("barrier", "envelope")) == PartID(Kind.ENVELOPE, RUN, "gate", 1)


def test_each_attempt_has_a_barrier_of_its_own() -> None:
    first, second = (PartID(Kind.BARRIER, RUN, "gate", 1, attempt) for attempt in (1, 2))
    assert first.encode() != second.encode()
    assert decode(second.encode()) == second
    assert first == PartID(Kind.BARRIER, RUN, "gate", 1)


def test_ids_of_executions_are_known_by_their_prefix() -> None:
    assert is_execution_id(RUN)
    assert not is_execution_id(PartID(Kind.BARRIER, RUN, "gate", 1).encode())


def test_traces_and_spans_have_the_form_of_the_standard() -> None:
    first, second = NodeRun("a", 1), NodeRun("a", 1, 2)
    assert len(trace_id(RUN)) == 32
    assert len(span_id(RUN, first)) == len(root_span_id(RUN)) == 16
    assert root_span_id(RUN) != trace_id(RUN)[:16]
    assert span_id(RUN, first) == span_id(RUN, first) != span_id(RUN, second)
