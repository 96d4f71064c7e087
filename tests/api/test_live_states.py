"""States of runs over a socket: one run as it goes, and a list as it changes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.serving import ASKING, STRAIGHT, Live, Socket, light
from tests.api.steering import done

UPDATED = """subscription ($id: ID!, $every: Duration) {
  executionUpdated(executionId: $id, minInterval: $every) {
    id status lastSequence isActive nodeStates { nodeKey status } } }"""
CHANGED = """subscription ($filter: ExecutionFilter) {
  executionsChanged(filter: $filter) { id status isActive } }"""
GO_ON = """mutation ($id: ID!) {
  approveBarrier(id: $id) { errors { message } } }"""
WAITING = "query ($id: ID!) { waitingBarriers(executionId: $id) { id } }"
FAILING = light("begin -> bad", begin="start", bad="condition, expression: unknown > 1")
LOOP = light(
    "begin -> turn -> check",
    "'check[condfalse]' -> turn",
    "'check[condtrue]' -> end",
    begin="start",
    turn="transform",
    check="condition, expression: 'i >= 300', expose_index_as: i, max_iteration: 500",
    end="endpoint",
)


async def approve(live: Live, run: str) -> None:
    [waiting] = (await live.data(WAITING, id=run))["waitingBarriers"]
    payload = (await live.data(GO_ON, id=waiting["id"]))["approveBarrier"]
    assert payload["errors"] == []


async def until(socket: Socket, id_: str, run: str, status: str) -> dict[str, Any]:
    """The first item of that run in that status."""
    while True:
        found = await socket.next(id_)
        if (found["id"], found["status"]) == (run, status):
            return found


async def waits(live: Live, run: str) -> None:
    async with live.socket() as socket:
        query = "subscription ($id: ID!) { barrierWaiting(executionId: $id) { id } }"
        await socket.next(await socket.subscribe(query, id=run))


# --- one run ------------------------------------------------------------------------------------


async def test_a_run_is_shown_as_it_is_and_then_as_it_changes(live: Live) -> None:
    run = await live.started(ASKING)
    await waits(live, run)
    async with live.socket() as socket:
        id_ = await socket.subscribe(UPDATED, id=run, every="PT0.01S")
        first = await socket.next(id_)
        assert (first["status"], first["isActive"]) == ("WAITING", True)
        assert {"nodeKey": "gate", "status": "WAITING"} in first["nodeStates"]
        await approve(live, run)
        last = await until(socket, id_, run, "COMPLETED")
        assert await socket.receive() == {"id": id_, "type": "complete"}
    assert {node["status"] for node in last["nodeStates"]} == {"COMPLETED"}
    assert int(last["lastSequence"]) > int(first["lastSequence"])


async def test_a_run_that_has_ended_is_shown_once(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    async with live.socket() as socket:
        [only] = await socket.items(UPDATED, id=run)
    assert (only["status"], only["isActive"]) == ("COMPLETED", False)


async def test_the_newest_state_wins(live: Live) -> None:
    run = await live.started(LOOP, variables={"i": 0}, startPaused=True)
    async with live.socket() as socket:
        id_ = await socket.subscribe(UPDATED, id=run, every="PT0.2S")
        assert (await socket.next(id_))["status"] == "PAUSED"
        await done(live, "resumeExecution", id=run)
        states = []
        while (message := await socket.receive())["type"] == "next":
            states.append(message["payload"]["data"]["executionUpdated"])
    sequences = [int(state["lastSequence"]) for state in states]
    assert sequences == sorted(set(sequences))
    assert states[-1]["status"] == "COMPLETED"
    # Each is a long way behind the one before it: so most of the events have no state of their own.
    assert len(states) < sequences[-1] / 10


@pytest.mark.parametrize("every", ["PT0S", "PT0.001S", "PT2H"])
async def test_an_interval_that_makes_no_sense_is_refused(live: Live, every: str) -> None:
    run = await live.ended(STRAIGHT)
    async with live.socket() as socket:
        await socket.subscribe(UPDATED, id=run, every=every)
        message = await socket.receive()
    assert message["type"] == "error"
    [error] = message["payload"]
    assert (error["extensions"]["code"], error["extensions"]["field"]) == (
        "INVALID",
        ["minInterval"],
    )


async def test_an_unknown_run_cannot_be_shown(live: Live) -> None:
    async with live.socket() as socket:
        await socket.subscribe(UPDATED, id="exec_none", every=None)
        message = await socket.receive()
    assert message["type"] == "error"
    assert message["payload"][0]["extensions"]["code"] == "NOT_FOUND"


# --- a list -------------------------------------------------------------------------------------


async def followed(socket: Socket, **filter_: Any) -> str:
    """The id of an operation that follows a list; a query behind it shows that it has begun."""
    id_ = await socket.subscribe(CHANGED, filter=filter_ or None)
    await socket.subscribe("{ serverInfo { version } }")
    assert (await socket.receive())["type"] == "next"
    assert (await socket.receive())["type"] == "complete"
    return id_


async def test_runs_are_told_as_they_start_and_end(live: Live) -> None:
    earlier = await live.ended(STRAIGHT)
    async with live.socket() as socket:
        id_ = await followed(socket)
        run = await live.started(ASKING)
        seen = [await until(socket, id_, run, "WAITING")]
        await approve(live, run)
        seen.append(await until(socket, id_, run, "COMPLETED"))
        other = await live.started(STRAIGHT)
        while seen[-1]["id"] != other:
            seen.append(await socket.next(id_))
    assert earlier not in {state["id"] for state in seen}


async def test_a_run_that_leaves_the_list_is_told_once_more(live: Live) -> None:
    async with live.socket() as socket:
        id_ = await followed(socket, isActive=True)
        run = await live.started(ASKING)
        await until(socket, id_, run, "WAITING")
        await approve(live, run)
        last = await until(socket, id_, run, "COMPLETED")
        assert last["isActive"] is False


async def test_only_what_the_filter_wants_is_told(live: Live) -> None:
    async with live.socket() as socket:
        id_ = await followed(socket, statuses=["FAILED"], startedAfter="2020-01-01T00:00:00Z")
        await live.ended(STRAIGHT)
        run = await live.started(FAILING)
        found = await socket.next(id_)
    assert (found["id"], found["status"]) == (run, "FAILED")


async def test_times_and_parents_are_looked_at_too(live: Live) -> None:
    async with live.socket() as socket:
        await followed(socket, startedBefore="2020-01-01T00:00:00Z")
        await followed(socket, parentId="exec_none")
        await followed(socket, diagramId="dgm_none")
        id_ = await followed(socket, startedAfter="2020-01-01T00:00:00Z", isActive=False)
        run = await live.started(STRAIGHT)
        found = await socket.next(id_)
    assert (found["id"], found["status"]) == (run, "COMPLETED")
