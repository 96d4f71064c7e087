"""Mutations, made on a real server."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api.serving import ASKING, RUN, STRAIGHT, Live, light, serving

APPROVE = """mutation ($id: ID!, $answer: JSON, $comment: String, $key: String) {
  approveBarrier(id: $id, answer: $answer, comment: $comment, idempotencyKey: $key) {
    barrier { id status decidedBy decidedAt reason } execution { id status }
    errors { __typename code message field ... on AlreadyDecided { winner { status reason } } }
  } }"""
REJECT = """mutation ($id: ID!, $reason: String!) { rejectBarrier(id: $id, reason: $reason) {
  barrier { status reason } errors { code } } }"""
RESUME = """mutation ($id: ID!, $maxSteps: Int, $variables: JSON, $key: String) {
  resumeExecution(id: $id, maxSteps: $maxSteps, variables: $variables, idempotencyKey: $key) {
    execution { id status variables }
    errors { __typename code message field ... on InvalidTransition { current allowed } } } }"""
ABORT = """mutation ($id: ID!, $reason: String, $grace: Duration) {
  abortExecution(id: $id, reason: $reason, grace: $grace) {
    execution { status }
    errors { __typename code message field ... on InvalidTransition { current allowed } } } }"""


async def asked(live: Live, run: str) -> str:
    """Follow the run until somebody is asked; gives the barrier's id."""
    async with live.socket() as socket:
        query = """subscription ($id: ID!) { executionEvents(executionId: $id) {
            __typename ... on BarrierWaiting { barrierId } } }"""
        id_ = await socket.subscribe(query, id=run)
        while (item := await socket.next(id_))["__typename"] != "BarrierWaiting":
            pass
        found: str = item["barrierId"]
        return found


async def status_of(live: Live, run: str) -> str:
    query = "query ($id: ID!) { execution(id: $id) { status } }"
    found: str = (await live.data(query, id=run))["execution"]["status"]
    return found


# --- runDiagram ---------------------------------------------------------------------------------


async def test_a_run_is_accepted_and_can_be_followed(live: Live) -> None:
    payload = await live.run(STRAIGHT, variables={"a": 1}, errorStrategy="COLLECT")
    assert payload["errors"] == []
    assert payload["execution"]["id"].startswith("exec_")
    events = await live.follow(payload["execution"]["id"])
    assert events[0]["__typename"] == "ExecutionStarted"
    assert events[-1]["__typename"] == "ExecutionCompleted"


async def test_a_diagram_may_be_sent_as_nodes_and_edges(live: Live) -> None:
    inline = {
        "name": "drawn",
        "nodes": [
            {"key": "a", "type": "START", "position": {"x": 1, "y": 2}},
            {"key": "b", "type": "DELAY", "props": {"seconds": 0}, "join": "ANY"},
        ],
        "edges": [{"source": "a", "target": "b", "contentType": "OBJECT"}],
    }
    payload = (await live.data(RUN, input={"source": {"inline": inline}}))["runDiagram"]
    assert payload["errors"] == []
    run = payload["execution"]["id"]
    await live.follow(run)
    query = """query ($id: ID!) { execution(id: $id) { status revision {
      nodes { key type join position { x y } } edges { contentType } } } }"""
    found = (await live.data(query, id=run))["execution"]
    assert found["status"] == "COMPLETED"
    assert found["revision"]["nodes"] == [
        {"key": "a", "type": "START", "join": "ALL", "position": {"x": 1, "y": 2}},
        {"key": "b", "type": "DELAY", "join": "ANY", "position": None},
    ]
    assert found["revision"]["edges"] == [{"contentType": "OBJECT"}]


async def test_an_invalid_diagram_does_not_run(live: Live) -> None:
    payload = await live.run(STRAIGHT.replace("transform", "transfrom"))
    assert payload["execution"] is None
    [error] = payload["errors"]
    assert error["__typename"] == "DiagramInvalid"
    assert error["code"] == "INVALID"
    assert [problem["code"] for problem in error["problems"]] == ["UNKNOWN_NODE_TYPE"]
    page = await live.data("{ executions { totalCount } }")
    assert page["executions"]["totalCount"] == 0


@pytest.mark.parametrize(
    "inline, field",
    [
        ({"name": "x"}, ["input", "source", "inline"]),
        ({"name": "x", "content": "a", "nodes": []}, ["input", "source", "inline"]),
        (
            {"name": "x", "content": STRAIGHT, "edges": [{"source": "a", "target": "b"}]},
            ["input", "source", "inline", "edges"],
        ),
        (
            {"name": "x", "nodes": [{"key": "a", "type": "UNKNOWN"}]},
            ["input", "source", "inline", "nodes", "0", "type"],
        ),
    ],
)
async def test_a_wrong_source_is_a_problem_with_a_path(
    live: Live, inline: dict[str, Any], field: list[str]
) -> None:
    payload = (await live.data(RUN, input={"source": {"inline": inline}}))["runDiagram"]
    [error] = payload["errors"]
    assert (error["__typename"], error["field"]) == ("InputProblem", field)


@pytest.mark.parametrize(
    "options, field",
    [
        ({"variables": [1]}, ["input", "variables"]),
        ({"maxSteps": 0}, ["input", "maxSteps"]),
        ({"key": ""}, ["idempotencyKey"]),
        ({"key": "x" * 256}, ["idempotencyKey"]),
    ],
)
async def test_a_wrong_option_is_a_problem_with_a_path(
    live: Live, options: dict[str, Any], field: list[str]
) -> None:
    payload = await live.run(STRAIGHT, **options)
    assert payload["execution"] is None
    assert [error["field"] for error in payload["errors"]] == [field]


@pytest.mark.parametrize(
    "input_",
    [
        {},
        {"source": {}},
        {"source": {"inline": None}},
        {"source": {"diagramId": "x", "revisionId": "y"}},
        {"source": {"file": "x"}},
        {"source": {"inline": {"name": "x", "nodes": [{"key": "a", "type": "NOPE"}]}}},
        {"source": {"inline": {"name": "x", "content": STRAIGHT}}, "errorStrategy": "NOPE"},
    ],
)
async def test_what_does_not_fit_the_schema_is_a_request_error(
    live: Live, input_: dict[str, Any]
) -> None:
    answer = await live.answer(RUN, input=input_)
    assert "data" not in answer
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_key_makes_a_run_happen_once(live: Live) -> None:
    first = await live.run(STRAIGHT, key="k", variables={"a": 1, "b": 2})
    again = await live.run(STRAIGHT, key="k", variables={"b": 2, "a": 1})
    assert again["execution"]["id"] == first["execution"]["id"]
    other = await live.run(STRAIGHT, key="k", variables={"a": 2})
    assert other["execution"] is None
    [error] = other["errors"]
    assert error["code"] == "IDEMPOTENCY_MISMATCH"
    assert error["field"] == ["idempotencyKey"]
    page = await live.data("{ executions { totalCount } }")
    assert page["executions"]["totalCount"] == 1


async def test_of_many_sends_with_one_key_one_has_an_effect(live: Live) -> None:
    payloads = await asyncio.gather(*(live.run(STRAIGHT, key="k") for _ in range(20)))
    assert len({payload["execution"]["id"] for payload in payloads}) == 1
    page = await live.data("{ executions { totalCount } }")
    assert page["executions"]["totalCount"] == 1


async def test_several_mutations_of_one_request_see_each_other(live: Live) -> None:
    run = await live.started(ASKING)
    await asked(live, run)
    query = """mutation ($id: ID!) {
      first: abortExecution(id: $id) { execution { status } errors { code } }
      second: resumeExecution(id: $id) { errors { ... on InvalidTransition { current } } } }"""
    found = await live.data(query, id=run)
    assert found["first"] == {"execution": {"status": "ABORTED"}, "errors": []}
    assert found["second"] == {"errors": [{"current": "ABORTED"}]}


# --- resumeExecution and abortExecution ---------------------------------------------------------


async def test_a_run_at_its_limit_goes_on_with_a_higher_one(live: Live) -> None:
    run = await live.started(STRAIGHT, maxSteps=1)
    async with live.socket() as socket:
        query = """subscription ($id: ID!) { executionEvents(executionId: $id) {
          __typename ... on ExecutionStatusChanged { from to reason } } }"""
        id_ = await socket.subscribe(query, id=run)
        while (item := await socket.next(id_)).get("to") != "PAUSED":
            pass
        assert item["reason"] == "max_steps"
    actions = "query ($id: ID!) { execution(id: $id) { availableActions } }"
    assert (await live.data(actions, id=run))["execution"]["availableActions"] == [
        "RESUME",
        "ABORT",
        "FORK",
        "SKIP_NODE",
        "SET_OUTPUT",
        "MUTATE",
    ]
    low = (await live.data(RESUME, id=run, maxSteps=1))["resumeExecution"]
    assert [(error["code"], error["field"]) for error in low["errors"]] == [
        ("INVALID", ["maxSteps"])
    ]
    wrong = (await live.data(RESUME, id=run, maxSteps=9, variables=3))["resumeExecution"]
    assert wrong["errors"][0]["field"] == ["variables"]
    done = (await live.data(RESUME, id=run, maxSteps=9, variables={"x": 1}))["resumeExecution"]
    assert done["errors"] == []
    assert done["execution"]["variables"] == {"x": 1}
    await live.follow(run)
    assert await status_of(live, run) == "COMPLETED"


async def test_only_a_paused_run_can_be_resumed(live: Live) -> None:
    run = await live.started(ASKING)
    await asked(live, run)
    [error] = (await live.data(RESUME, id=run))["resumeExecution"]["errors"]
    assert error["__typename"] == "InvalidTransition"
    assert error["current"] == "WAITING"
    assert error["allowed"] == ["PAUSE", "ABORT", "FORK", "MUTATE"]


async def test_an_aborted_run_may_be_aborted_again(live: Live) -> None:
    run = await live.started(ASKING)
    barrier = await asked(live, run)
    for _ in range(2):
        done = (await live.data(ABORT, id=run, reason="enough", grace="PT0S"))["abortExecution"]
        assert done == {"execution": {"status": "ABORTED"}, "errors": []}
    query = "query ($id: ID!) { barrier(id: $id) { status decidedBy } }"
    assert (await live.data(query, id=barrier))["barrier"]["status"] == "CANCELLED"
    events = await live.follow(run)
    assert events[-1]["__typename"] == "ExecutionAborted"


async def test_a_running_node_is_cancelled_by_an_abort(live: Live) -> None:
    run = await live.started(
        light("begin -> slow", begin="start", slow="code_job, language: bash, code: sleep 60")
    )
    async with live.socket() as socket:
        query = """subscription ($id: ID!) { executionEvents(executionId: $id) {
          ... on NodeStarted { nodeKey } ... on ExecutionAborted { reason actor } } }"""
        id_ = await socket.subscribe(query, id=run)
        while (await socket.next(id_)).get("nodeKey") != "slow":
            pass
        await live.data(ABORT, id=run, reason="enough", grace="PT1S")
        while not (item := await socket.next(id_)):
            pass
        assert item == {"reason": "enough", "actor": "anonymous"}
    query = 'query ($id: ID!) { execution(id: $id) { nodeState(nodeKey: "slow") { status } } }'
    found = (await live.data(query, id=run))["execution"]
    assert found["nodeState"]["status"] == "ABORTED"


async def test_a_finished_run_cannot_be_aborted(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    [error] = (await live.data(ABORT, id=run))["abortExecution"]["errors"]
    assert (error["__typename"], error["current"], error["allowed"]) == (
        "InvalidTransition",
        "COMPLETED",
        ["FORK"],
    )


async def test_an_endless_grace_is_refused(live: Live) -> None:
    run = await live.started(ASKING)
    [error] = (await live.data(ABORT, id=run, grace="PT1H"))["abortExecution"]["errors"]
    assert error["field"] == ["grace"]


@pytest.mark.parametrize("query", [ABORT, RESUME])
async def test_an_unknown_run_is_not_found(live: Live, query: str) -> None:
    [payload] = (await live.data(query, id="exec_0_nope")).values()
    assert payload["execution"] is None
    assert [(error["__typename"], error["code"]) for error in payload["errors"]] == [
        ("NotFound", "NOT_FOUND")
    ]


# --- barriers -----------------------------------------------------------------------------------


async def test_an_approval_lets_the_run_go_on(live: Live) -> None:
    run = await live.started(ASKING)
    barrier = await asked(live, run)
    done = (await live.data(APPROVE, id=barrier, comment="fine"))["approveBarrier"]
    assert done["errors"] == []
    assert done["barrier"]["status"] == "APPROVED"
    assert done["barrier"]["decidedBy"] == "anonymous"
    assert done["barrier"]["reason"] == "fine"
    assert done["execution"]["id"] == run
    events = await live.follow(run)
    assert events[-1]["__typename"] == "ExecutionCompleted"


async def test_a_rejection_without_a_way_out_fails_the_run(live: Live) -> None:
    run = await live.started(ASKING)
    barrier = await asked(live, run)
    done = (await live.data(REJECT, id=barrier, reason="no"))["rejectBarrier"]
    assert done == {"barrier": {"status": "REJECTED", "reason": "no"}, "errors": []}
    await live.follow(run)
    query = "query ($id: ID!) { execution(id: $id) { status error { code nodeKey } } }"
    found = (await live.data(query, id=run))["execution"]
    assert found == {"status": "FAILED", "error": {"code": "BARRIER_REJECTED", "nodeKey": "gate"}}


async def test_the_first_decision_wins(live: Live) -> None:
    run = await live.started(ASKING)
    barrier = await asked(live, run)
    await live.data(APPROVE, id=barrier, comment="first")
    [error] = (await live.data(APPROVE, id=barrier, comment="second"))["approveBarrier"]["errors"]
    assert error["__typename"] == "AlreadyDecided"
    assert error["code"] == "ALREADY_DECIDED"
    assert error["winner"] == {"status": "APPROVED", "reason": "first"}


async def test_a_decision_with_the_same_key_is_answered_with_the_same_success(live: Live) -> None:
    run = await live.started(ASKING)
    barrier = await asked(live, run)
    first = (await live.data(APPROVE, id=barrier, key="k"))["approveBarrier"]
    again = (await live.data(APPROVE, id=barrier, key="k"))["approveBarrier"]
    assert first["errors"] == again["errors"] == []
    assert first["barrier"] == again["barrier"]


async def test_a_question_wants_an_answer_that_fits(live: Live) -> None:
    gate = "barrier, answer_schema: {type: object, required: [size]}"
    run = await live.started(light("begin -> gate", begin="start", gate=gate))
    barrier = await asked(live, run)
    [error] = (await live.data(APPROVE, id=barrier, answer={"a": 1}))["approveBarrier"]["errors"]
    assert (error["__typename"], error["field"]) == ("InputProblem", ["answer"])
    done = (await live.data(APPROVE, id=barrier, answer={"size": 3}))["approveBarrier"]
    assert done["errors"] == []


@pytest.mark.parametrize("id_", ["nope", "exec_0_nope", "barrier_ZXhlY18wX25vcGUAMQBnYXRl"])
async def test_an_unknown_barrier_is_not_found(live: Live, id_: str) -> None:
    payload = (await live.data(APPROVE, id=id_))["approveBarrier"]
    assert payload["barrier"] is None
    assert [error["__typename"] for error in payload["errors"]] == ["NotFound"]


async def test_a_run_outlives_the_server(base_dir: Path, tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'runs.db'}"
    async with serving(base_dir, store=store) as live:
        run = await live.started(ASKING)
        barrier = await asked(live, run)
    async with serving(base_dir, store=store) as live:
        assert await status_of(live, run) == "WAITING"
        assert (await live.data(APPROVE, id=barrier))["approveBarrier"]["errors"] == []
        events = await live.follow(run)
        assert [event["sequence"] for event in events] == [str(n + 1) for n in range(len(events))]
        assert events[-1]["__typename"] == "ExecutionCompleted"
