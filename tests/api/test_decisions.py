"""Deciding barriers: those that wait, those to come, and who was first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.serving import ASKING, Live, Socket, light
from tests.api.steering import (
    GATES,
    ahead,
    all_told,
    document_of,
    done,
    ended,
    paused,
    refused,
    sent,
    standing,
    statuses,
    told,
)


async def asked(live: Live, run: str, node: str) -> str:
    """The id of the barrier at which a run waits."""
    found: str = (await told(live, run, "BarrierWaiting", nodeKey=node))["barrierId"]
    return found


def at(run: str, node: str, occurrence: int | None = None) -> dict[str, Any]:
    return {"node": {"executionId": run, "nodeKey": node, "occurrence": occurrence}}


# --- barriers that wait -------------------------------------------------------------------------


@pytest.mark.parametrize("by_id", [True, False])
async def test_a_waiting_barrier_is_decided_by_its_id_or_its_visit(live: Live, by_id: bool) -> None:
    run = await live.started(ASKING)
    barrier = await asked(live, run, "gate")
    target = {"barrierId": barrier} if by_id else at(run, "gate", 1)
    payload = await done(live, "decideBarrier", target=target, action="APPROVE", reason="Good.")
    assert payload["barrier"] == {
        "id": barrier,
        "nodeKey": "gate",
        "occurrence": 1,
        "status": "APPROVED",
        "reason": "Good.",
        "decidedBy": "anonymous",
    }
    assert payload["earlyDecision"] is None
    assert payload["execution"]["id"] == run
    assert await ended(live, run) == "COMPLETED"


@pytest.mark.parametrize("by_id", [True, False])
async def test_who_comes_second_is_told_who_was_first(live: Live, by_id: bool) -> None:
    run = await live.started(ASKING)
    barrier = await asked(live, run, "gate")
    target = {"barrierId": barrier} if by_id else at(run, "gate", 1)
    await done(live, "decideBarrier", target=target, action="APPROVE", reason="first")
    error = await refused(live, "decideBarrier", target=target, action="REJECT", reason="second")
    assert (error["__typename"], error["code"]) == ("AlreadyDecided", "ALREADY_DECIDED")
    assert error["winner"] == {
        "id": barrier,
        "status": "APPROVED",
        "decidedBy": "anonymous",
        "reason": "first",
    }


async def test_of_two_sockets_one_wins_and_the_other_is_told_so(live: Live) -> None:
    run = await live.started(ASKING)
    barrier = await asked(live, run, "gate")
    document = document_of("decideBarrier")

    async def decided(socket: Socket, action: str) -> dict[str, Any]:
        target = {"barrierId": barrier}
        [found] = await socket.items(document, target=target, action=action, reason=action)
        return found

    async with live.socket() as one, live.socket() as other:
        both = await asyncio.gather(decided(one, "APPROVE"), decided(other, "REJECT"))
    winners = [each for each in both if not each["errors"]]
    assert len(winners) == 1
    [loser] = [each for each in both if each["errors"]]
    winner = winners[0]["barrier"]
    assert loser["errors"][0]["winner"]["reason"] == winner["reason"]
    [resolved] = await all_told(live, run, "BarrierResolved")
    assert (resolved["status"], resolved["resolved"]) == (winner["status"], winner["reason"])


async def test_variables_are_set_by_a_modification(live: Live) -> None:
    run = await live.started(ASKING)
    target = {"barrierId": await asked(live, run, "gate")}
    payload = await done(
        live, "decideBarrier", target=target, action="MODIFY", variables={"size": 3}
    )
    assert payload["barrier"]["status"] == "MODIFIED"
    await live.follow(run)
    query = "query ($id: ID!) { execution(id: $id) { status variables } }"
    found = (await live.data(query, id=run))["execution"]
    assert (found["status"], found["variables"]["size"]) == ("COMPLETED", 3)


async def test_a_run_is_sent_along_another_edge(live: Live) -> None:
    content = light("begin -> gate -> end", "gate -> other", begin="start", gate="barrier",
                    end="endpoint", other="endpoint")  # fmt: skip
    run = await live.started(content)
    target = {"barrierId": await asked(live, run, "gate")}
    nowhere = await refused(live, "decideBarrier", target=target, action="REROUTE", reroute="begin")
    assert nowhere["code"] == "INVALID"
    await done(live, "decideBarrier", target=target, action="REROUTE", reroute="other")
    assert await ended(live, run) == "COMPLETED"
    found = await statuses(live, run)
    assert (found["end"], found["other"]) == ("SKIPPED", "COMPLETED")


# --- ahead of time ------------------------------------------------------------------------------


async def test_a_visit_is_decided_before_it_is_reached(live: Live) -> None:
    run = await paused(live, GATES)
    payload = await ahead(live, run, "first", "APPROVE", occurrence=1, reason="Fine.")
    assert payload["errors"] == []
    assert payload["barrier"] is None
    early = payload["earlyDecision"]
    assert early["id"].startswith("decision_")
    assert (early["nodeKey"], early["occurrence"], early["action"]) == ("first", 1, "APPROVE")
    assert (early["createdBy"], early["expiresAt"]) == ("anonymous", None)
    [listed] = (await standing(live, run))["earlyDecisions"]
    assert (listed["id"], listed["reason"]) == (early["id"], "Fine.")
    await done(live, "resumeExecution", id=run)
    await asked(live, run, "second")
    resolved = await told(live, run, "BarrierResolved")
    assert (resolved["nodeKey"], resolved["status"]) == ("first", "APPROVED")
    assert (resolved["decidedBy"], resolved["resolved"]) == ("anonymous", "Fine.")
    used = await told(live, run, "EarlyDecisionChanged", change="used")
    assert used["decisionId"] == early["id"]
    assert (await standing(live, run))["earlyDecisions"] == []


async def test_every_visit_is_decided_by_one_decision_which_stays(live: Live) -> None:
    run = await live.started(ASKING)
    barrier = await asked(live, run, "gate")
    payload = await ahead(live, run, "gate", "APPROVE")
    assert payload["errors"] == []
    assert (payload["barrier"]["id"], payload["barrier"]["status"]) == (barrier, "APPROVED")
    assert payload["earlyDecision"]["usesLeft"] is None
    assert await ended(live, run) == "COMPLETED"
    changes = await all_told(live, run, "EarlyDecisionChanged")
    assert [each["change"] for each in changes] == ["recorded", "used", "unused"]
    assert {each["decisionId"] for each in changes} == {payload["earlyDecision"]["id"]}


async def test_a_decision_on_one_visit_beats_one_on_all(live: Live) -> None:
    run = await paused(live, GATES)
    await ahead(live, run, "second", "REJECT", reason="No more.")
    await ahead(live, run, "second", "APPROVE", occurrence=1)
    await ahead(live, run, "first", "APPROVE", maxUses=1)
    await done(live, "resumeExecution", id=run)
    assert await ended(live, run) == "COMPLETED"


async def test_a_visit_that_was_decided_cannot_be_decided_ahead(live: Live) -> None:
    run = await paused(live, GATES)
    await ahead(live, run, "first", "APPROVE", occurrence=1, reason="early")
    await done(live, "resumeExecution", id=run)
    await asked(live, run, "second")
    late = await ahead(live, run, "first", "REJECT", occurrence=1)
    assert late["errors"][0]["winner"]["reason"] == "early"


async def test_a_decision_ahead_of_time_can_expire(live: Live) -> None:
    run = await paused(live, GATES)
    payload = await ahead(live, run, "first", "APPROVE", expiresIn="PT0.001S")
    assert payload["earlyDecision"]["expiresAt"] is not None
    lasting = await ahead(live, run, "second", "APPROVE", expiresIn="PT1H", maxUses=2)
    assert lasting["earlyDecision"]["usesLeft"] == 2
    while len((await standing(live, run))["earlyDecisions"]) > 1:
        pass
    [left] = (await standing(live, run))["earlyDecisions"]
    assert left["id"] == lasting["earlyDecision"]["id"]
    await done(live, "resumeExecution", id=run)
    await asked(live, run, "first")


@pytest.mark.parametrize("id_", [None, "nope", "decision_ZXhlYwAwAGQx", "exec_0_nope"])
async def test_a_decision_is_taken_back_by_its_id(live: Live, id_: str | None) -> None:
    run = await paused(live, GATES)
    early = (await ahead(live, run, "first", "APPROVE"))["earlyDecision"]
    if id_ is not None:
        assert (await refused(live, "revokeDecision", id=id_))["code"] == "NOT_FOUND"
        return
    payload = await done(live, "revokeDecision", id=early["id"])
    assert payload["earlyDecision"] == {**early, "usesLeft": 0}
    assert payload["execution"]["earlyDecisions"] == []
    revoked = await told(live, run, "EarlyDecisionChanged", change="revoked")
    assert (revoked["decisionId"], revoked["actor"]) == (early["id"], "anonymous")
    assert (await refused(live, "revokeDecision", id=early["id"]))["code"] == "INVALID_STATE"


async def test_a_decision_of_a_run_that_has_ended_stays_as_it_is(live: Live) -> None:
    run = await live.started(ASKING)
    await asked(live, run, "gate")
    early = (await ahead(live, run, "gate", "APPROVE"))["earlyDecision"]
    assert await ended(live, run) == "COMPLETED"
    error = await refused(live, "revokeDecision", id=early["id"])
    assert (error["__typename"], error["current"]) == ("InvalidTransition", "COMPLETED")
    assert "Fork it" in error["hint"]
    query = "query ($id: ID!) { node(id: $id) { id } barrier(id: $id) { id } }"
    assert await live.data(query, id=early["id"]) == {"node": None, "barrier": None}


@pytest.mark.parametrize(
    "options, field",
    [
        ({"expiresIn": "PT0S"}, ["expiresIn"]),
        ({"expiresIn": "P9999D"}, ["expiresIn"]),
        ({"occurrence": 0}, ["target", "node", "occurrence"]),
        ({"variables": 3}, ["variables"]),
    ],
)
async def test_a_wrong_decision_is_a_problem_with_a_path(
    live: Live, options: dict[str, Any], field: list[str]
) -> None:
    run = await paused(live, GATES)
    [error] = (await ahead(live, run, "first", "APPROVE", **options))["errors"]
    assert (error["code"], error["field"]) == ("INVALID", field)


@pytest.mark.parametrize("option", [{"expiresIn": "PT1S"}, {"maxUses": 1}])
async def test_a_waiting_barrier_knows_no_later(live: Live, option: dict[str, Any]) -> None:
    run = await live.started(ASKING)
    target = {"barrierId": await asked(live, run, "gate")}
    error = await refused(live, "decideBarrier", target=target, action="APPROVE", **option)
    assert error["field"] == list(option)


async def test_an_unknown_node_is_told_with_the_nearest(live: Live) -> None:
    run = await paused(live, GATES)
    [error] = (await ahead(live, run, "frist", "APPROVE"))["errors"]
    assert (error["code"], error["hint"]) == ("NOT_FOUND", "Did you mean 'first'?")
    [error] = (await ahead(live, "exec_0_nope", "first", "APPROVE"))["errors"]
    assert error["code"] == "NOT_FOUND"


# --- asked again --------------------------------------------------------------------------------


async def test_a_decision_ahead_of_time_is_made_once_for_each_key(live: Live) -> None:
    run = await paused(live, GATES)
    first = await ahead(live, run, "first", "APPROVE", occurrence=1, idempotencyKey="k")
    assert first == await ahead(live, run, "first", "APPROVE", occurrence=1, idempotencyKey="k")
    assert len(first["execution"]["earlyDecisions"]) == 1
    await done(live, "resumeExecution", id=run)
    await asked(live, run, "second")
    again = await ahead(live, run, "first", "APPROVE", occurrence=1, idempotencyKey="k")
    assert again["errors"] == []
    assert again["earlyDecision"] == first["earlyDecision"]
    other = await ahead(live, run, "first", "REJECT", occurrence=1, idempotencyKey="k")
    assert [each["code"] for each in other["errors"]] == ["IDEMPOTENCY_MISMATCH"]


async def test_a_decision_on_a_waiting_visit_is_made_once_for_each_key(live: Live) -> None:
    run = await live.started(GATES)
    await asked(live, run, "first")
    first = await ahead(live, run, "first", "APPROVE", occurrence=1, idempotencyKey="k")
    await asked(live, run, "second")
    again = await ahead(live, run, "first", "APPROVE", occurrence=1, idempotencyKey="k")
    assert first["errors"] == again["errors"] == []
    assert first["barrier"] == again["barrier"]
    assert first["earlyDecision"] is again["earlyDecision"] is None


async def test_a_decision_that_was_used_at_once_is_answered_with_its_barrier(live: Live) -> None:
    run = await live.started(GATES)
    await asked(live, run, "first")
    first = await ahead(live, run, "first", "APPROVE", idempotencyKey="k")
    await asked(live, run, "second")
    again = await ahead(live, run, "first", "APPROVE", idempotencyKey="k")
    assert first["barrier"]["status"] == "APPROVED"
    for name in ("barrier", "earlyDecision", "errors"):
        assert first[name] == again[name]


async def test_a_decision_is_taken_back_once_for_each_key(live: Live) -> None:
    run = await paused(live, GATES)
    early = (await ahead(live, run, "first", "APPROVE"))["earlyDecision"]
    first = await sent(live, "revokeDecision", id=early["id"], idempotencyKey="k")
    assert first == await sent(live, "revokeDecision", id=early["id"], idempotencyKey="k")
    assert first["errors"] == []
