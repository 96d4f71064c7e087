"""Changes of stored diagrams: done once for each key, and told to those who follow."""

import asyncio

from tests.api.keeping import archive, create, created, update
from tests.api.serving import STRAIGHT, Live, light

OTHER = light("begin -> end", begin="start", end="endpoint")
COMMENTED = f"{STRAIGHT}\n# to the end"

# --- idempotency --------------------------------------------------------------------------------


async def test_a_key_keeps_one_diagram_however_often_it_is_sent(live: Live) -> None:
    payloads = await asyncio.gather(*(create(live, STRAIGHT, key="k") for _ in range(20)))
    assert all(payload == payloads[0] for payload in payloads)
    assert payloads[0]["errors"] == []
    assert (await live.data("{ diagrams { totalCount } }"))["diagrams"]["totalCount"] == 1


async def test_a_key_is_for_one_request(live: Live) -> None:
    made = (await create(live, STRAIGHT, key="k"))["diagram"]
    for payload in (
        await create(live, OTHER, key="k"),
        await update(live, made["id"], 1, STRAIGHT, key="k"),
        await archive(live, made["id"], key="k"),
        await live.run(STRAIGHT, key="k"),
    ):
        [error] = payload["errors"]
        assert (error["code"], error["field"]) == ("IDEMPOTENCY_MISMATCH", ["idempotencyKey"])
    await live.run(STRAIGHT, key="of a run")
    [error] = (await create(live, STRAIGHT, key="of a run"))["errors"]
    assert error["code"] == "IDEMPOTENCY_MISMATCH"
    [error] = (await create(live, STRAIGHT, key=""))["errors"]
    assert error["code"] == "INVALID"


async def test_an_update_that_is_repeated_is_answered_with_its_own_revision(live: Live) -> None:
    made = await created(live, STRAIGHT)
    payloads = await asyncio.gather(
        *(update(live, made["id"], 1, OTHER, key="k") for _ in range(10))
    )
    assert all(payload == payloads[0] for payload in payloads)
    assert payloads[0]["errors"] == []
    await update(live, made["id"], 2, COMMENTED)
    await archive(live, made["id"])
    again = await update(live, made["id"], 1, OTHER, key="k")
    assert (again["errors"], again["revision"]) == ([], payloads[0]["revision"])
    assert again["diagram"]["head"]["number"] == 3


# --- diagramChanged -----------------------------------------------------------------------------

CHANGED = """subscription ($id: ID!) { diagramChanged(diagramId: $id) {
  name archivedAt head { number content(format: LIGHT) diagram { name } } } }"""


async def test_a_diagram_can_be_followed_until_it_is_archived(live: Live) -> None:
    made = await created(live, STRAIGHT)
    async with live.socket() as first, live.socket() as second:
        ids = [await each.subscribe(CHANGED, id=made["id"]) for each in (first, second)]
        items = [await each.next(id_) for each, id_ in zip((first, second), ids, strict=True)]
        assert [item["head"]["number"] for item in items] == [1, 1]
        await update(live, made["id"], 1, OTHER, name="new")
        for socket, id_ in zip((first, second), ids, strict=True):
            item = await socket.next(id_)
            assert item == {
                "name": "new",
                "archivedAt": None,
                "head": {"number": 2, "content": OTHER, "diagram": {"name": "new"}},
            }
        await archive(live, made["id"])
        for socket, id_ in zip((first, second), ids, strict=True):
            assert (await socket.next(id_))["archivedAt"] is not None
            assert await socket.receive() == {"id": id_, "type": "complete"}


async def test_an_archived_diagram_is_told_once(live: Live) -> None:
    made = await created(live, STRAIGHT)
    await archive(live, made["id"])
    async with live.socket() as socket:
        [item] = await socket.items(CHANGED, id=made["id"])
        assert item["archivedAt"] is not None


async def test_a_diagram_that_is_not_there_cannot_be_followed(live: Live) -> None:
    async with live.socket() as socket:
        id_ = await socket.subscribe(CHANGED, id="diagram_no")
        message = await socket.receive()
        assert (message["type"], message["id"]) == ("error", id_)
        assert message["payload"][0]["extensions"]["code"] == "NOT_FOUND"
