"""What becomes of a run of a server whose checkpoint cannot be taken."""

from __future__ import annotations

from typing import Any

import pytest

from dipeo_server.domains.execution.checkpoint import (
    CheckpointFailurePolicy,
    CheckpointSettings,
    CheckpointTrigger,
)
from dipeo_server.domains.execution.events import ExecutionStarted
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.runner import StartExecution
from tests.api.serving import Live
from tests.api.steering import CHAIN, GATES, ahead, done, told

STANDING = """query ($id: ID!) { execution(id: $id) {
  status isActive pauseCause pauseReason error { code message } } }"""
SAVE = """mutation ($id: ID!, $key: String) {
  saveCheckpoint(executionId: $id, idempotencyKey: $key) {
    checkpoint { id } errors { code message } } }"""
EVENTS = """query ($id: ID!) { execution(id: $id) { events(first: 100) { nodes {
  sequence ... on CheckpointFailed { failed: message } } } } }"""
ASKED = (CheckpointTrigger.ON_REQUEST,)


async def standing(live: Live, run: str) -> dict[str, Any]:
    found: dict[str, Any] = (await live.data(STANDING, id=run))["execution"]
    return found


async def everything(live: Live, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await live.data(EVENTS, id=run))["execution"]["events"]["nodes"]
    return found


async def save(live: Live, run: str, key: str | None = None) -> dict[str, Any]:
    """Ask for a checkpoint; why there is none."""
    payload = (await live.data(SAVE, id=run, key=key))["saveCheckpoint"]
    [error] = payload["errors"]
    assert payload["checkpoint"] is None
    found: dict[str, Any] = error
    return found


async def asked(live: Live, on_failure: CheckpointFailurePolicy) -> str:
    """A run that asks somebody, where no state of more than 100 bytes is kept."""
    runner = live.services.runner
    pattern = await runner.view(ExecutionID(await live.started(GATES)))
    assert pattern is not None
    settings = CheckpointSettings(on_failure=on_failure, size_max=100)
    wish = StartExecution(pattern.diagram, checkpoints=ASKED, checkpointing=settings)
    run = (await runner.start(wish)).execution_id
    await told(live, run, "BarrierWaiting", nodeKey="first")
    return run


async def settings_of(live: Live, run: str) -> CheckpointSettings:
    [first] = await live.services.runner.read_events(ExecutionID(run), after=Seq(0), limit=1)
    assert isinstance(first.event, ExecutionStarted)
    return first.event.checkpointing


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, "CONTINUE"),
        ({"checkpointFailure": None}, "CONTINUE"),
        ({"checkpointFailure": "PAUSE"}, "PAUSE"),
        ({"checkpointFailure": "FAIL"}, "FAIL"),
    ],
)
async def test_a_run_has_the_policy_it_was_given(
    live: Live, options: dict[str, Any], expected: str
) -> None:
    """004-W12: and nothing else is another one by it."""
    run = await live.ended(CHAIN, **options)
    policy = CheckpointFailurePolicy(expected)
    assert await settings_of(live, run) == CheckpointSettings(on_failure=policy)


async def test_with_pause_the_run_is_held_until_it_is_resumed(live: Live) -> None:
    """004-W12"""
    run = await asked(live, CheckpointFailurePolicy.PAUSE)
    refusal = await save(live, run, "k")
    found = await standing(live, run)
    assert (found["status"], found["pauseCause"]) == ("PAUSED", "checkpoint")
    assert "at most 100 are kept" in found["pauseReason"]
    assert found["pauseReason"] in refusal["message"]
    assert await save(live, run, "k") == refusal
    for node in ("first", "second"):
        await ahead(live, run, node, "APPROVE")
    assert (await standing(live, run))["status"] == "PAUSED"
    await done(live, "resumeExecution", id=run)
    await live.follow(run)
    assert (await standing(live, run))["status"] == "COMPLETED"


async def test_with_fail_the_run_fails_and_a_fork_goes_on(live: Live) -> None:
    """004-W12"""
    run = await asked(live, CheckpointFailurePolicy.FAIL)
    refusal = await save(live, run)
    found = await standing(live, run)
    assert found["status"] == "FAILED"
    assert found["error"]["code"] == "CHECKPOINT_FAILED"
    assert found["error"]["message"] in refusal["message"]
    at = next(each["sequence"] for each in await everything(live, run) if "failed" in each)
    fork = (await done(live, "forkExecution", id=run, atSequence=at))["execution"]["id"]
    assert (await standing(live, fork))["isActive"] is True
    assert (await save(live, fork))["code"] == "INVALID_STATE"
    assert (await standing(live, fork))["error"]["code"] == "CHECKPOINT_FAILED"
