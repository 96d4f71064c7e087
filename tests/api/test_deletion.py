"""Deleting runs over GraphQL: what has ended goes with all below it; nothing else ever does."""

from __future__ import annotations

from typing import Any

from tests.api.serving import ASKING, STRAIGHT, Live
from tests.api.steering import done

DELETE = """mutation ($id: ID!, $key: String) { deleteExecution(id: $id, idempotencyKey: $key) {
  deletedId errors { __typename code message hint } } }"""
LOOK = "query ($id: ID!) { execution(id: $id) { id } executions { totalCount nodes { id } } }"


async def delete(live: Live, run: str, key: str | None = None) -> Any:
    return (await live.data(DELETE, id=run, key=key))["deleteExecution"]


async def test_a_run_that_has_ended_is_deleted_for_good(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    other = await live.ended(STRAIGHT)
    assert await delete(live, run) == {"deletedId": run, "errors": []}
    found = await live.data(LOOK, id=run)
    assert found["execution"] is None
    assert [each["id"] for each in found["executions"]["nodes"]] == [other]
    [problem] = (await delete(live, run))["errors"]
    assert problem["code"] == "NOT_FOUND"


async def test_a_run_is_deleted_as_soon_as_its_end_is_told(live: Live) -> None:
    for _ in range(5):
        assert (await delete(live, await live.ended(STRAIGHT)))["errors"] == []


async def test_what_waits_for_somebody_is_not_deleted(live: Live) -> None:
    run = await live.started(ASKING)
    [problem] = (await delete(live, run))["errors"]
    assert (problem["__typename"], problem["code"]) == ("InvalidTransition", "INVALID_STATE")
    assert problem["hint"] == "Abort it first, or wait for its end."
    await done(live, "abortExecution", id=run)
    assert (await delete(live, run))["deletedId"] == run


async def test_repeating_a_deletion_by_its_key_does_nothing_again(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    first = await delete(live, run, "once")
    assert await delete(live, run, "once") == first == {"deletedId": run, "errors": []}
    other = await live.ended(STRAIGHT)
    [problem] = (await delete(live, other, "once"))["errors"]
    assert problem["code"] == "IDEMPOTENCY_MISMATCH"


async def test_whoever_repeats_the_start_of_a_deleted_run_starts_nothing(live: Live) -> None:
    payload = await live.run(STRAIGHT, key="start")
    run = payload["execution"]["id"]
    await live.follow(run)
    await delete(live, run)
    again = await live.run(STRAIGHT, key="start")
    assert again["execution"] is None
    assert [(each["code"], each["message"]) for each in again["errors"]] == [
        ("NOT_FOUND", f"Execution {run!r} has been deleted.")
    ]
    assert (await live.data(LOOK, id=run))["executions"]["totalCount"] == 0


async def test_a_run_goes_only_behind_its_forks(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    payload = await done(live, "forkExecution", id=run, atSequence="3")
    fork = payload["execution"]["id"]
    await live.follow(fork)
    [problem] = (await delete(live, run))["errors"]
    assert fork in problem["message"]
    assert (await delete(live, fork))["deletedId"] == fork
    assert (await delete(live, run))["deletedId"] == run
