"""Looking back at long logs and at large values: what it costs, and who else goes on meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.api.past import INLINE_EVENTS
from dipeo_server.domains.execution.graph_picture import BOXES_MAX
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.storage.sqlite import SQLiteStore
from tests.api.serving import Live, light, serving
from tests.api.test_looking_back import HISTORY, STATE
from tests.domains.execution.test_graph import looped
from tests.drawing import needs_dot, objects

RUN = ExecutionID("x")
TURNS = 2_600
DRAWN = """query ($id: ID!, $to: RenderFormat!) {
  execution(id: $id) { executionGraph { states { id } render(format: $to) } }
}"""


@pytest.fixture
async def long(tmp_path: Path) -> str:
    """A store that holds one ended run of more than 10,000 events."""
    path = tmp_path / "long.db"
    story = looped(TURNS)
    assert len(story.log) > 10_000 > INLINE_EVENTS
    store = await SQLiteStore.open(path)
    try:
        await store.append(RUN, story.log, after=Seq(0), summary=summary_of(story.state))
    finally:
        await store.close()
    return f"sqlite:{path}"


async def test_a_long_log_is_folded_while_others_are_answered(base_dir: Path, long: str) -> None:
    async with serving(base_dir, store=long) as live:
        at = 4 * TURNS - 10
        deep, *quick = await asyncio.gather(
            live.data(STATE, id=RUN, at=at),
            *(live.data("{ serverInfo { version } }") for _ in range(3)),
        )
        merged = (await live.data(HISTORY, id=RUN, upTo=at))["execution"]["mergedHistory"]
    state: dict[str, Any] = deep["execution"]["stateAt"]
    assert state["lastSequence"] == str(at)
    assert len(quick) == 3
    assert {each["name"] for each in merged} == {
        output["producedBy"] for output in state["nodeOutputs"]
    }


@needs_dot
async def test_000_06_a_run_of_ten_thousand_events_is_drawn(base_dir: Path, long: str) -> None:
    async with serving(base_dir, store=long) as live:
        graph = (await live.data(DRAWN, id=RUN, to="DOT"))["execution"]["executionGraph"]
        svg = (await live.data(DRAWN, id=RUN, to="SVG"))["execution"]["executionGraph"]["render"]
    assert len(graph["states"]) > 5_000
    nodes, _ = objects(graph["render"])
    assert len(nodes) <= BOXES_MAX
    assert any("steps" in node["label"] for node in nodes)
    assert svg.startswith("<svg")


async def test_002_11_a_large_output_is_named_in_the_history_and_not_sent(live: Live) -> None:
    code = "code_job, code: 'result = \"x\" * 300000'"
    run = await live.ended(light("a -> b -> c", a="start", b=code, c="endpoint"))
    found = (await live.data(HISTORY, id=run))["execution"]["mergedHistory"]
    (large,) = [each for each in found if each["key"] == "outputs.b"]
    assert (large["value"], large["isTruncated"]) == (None, True)
    (small,) = [each for each in found if each["key"] == "outputs.a"]
    assert small["isTruncated"] is False
