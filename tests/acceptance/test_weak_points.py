"""Faults of the source documents' originals, and the right behaviour in their place."""

from __future__ import annotations

import inspect
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from dipeo_server.api.types.execution import ExecutionStateType
from dipeo_server.domains.execution.events import NodeCompleted, Recorded
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.domains.execution.strategy import HandlerStrategy, NodeStrategyProtocol
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.storage.opening import open_store
from tests.acceptance.running import compiled, runner_on
from tests.builders import Story
from tests.conftest import ROOT


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[LocalRunner]:
    async with runner_on(await open_store(f"sqlite:{tmp_path / 'a.db'}"), tmp_path) as running:
        yield running


async def loop_log(runner: LocalRunner) -> list[Recorded]:
    looped = compiled("s -> a; a -> a; a -> e", {"a": "transform", "e": "endpoint"}, {"a": 3})
    accepted = await runner.start(StartExecution(looped))
    await runner.ended(accepted.execution_id)
    return list(await runner.read_events(accepted.execution_id, after=Seq(0), limit=1_000))


def test_001_12_the_graphql_type_has_the_documents_name_in_python() -> None:
    assert ExecutionStateType.__name__ == "ExecutionStateType"
    assert re.search(r"^type ExecutionState implements Node", schema(), re.MULTILINE)


def test_001_13_there_are_a_subscription_and_mutations_of_control() -> None:
    for field in ("executionEvents(", "resumeExecution(", "abortExecution("):
        assert field in schema()


def schema() -> str:
    return (ROOT / "schema.graphql").read_text("utf-8")


async def test_001_w5_events_are_appended_and_never_rewritten(
    tmp_path: Path, runner: LocalRunner
) -> None:
    await loop_log(runner)
    with closing(sqlite3.connect(tmp_path / "a.db")) as other:
        for change in ("UPDATE events SET kind = 'x'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                other.execute(change)


async def test_001_w6_times_are_kept_in_utc_with_microseconds(
    tmp_path: Path, runner: LocalRunner
) -> None:
    await loop_log(runner)
    with closing(sqlite3.connect(tmp_path / "a.db")) as other:
        stamps = [row[0] for row in other.execute("SELECT at FROM events")]
    assert stamps
    for stamp in stamps:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", stamp)


def test_002_w1_there_is_one_signature_to_execute_a_node() -> None:
    for strategy in (NodeStrategyProtocol, HandlerStrategy):
        parameters = list(inspect.signature(strategy.execute).parameters)
        assert parameters == ["self", "node", "context", "inputs"]


def test_002_w3_all_ready_nodes_run_at_once() -> None:
    story = Story("s -> a -> e; s -> b -> e; s -> d -> e")
    story.returns("s")
    assert len(story.machine.outstanding()) == 3


async def test_002_w4_every_time_is_aware(runner: LocalRunner) -> None:
    for recorded in await loop_log(runner):
        assert recorded.at.utcoffset() == timedelta(0)


async def test_002_w5_outputs_of_earlier_iterations_stay_in_the_store(
    runner: LocalRunner,
) -> None:
    log = await loop_log(runner)
    ends = [r.event for r in log if isinstance(r.event, NodeCompleted)]
    assert [e.output.occurrence for e in ends if e.node_run.node == "a"] == [1, 2, 3]
