"""Pausing, stepping and resuming runs, breakpoints, limits and results to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.serving import ASKING, Live, light
from tests.api.steering import (
    CHAIN,
    all_told,
    done,
    ended,
    held,
    paused,
    refused,
    standing,
    statuses,
    told,
)

DELAYED = light(
    "begin -> nap -> end", begin="start", nap="delay, props: {seconds: 60}", end="endpoint"
)


# --- pause and resume ---------------------------------------------------------------------------


async def test_a_run_may_be_held_before_it_begins(live: Live) -> None:
    run = await paused(live, CHAIN)
    found = await standing(live, run)
    assert (found["status"], found["pauseCause"]) == ("PAUSED", "start_paused")
    assert set((await statuses(live, run)).values()) == {"PENDING"}
    resumed = await done(live, "resumeExecution", id=run)
    assert resumed["execution"]["pauseCause"] is None
    assert await ended(live, run) == "COMPLETED"


async def test_a_pause_says_who_and_why(live: Live) -> None:
    run = await live.started(ASKING)
    await told(live, run, "BarrierWaiting")
    payload = await done(live, "pauseExecution", id=run, reason="Lunch.")
    found = payload["execution"]
    assert (found["status"], found["pauseCause"]) == ("PAUSED", "user")
    assert found["pauseReason"] == "Lunch."
    event = await held(live, run)
    assert (event["reason"], event["actor"], event["cause"]) == ("Lunch.", "anonymous", "user")


async def test_a_paused_run_can_be_decided_and_goes_on_when_it_is_resumed(live: Live) -> None:
    run = await live.started(ASKING)
    barrier = (await told(live, run, "BarrierWaiting"))["barrierId"]
    await done(live, "pauseExecution", id=run)
    await done(live, "decideBarrier", target={"barrierId": barrier}, action="APPROVE")
    assert (await statuses(live, run))["end"] == "PENDING"
    await done(live, "resumeExecution", id=run)
    assert await ended(live, run) == "COMPLETED"


async def test_pausing_now_stops_what_runs_until_it_is_resumed(live: Live, base_dir: Path) -> None:
    code = "import pathlib, time; time.sleep(0 if pathlib.Path('go').exists() else 60)"
    job = f'code_job, props: {{language: python, code: "{code}"}}'
    run = await live.started(light("begin -> job", begin="start", job=job))
    await told(live, run, "NodeStarted", nodeKey="job")
    await done(live, "pauseExecution", id=run, mode="NOW")
    stopped = await told(live, run, "NodeInterrupted")
    assert (stopped["nodeKey"], stopped["willRerun"]) == ("job", True)
    (base_dir / "go").touch()
    await done(live, "resumeExecution", id=run)
    assert await ended(live, run) == "COMPLETED"


async def test_actions_tell_what_can_be_done(live: Live) -> None:
    run = await live.started(ASKING)
    await told(live, run, "BarrierWaiting")
    assert (await standing(live, run))["availableActions"] == ["PAUSE", "ABORT", "FORK", "MUTATE"]
    await done(live, "pauseExecution", id=run)
    found = (await standing(live, run))["availableActions"]
    assert found == ["RESUME", "ABORT", "FORK", "MUTATE"]
    held_back = await paused(live, CHAIN)
    found = (await standing(live, held_back))["availableActions"]
    assert found == ["RESUME", "STEP", "ABORT", "FORK", "SKIP_NODE", "SET_OUTPUT", "MUTATE"]
    await live.data("mutation ($id: ID!) { abortExecution(id: $id) { errors { code } } }", id=run)
    await live.follow(run)
    assert (await standing(live, run))["availableActions"] == ["FORK"]


async def test_a_list_of_runs_tells_what_can_be_done_to_each(live: Live) -> None:
    run = await live.started(ASKING)
    await told(live, run, "BarrierWaiting")
    await done(live, "pauseExecution", id=run, reason="Lunch.")
    query = "{ executions { nodes { id status pauseReason availableActions maxSteps } } }"
    [found] = (await live.data(query))["executions"]["nodes"]
    assert (found["id"], found["status"], found["maxSteps"]) == (run, "PAUSED", 10_000)
    assert found["pauseReason"] == "Lunch."
    assert "RESUME" in found["availableActions"]


# --- steps --------------------------------------------------------------------------------------


async def test_a_step_runs_one_node(live: Live) -> None:
    run = await paused(live, CHAIN)
    await done(live, "stepExecution", id=run)
    await held(live, run, cause="step")
    assert await statuses(live, run) == {"begin": "COMPLETED", "work": "PENDING", "end": "PENDING"}
    await done(live, "stepExecution", id=run, nodeKey="work")
    await told(live, run, "NodeCompleted", nodeKey="work")
    await done(live, "resumeExecution", id=run)
    assert await ended(live, run) == "COMPLETED"


async def test_only_a_ready_node_can_be_stepped(live: Live) -> None:
    run = await paused(live, CHAIN)
    error = await refused(live, "stepExecution", id=run, nodeKey="end")
    assert (error["__typename"], error["field"]) == ("InputProblem", ["nodeKey"])
    assert "begin" in error["hint"]


async def test_only_a_paused_run_can_be_stepped(live: Live) -> None:
    run = await live.started(ASKING)
    await told(live, run, "BarrierWaiting")
    error = await refused(live, "stepExecution", id=run)
    assert error["__typename"] == "InvalidTransition"
    assert error["current"] == "WAITING"
    assert error["allowed"] == ["PAUSE", "ABORT", "FORK", "MUTATE"]


# --- breakpoints --------------------------------------------------------------------------------


async def test_a_run_pauses_at_its_breakpoints(live: Live) -> None:
    breakpoints = [{"nodeKey": "work"}, {"nodeKey": "work", "when": "AFTER", "condition": "x > 1"}]
    run = await live.started(CHAIN, breakpoints=breakpoints, variables={"x": 2})
    hit = await told(live, run, "BreakpointHit")
    assert (hit["nodeKey"], hit["occurrence"], hit["when"]) == ("work", 1, "BEFORE")
    found = await standing(live, run)
    assert (found["status"], found["pauseCause"]) == ("PAUSED", "breakpoint")
    assert found["breakpoints"] == [
        {"nodeKey": "work", "when": "BEFORE", "condition": None},
        {"nodeKey": "work", "when": "AFTER", "condition": "x > 1"},
    ]
    await done(live, "resumeExecution", id=run)
    await told(live, run, "BreakpointHit", when="AFTER")
    await done(live, "resumeExecution", id=run)
    assert await ended(live, run) == "COMPLETED"


async def test_breakpoints_can_be_changed_while_a_run_is_active(live: Live) -> None:
    run = await paused(live, CHAIN, breakpoints=[{"nodeKey": "work"}])
    payload = await done(
        live, "setBreakpoints", executionId=run, breakpoints=[{"nodeKey": "end", "when": "AFTER"}]
    )
    expected = [{"nodeKey": "end", "when": "AFTER", "condition": None}]
    assert payload["execution"]["breakpoints"] == expected
    event = await told(live, run, "BreakpointsChanged")
    assert (event["breakpoints"], event["actor"]) == (expected, "anonymous")
    await done(live, "setBreakpoints", executionId=run, breakpoints=[])
    await done(live, "resumeExecution", id=run)
    assert await ended(live, run) == "COMPLETED"
    assert await all_told(live, run, "BreakpointHit") == []


@pytest.mark.parametrize(
    "given, place, hint",
    [
        ({"nodeKey": "werk"}, "nodeKey", "Did you mean 'work'?"),
        ({"nodeKey": "work", "condition": "x >"}, "condition", None),
    ],
)
async def test_a_wrong_breakpoint_is_a_problem_with_a_path(
    live: Live, given: dict[str, str], place: str, hint: str | None
) -> None:
    breakpoints = [{"nodeKey": "end"}, given]
    run = await paused(live, CHAIN)
    error = await refused(live, "setBreakpoints", executionId=run, breakpoints=breakpoints)
    assert (error["code"], error["field"]) == ("INVALID", ["breakpoints", "1", place])
    assert hint is None or error["hint"] == hint
    payload = await live.run(CHAIN, breakpoints=breakpoints)
    assert payload["execution"] is None
    [started] = payload["errors"]
    assert started["field"] == ["input", "breakpoints", "1", place]


# --- limits -------------------------------------------------------------------------------------


async def test_limits_are_shown_and_can_be_raised(live: Live) -> None:
    run = await paused(live, CHAIN, maxSteps=2, maxTokens=10, maxTime="PT1M")
    found = await standing(live, run)
    assert (found["maxSteps"], found["maxTokens"], found["maxTime"]) == (2, 10, "PT1M")
    payload = await done(live, "resumeExecution", id=run, maxTokens=20, maxTime="PT2H", maxSteps=9)
    found = payload["execution"]
    assert (found["maxSteps"], found["maxTokens"], found["maxTime"]) == (9, 20, "PT2H")
    raised = await told(live, run, "LimitRaised")
    assert (raised["maxSteps"], raised["maxTokens"], raised["maxTime"]) == (9, 20, "PT2H")
    assert raised["actor"] == "anonymous"


@pytest.mark.parametrize(
    "name, value", [("maxTokens", 0), ("maxTime", "PT0S"), ("maxTime", "P9999D"), ("maxSteps", 0)]
)
async def test_a_limit_must_allow_something(live: Live, name: str, value: Any) -> None:
    payload = await live.run(CHAIN, **{name: value})
    assert [(each["code"], each["field"]) for each in payload["errors"]] == [
        ("INVALID", ["input", name])
    ]
    run = await paused(live, CHAIN)
    error = await refused(live, "resumeExecution", id=run, **{name: value})
    assert (error["code"], error["field"]) == ("INVALID", [name])


# --- results to begin with ----------------------------------------------------------------------

PRINTS = """query ($id: ID!) { execution(id: $id) {
  nodeStates { nodeKey fingerprint output { body } } } }"""


async def test_results_of_an_earlier_run_are_taken_where_they_fit(live: Live) -> None:
    first = await live.ended(CHAIN)
    states = (await live.data(PRINTS, id=first))["execution"]["nodeStates"]
    prints = {each["nodeKey"]: each["fingerprint"] for each in states}
    initial = {
        "begin": {"output": "old"},
        "work": {"output": 3, "fingerprint": prints["work"]},
        "end": {"output": 4, "fingerprint": "of another node"},
    }
    run = await live.ended(CHAIN, initialState=initial)
    given = await all_told(live, run, "NodeOutputSet")
    assert [(each["nodeKey"], each["output"]["body"], each["given"]) for each in given] == [
        ("begin", "old", "initial_state"),
        ("work", 3, "initial_state"),
    ]
    stale = await all_told(live, run, "ObservedError")
    assert [each["error"]["code"] for each in stale] == ["INITIAL_STATE_STALE"]
    assert (await statuses(live, run))["end"] == "COMPLETED"


@pytest.mark.parametrize(
    "initial, field",
    [
        (3, []),
        ({"werk": {"output": 1}}, ["werk"]),
        ({"work": 3}, ["work"]),
        ({"work": {"fingerprint": "a"}}, ["work"]),
        ({"work": {"output": 1, "finger": "a"}}, ["work"]),
        ({"work": {"output": 1, "fingerprint": 2}}, ["work", "fingerprint"]),
    ],
)
async def test_a_wrong_initial_state_is_a_problem_with_a_path(
    live: Live, initial: Any, field: list[str]
) -> None:
    payload = await live.run(CHAIN, initialState=initial)
    assert [(each["code"], each["field"]) for each in payload["errors"]] == [
        ("INVALID", ["input", "initialState", *field])
    ]


# --- what blocks a node -------------------------------------------------------------------------

BLOCKERS = """query ($id: ID!) { execution(id: $id) { nodeStates {
  nodeKey blockedBy { reason nodeKey edgeKey detail } } } }"""


async def blocked(live: Live, run: str) -> dict[str, list[dict[str, Any]]]:
    states = (await live.data(BLOCKERS, id=run))["execution"]["nodeStates"]
    return {each["nodeKey"]: each["blockedBy"] for each in states}


async def test_a_node_says_what_it_waits_for(live: Live) -> None:
    run = await live.started(ASKING)
    await told(live, run, "BarrierWaiting")
    found = await blocked(live, run)
    assert found["begin"] == []
    assert [(each["reason"], each["nodeKey"]) for each in found["gate"]] == [("person", "gate")]
    [upstream] = found["end"]
    assert (upstream["reason"], upstream["nodeKey"]) == ("upstream", "gate")
    edges = "query ($id: ID!) { execution(id: $id) { revision { edges { key } } } }"
    known = (await live.data(edges, id=run))["execution"]["revision"]["edges"]
    assert upstream["edgeKey"] in {edge["key"] for edge in known}
    assert "'gate'" in upstream["detail"]


async def test_a_held_node_says_what_holds_it(live: Live) -> None:
    run = await paused(live, CHAIN)
    [blocker] = (await blocked(live, run))["begin"]
    assert (blocker["reason"], blocker["nodeKey"]) == ("paused", None)


# --- groups of branches -------------------------------------------------------------------------

GROUP = """version: light
nodes:
  - {label: begin, type: start}
  - {label: group, type: parallel, props: {error_strategy: collect_partial, branches: {
      good: {diagram_data: {nodes: [{label: s, type: start}, {label: e, type: endpoint}],
        connections: [{from: s, to: e}]}},
      bad: {diagram_name: there-is-none}}}}
connections:
  - {from: begin, to: group}
"""


async def test_branches_are_told_as_they_end(live: Live) -> None:
    run = await live.ended(GROUP)
    [started] = await all_told(live, run, "ParallelStarted")
    assert (started["nodeKey"], started["branches"]) == ("group", ["good", "bad"])
    branches = {each["branch"]: each for each in await all_told(live, run, "BranchCompleted")}
    assert (branches["good"]["isSuccess"], branches["good"]["failure"]) == (True, None)
    assert branches["bad"]["isSuccess"] is False
    assert branches["bad"]["failure"]["code"] == "FILE_NOT_FOUND"
    assert len(await all_told(live, run, "ParallelCompleted")) == 1
