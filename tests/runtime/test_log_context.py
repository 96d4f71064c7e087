"""Whoever logs while an execution runs says which one, and not which request began it."""

from __future__ import annotations

import contextvars

import structlog

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.runtime.log_context import context_of


def test_a_line_about_an_execution_names_it_alone() -> None:
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        inside = context_of(ExecutionID("exec_0_a")).run(structlog.contextvars.get_contextvars)
        outside = structlog.contextvars.get_contextvars()
    assert inside == {"execution_id": "exec_0_a"}
    assert outside == {"request_id": "r1"}


def test_the_rest_of_the_context_stays() -> None:
    mine: contextvars.ContextVar[int] = contextvars.ContextVar("mine")
    token = mine.set(3)
    try:
        assert context_of(ExecutionID("exec_0_a")).run(mine.get) == 3
    finally:
        mine.reset(token)
