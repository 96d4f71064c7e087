"""Barriers as they begin to wait, told live: each once, and none left out."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.api.serving import ASKING, Live, serving
from tests.api.steering import GATES, ahead, done, paused, told

COMING = """subscription ($id: ID) { barrierWaiting(executionId: $id) {
  id nodeKey status waitingSince execution { id status } } }"""


async def test_those_that_wait_come_first_and_then_the_new_ones(live: Live) -> None:
    first = await live.started(ASKING)
    await told(live, first, "BarrierWaiting")
    async with live.socket() as socket:
        id_ = await socket.subscribe(COMING)
        found = await socket.next(id_)
        assert (found["execution"], found["status"]) == (
            {"id": first, "status": "WAITING"},
            "WAITING",
        )
        second = await live.started(GATES)
        found = await socket.next(id_)
        assert (found["execution"]["id"], found["nodeKey"]) == (second, "first")
        await done(live, "decideBarrier", target={"barrierId": found["id"]}, action="APPROVE")
        found = await socket.next(id_)
        assert (found["execution"]["id"], found["nodeKey"]) == (second, "second")


async def test_the_barriers_of_one_run_are_told_until_it_ends(live: Live) -> None:
    other = await live.started(ASKING)
    await told(live, other, "BarrierWaiting")
    run = await live.started(GATES)
    async with live.socket() as socket:
        id_ = await socket.subscribe(COMING, id=run)
        for node in ("first", "second"):
            found = await socket.next(id_)
            assert (found["nodeKey"], found["execution"]["id"]) == (node, run)
            target = {"barrierId": found["id"]}
            await done(live, "decideBarrier", target=target, action="APPROVE")
        assert await socket.receive() == {"id": id_, "type": "complete"}
        assert await socket.items(COMING, id=run) == []


async def test_one_that_was_decided_at_once_is_told_as_it_stands(live: Live) -> None:
    run = await paused(live, GATES)
    await ahead(live, run, "first", "APPROVE", reason="early")
    async with live.socket() as socket:
        id_ = await socket.subscribe(COMING)
        await socket.subscribe('subscription { diagramChanged(diagramId: "diagram_no") { id } }')
        await socket.receive()  # Answered in order: the first subscription is there by now.
        await done(live, "resumeExecution", id=run)
        found = [await socket.next(id_), await socket.next(id_)]
        assert [(each["nodeKey"], each["status"]) for each in found] == [
            ("first", "APPROVED"),
            ("second", "WAITING"),
        ]


async def test_none_is_left_out_and_none_told_twice(live: Live) -> None:
    """Runs begin to wait before, while and after somebody begins to listen."""
    rounds, readers = 12, 3

    async def listen(count: int) -> list[str]:
        async with live.socket() as socket:
            id_ = await socket.subscribe(COMING)
            return [(await socket.next(id_))["id"] for _ in range(count)]

    early = [await live.started(ASKING) for _ in range(rounds)]
    listening = [asyncio.create_task(listen(2 * rounds)) for _ in range(readers)]
    late = [await live.started(ASKING) for _ in range(rounds)]
    expected = {(await told(live, run, "BarrierWaiting"))["barrierId"] for run in early + late}
    for found in await asyncio.gather(*listening):
        assert len(found) == len(set(found))
        assert set(found) == expected


async def test_those_of_an_earlier_server_still_wait(base_dir: Path, tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'runs.db'}"
    async with serving(base_dir, store=store) as live:
        run = await live.started(ASKING)
        barrier = (await told(live, run, "BarrierWaiting"))["barrierId"]
    async with serving(base_dir, store=store) as live, live.socket() as socket:
        id_ = await socket.subscribe(COMING)
        assert (await socket.next(id_))["id"] == barrier


async def test_an_unknown_run_is_an_error(live: Live) -> None:
    async with live.socket() as socket:
        id_ = await socket.subscribe(COMING, id="exec_0_nope")
        message = await socket.receive()
    assert (message["type"], message["id"]) == ("error", id_)
    assert message["payload"][0]["extensions"]["code"] == "NOT_FOUND"
