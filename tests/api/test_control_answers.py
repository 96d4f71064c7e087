"""What all mutations that steer a run have in common: what they refuse, and keys."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.serving import Live, light
from tests.api.steering import (
    ARGUMENTS,
    CHAIN,
    done,
    everything,
    paused,
    refused,
    told,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

GATE = light("begin -> gate -> end", begin="start", gate="barrier", end="endpoint")
UNKNOWN = "exec_0_aaaaaaaaaaaaaaaaaaaaaaaaaa"
ON_A_NODE: dict[str, dict[str, Any]] = {
    "stepExecution": {},
    "retryNode": {},
    "skipNode": {"reason": "No."},
    "setNodeOutput": {"output": 1},
}


def wish(mutation: str, run: str, node: str | None = None) -> dict[str, Any]:
    """Arguments of a mutation that make sense, for that run."""
    if mutation == "decideBarrier":
        target = {"executionId": run, "nodeKey": node or "gate", "occurrence": 1}
        return {"target": {"node": target}, "action": "APPROVE"}
    names = ARGUMENTS[mutation]
    given: dict[str, Any] = {"id" if "id" in names else "executionId": run}
    if "nodeKey" in names and (node or mutation != "stepExecution"):
        given["nodeKey"] = node or "gate"
    if mutation == "setBreakpoints":
        given["breakpoints"] = [{"nodeKey": node or "gate"}]
    if mutation == "mutateGraph":
        given["mutations"] = [{"deleteNode": node or "gate"}]
    return {**given, **ON_A_NODE.get(mutation, {})}


STEERING = sorted(set(ARGUMENTS) - {"revokeDecision", "forkExecution"})


@pytest.mark.parametrize("mutation", STEERING)
async def test_an_unknown_run_is_not_found(shared: Live, mutation: str) -> None:
    error = await refused(shared, mutation, **wish(mutation, UNKNOWN))
    assert (error["__typename"], error["code"]) == ("NotFound", "NOT_FOUND")
    assert UNKNOWN in error["message"]


@pytest.mark.parametrize("mutation", STEERING)
async def test_a_run_that_has_ended_stays_as_it_is(shared: Live, mutation: str) -> None:
    run = await shared.ended(light("begin -> gate", begin="start", gate="transform"))
    length = len(await shared.follow(run))
    arguments = wish(mutation, run)
    if mutation == "decideBarrier":
        arguments["target"]["node"]["occurrence"] = None
    error = await refused(shared, mutation, **arguments)
    assert (error["__typename"], error["code"]) == ("InvalidTransition", "INVALID_STATE")
    assert (error["current"], error["allowed"]) == ("COMPLETED", ["FORK"])
    assert "Fork it" in error["hint"]
    assert len(await shared.follow(run)) == length


@pytest.mark.parametrize("mutation", ["decideBarrier", "setBreakpoints", *ON_A_NODE])
async def test_an_unknown_node_is_told_with_the_nearest(shared: Live, mutation: str) -> None:
    run = await paused(shared, GATE)
    error = await refused(shared, mutation, **wish(mutation, run, "gaet"))
    assert error["code"] in {"NOT_FOUND", "INVALID"}
    assert (error["message"], error["hint"]) == (
        "The diagram has no node 'gaet'.",
        "Did you mean 'gate'?",
    )


@pytest.mark.parametrize(
    "mutation, first, other, event",
    [
        ("pauseExecution", {"reason": "a"}, {"reason": "b"}, {"cause": "user"}),
        ("resumeExecution", {"maxSteps": 9}, {"maxSteps": 8}, {"__typename": "LimitRaised"}),
        ("stepExecution", {}, {"nodeKey": "end"}, {"__typename": "NodeStarted"}),
        (
            "setBreakpoints",
            {"breakpoints": [{"nodeKey": "end"}]},
            {"breakpoints": []},
            {"__typename": "BreakpointsChanged"},
        ),
        (
            "skipNode",
            {"nodeKey": "begin"},
            {"nodeKey": "end"},
            {"nodeKey": "begin", "skipped": "by_user"},
        ),
        (
            "setNodeOutput",
            {"nodeKey": "begin", "output": 1},
            {"nodeKey": "begin", "output": 2},
            {"__typename": "NodeOutputSet"},
        ),
    ],
)
async def test_a_mutation_is_carried_out_once_for_each_key(
    shared: Live,
    mutation: str,
    first: dict[str, Any],
    other: dict[str, Any],
    event: dict[str, str],
) -> None:
    if mutation == "pauseExecution":
        run = await shared.started(GATE)
        await told(shared, run, "BarrierWaiting")
    else:
        run = await paused(shared, CHAIN)
    key = f"{mutation} {run}"
    given = wish(mutation, run)
    for _ in range(2):
        payload = await done(shared, mutation, **{**given, **first}, idempotencyKey=key)
        assert payload["execution"]["id"] == run
    mismatch = await refused(shared, mutation, **{**given, **other}, idempotencyKey=key)
    assert mismatch["code"] == "IDEMPOTENCY_MISMATCH"
    assert mismatch["field"] == ["idempotencyKey"]
    await shared.data("mutation ($id: ID!) { abortExecution(id: $id) { errors { code } } }", id=run)
    events = await everything(shared, run)
    assert len([each for each in events if event.items() <= each.items()]) == 1
