"""Nodes by hand: tried again, skipped, given their result."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.serving import Live, light
from tests.api.steering import (
    CHAIN,
    all_told,
    done,
    ended,
    everything,
    failing,
    held,
    paused,
    refused,
    standing,
    statuses,
    told,
)


async def test_a_failed_node_is_run_again(live: Live, base_dir: Path) -> None:
    run = await failing(live)
    assert "RETRY_NODE" in (await standing(live, run))["availableActions"]
    (base_dir / "note.txt").write_text("Now I am here.")
    await done(live, "retryNode", executionId=run, nodeKey="read")
    again = await told(live, run, "NodeRetryScheduled")
    assert (again["nodeKey"], again["attempt"], again["actor"]) == ("read", 2, "anonymous")
    await done(live, "resumeExecution", id=run)
    assert await ended(live, run) == "COMPLETED"


async def test_a_failed_node_is_given_its_result(live: Live) -> None:
    run = await failing(live)
    await done(live, "setNodeOutput", executionId=run, nodeKey="read", output={"by": "hand"})
    given = await told(live, run, "NodeOutputSet")
    assert (given["nodeKey"], given["output"]) == ("read", {"body": {"by": "hand"}})
    assert (given["given"], given["actor"]) == ("by_user", "anonymous")
    await done(live, "resumeExecution", id=run)
    assert await ended(live, run) == "COMPLETED"


async def test_a_failed_node_is_skipped(live: Live) -> None:
    run = await failing(live)
    await done(live, "skipNode", executionId=run, nodeKey="read", reason="Not needed.")
    skipped = await told(live, run, "NodeSkipped", nodeKey="read")
    assert (skipped["nodeKey"], skipped["skipped"]) == ("read", "by_user")
    assert (skipped["actor"], skipped["comment"]) == ("anonymous", "Not needed.")
    assert await ended(live, run) == "COMPLETED"
    assert (await statuses(live, run))["end"] == "SKIPPED"


async def test_a_held_node_is_given_its_result_and_does_not_run(live: Live) -> None:
    run = await paused(live, CHAIN)
    await done(live, "stepExecution", id=run)
    await held(live, run, cause="step")
    await done(live, "setNodeOutput", executionId=run, nodeKey="work", output=7)
    await done(live, "resumeExecution", id=run)
    assert await ended(live, run) == "COMPLETED"
    started = [each["nodeKey"] for each in await all_told(live, run, "NodeStarted")]
    assert started == ["begin", "end"]
    query = """query ($id: ID!) { execution(id: $id) { metrics { nodeRuns }
      nodeState(nodeKey: "work") { status output { body }
        runs { occurrence status output { body } } } } }"""
    node = (await live.data(query, id=run))["execution"]["nodeState"]
    assert (node["status"], node["output"]["body"]) == ("COMPLETED", 7)
    [visit] = node["runs"]
    assert visit == {"occurrence": 1, "status": "COMPLETED", "output": {"body": 7}}


async def test_a_running_node_is_skipped_and_stops(live: Live) -> None:
    code = "import time; time.sleep(60)"
    job = f'code_job, props: {{language: python, code: "{code}"}}'
    run = await live.started(light("begin -> job", begin="start", job=job))
    await told(live, run, "NodeStarted", nodeKey="job")
    await done(live, "skipNode", executionId=run, nodeKey="job")
    assert await ended(live, run) == "COMPLETED"
    query = """query ($id: ID!) { execution(id: $id) {
      nodeState(nodeKey: "job") { status runs { status endedAt } } } }"""
    node = (await live.data(query, id=run))["execution"]["nodeState"]
    [visit] = node["runs"]
    assert visit["status"] == "SKIPPED"
    assert visit["endedAt"] is not None


@pytest.mark.parametrize(
    "mutation, more", [("retryNode", {}), ("skipNode", {}), ("setNodeOutput", {"output": 1})]
)
async def test_a_node_that_is_not_reached_cannot_be_changed(
    live: Live, mutation: str, more: dict[str, int]
) -> None:
    run = await paused(live, CHAIN)
    error = await refused(live, mutation, executionId=run, nodeKey="end", **more)
    assert error["code"] in {"INVALID", "INVALID_STATE"}
    assert error["hint"]


async def test_a_node_is_run_again_once_for_each_key(live: Live) -> None:
    run = await failing(live)
    for _ in range(2):
        await done(live, "retryNode", executionId=run, nodeKey="read", idempotencyKey="k")
    error = await refused(live, "retryNode", executionId=run, nodeKey="end", idempotencyKey="k")
    assert error["code"] == "IDEMPOTENCY_MISMATCH"
    await live.data("mutation ($id: ID!) { abortExecution(id: $id) { errors { code } } }", id=run)
    events = await everything(live, run)
    retries = [each for each in events if each["__typename"] == "NodeRetryScheduled"]
    assert [each["actor"] for each in retries] == ["anonymous"]
