"""Forks over GraphQL: another run goes on from an event of one, which does not change."""

from __future__ import annotations

from typing import Any

from tests.api.serving import ASKING, STRAIGHT, Live, light
from tests.api.steering import done, ended, everything, held, refused, standing, statuses, told

FAMILY = """query ($id: ID!) { execution(id: $id) {
  id status forkedAt lastSequence startedAt variables availableActions
  parent { id }
  children { totalCount nodes { id forkedAt status parent { id } } }
  output(nodeKey: "end") { body }
} }"""
OPENINGS = """query ($id: ID!, $after: Sequence) { execution(id: $id) {
  events(first: 1000, after: $after) { nodes {
    __typename
    sequence
    executionId
    ... on ExecutionStarted { parentId forkedAt actor variables contentHash revisionNumber }
    ... on NodeOutputSet { nodeKey reason }
  } }
} }"""
READING = light(
    "begin -> greet -> end",
    begin="start",
    greet="template_job, props: {template_content: 'hello {{ name }}'}",
    end="endpoint",
)


async def family(live: Live, run: str) -> dict[str, Any]:
    found: dict[str, Any] = (await live.data(FAMILY, id=run))["execution"]
    return found


async def openings(live: Live, run: str, after: int = 0) -> list[dict[str, Any]]:
    answer = await live.data(OPENINGS, id=run, after=str(after))
    nodes = answer["execution"]["events"]["nodes"]
    return [each for each in nodes if each["__typename"] == "ExecutionStarted"]


async def forked(live: Live, run: str, at: int, **options: Any) -> str:
    payload = await done(live, "forkExecution", id=run, atSequence=at, **options)
    found: str = payload["execution"]["id"]
    return found


async def test_a_run_that_has_ended_is_forked_and_stays_as_it_is(live: Live) -> None:
    """000-11."""
    run = await live.ended(STRAIGHT, variables={"x": 1})
    before, log = await family(live, run), await everything(live, run)
    fork = await forked(live, run, 4, overrides={"variables": {"x": 2}})
    assert await ended(live, fork) == "COMPLETED"
    found = await family(live, fork)
    assert (found["parent"], found["forkedAt"], found["variables"]) == ({"id": run}, "4", {"x": 2})
    after = await family(live, run)
    assert after.pop("children") == {
        "totalCount": 1,
        "nodes": [
            {"id": fork, "forkedAt": "4", "status": "COMPLETED", "parent": {"id": run}},
        ],
    }
    before.pop("children")
    assert after == before
    assert before["availableActions"] == ["FORK"]
    assert await everything(live, run) == log
    assert (await everything(live, fork))[:4] == log[:4]


async def test_a_fork_begins_with_an_event_that_says_where_it_comes_from(live: Live) -> None:
    run = await live.ended(STRAIGHT, variables={"x": 1})
    fork = await forked(live, run, 5)
    for after in (0, 4, 5):
        opening = (await openings(live, fork, after))[-1]
        assert opening["sequence"] == "6"
        assert (opening["parentId"], opening["forkedAt"]) == (run, "5")
        assert (opening["executionId"], opening["actor"]) == (fork, "anonymous")
        assert (opening["variables"], opening["revisionNumber"]) == ({"x": 1}, 0)
    first, opening = await openings(live, fork)
    assert first["contentHash"] == opening["contentHash"]
    assert (first["sequence"], first["forkedAt"]) == ("1", None)


async def test_a_result_is_another_one_in_a_fork(live: Live) -> None:
    run = await live.ended(READING, variables={"name": "Ann"})
    starts = [each for each in await everything(live, run) if each["__typename"] == "NodeStarted"]
    at = next(int(each["sequence"]) for each in starts if each["nodeKey"] == "end")
    fork = await forked(live, run, at, overrides={"outputs": {"greet": "good evening"}})
    await ended(live, fork)
    assert (await family(live, fork))["output"]["body"] == "good evening"
    assert (await family(live, run))["output"]["body"] == "hello Ann"
    later = await forked(live, run, 4, overrides={"outputs": {"greet": "soon"}})
    await ended(live, later)
    assert (await family(live, later))["output"]["body"] == "soon"


async def test_who_was_asked_is_asked_in_the_fork_as_well(live: Live) -> None:
    run = await live.started(ASKING)
    waiting = await told(live, run, "BarrierWaiting")
    assert "FORK" in (await standing(live, run))["availableActions"]
    fork = await forked(live, run, int((await family(live, run))["lastSequence"]))
    again = await told(live, fork, "BarrierWaiting")
    assert again["barrierId"] != waiting["barrierId"]
    query = "query ($id: ID!) { execution(id: $id) { barriers(status: WAITING) { id } } }"
    [barrier] = (await live.data(query, id=fork))["execution"]["barriers"]
    await done(live, "decideBarrier", target={"barrierId": barrier["id"]}, action="APPROVE")
    assert await ended(live, fork) == "COMPLETED"
    assert (await standing(live, run))["status"] == "WAITING"


async def test_a_fork_may_begin_paused(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    fork = await forked(live, run, 4, startPaused=True)
    await held(live, fork, cause="start_paused")
    assert (await statuses(live, fork))["work"] == "PENDING"
    await done(live, "resumeExecution", id=fork)
    assert await ended(live, fork) == "COMPLETED"


async def test_one_key_makes_one_fork(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    first = await forked(live, run, 4, idempotencyKey="k")
    assert await forked(live, run, 4, idempotencyKey="k") == first
    wrong = await refused(live, "forkExecution", id=run, atSequence=3, idempotencyKey="k")
    assert wrong["code"] == "IDEMPOTENCY_MISMATCH"
    assert (await family(live, run))["children"]["totalCount"] == 1


async def test_what_cannot_be_forked_is_refused_with_what_can(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    last = int((await family(live, run))["lastSequence"])
    for at in (0, last, last + 1):
        error = await refused(live, "forkExecution", id=run, atSequence=at)
        assert (error["code"], error["field"]) == ("INVALID", ["atSequence"])
        assert error["message"] == f"The run can be forked at 1 to {last - 1}, not at {at}."
    unknown = await refused(live, "forkExecution", id="exec_0_none", atSequence=1)
    assert unknown["code"] == "NOT_FOUND"
    for outputs, field in (({"wrk": 1}, ["overrides", "outputs", "wrk"]), ([], None)):
        error = await refused(
            live, "forkExecution", id=run, atSequence=3, overrides={"outputs": outputs}
        )
        assert error["code"] == "INVALID"
        assert error["field"] == field or error["field"] == ["overrides", "outputs"]
    error = await refused(
        live, "forkExecution", id=run, atSequence=3, overrides={"outputs": {"wrk": 1}}
    )
    assert "work" in error["hint"]
    error = await refused(live, "forkExecution", id=run, atSequence=3, overrides={"variables": 1})
    assert error["field"] == ["overrides", "variables"]
