"""graphql-transport-ws on the wire: operations, many at once, each with an id of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.api.context import ApiLimits
from tests.api.serving import ASKING, EVENTS, RUN, STRAIGHT, Live, light, serving
from tests.api.wire import VERSION, Wire, readers_of, ready

pytestmark = pytest.mark.asyncio(loop_scope="module")

TWO = "query A { serverInfo { version } } query B { serverInfo { store } }"
BARRIERS = "subscription { barrierWaiting { id } }"
START: dict[str, Any] = {
    "input": {"source": {"inline": {"name": "n", "content": STRAIGHT, "format": "LIGHT"}}}
}
ABORT = "mutation ($id: ID!) { abortExecution(id: $id) { errors { code } } }"


async def code_of(wire: Wire, query: str, **payload: Any) -> str:
    """The code of the error that such an operation ends with; the socket goes on."""
    found: str = (await wire.error("bad", query, **payload))["extensions"]["code"]
    await wire.still_works()
    return found


# --- queries and mutations ----------------------------------------------------------------------


async def test_a_query_is_answered_and_completed(shared: Live) -> None:
    async with ready(shared) as wire:
        await wire.subscribe("a", VERSION)
        version = shared.services.facts.version
        data = {"serverInfo": {"version": version}}
        assert await wire.receive() == {"id": "a", "type": "next", "payload": {"data": data}}
        assert await wire.receive() == {"id": "a", "type": "complete"}


async def test_a_mutation_is_carried_out(shared: Live) -> None:
    async with ready(shared) as wire:
        answer = await wire.answer("m", RUN, variables=START)
    assert answer["data"]["runDiagram"]["errors"] == []


async def test_a_key_holds_over_sockets_too(shared: Live) -> None:
    variables = {**START, "key": "over sockets"}
    async with ready(shared) as first, ready(shared) as second:
        answers = await asyncio.gather(
            *(wire.answer("m", RUN, variables=variables) for wire in (first, second))
        )
    assert (
        answers[0]["data"]["runDiagram"]["execution"]["id"]
        == (answers[1]["data"]["runDiagram"]["execution"]["id"])
    )


async def test_the_operation_that_is_named_is_run(shared: Live) -> None:
    async with ready(shared) as wire:
        answer = await wire.answer("1", TWO, operationName="B")
    assert answer["data"] == {"serverInfo": {"store": "memory"}}


async def test_an_error_in_a_field_is_part_of_the_result(shared: Live) -> None:
    async with ready(shared) as wire:
        answer = await wire.answer(
            "1", "{ serverInfo { version } executions(first: 0) { totalCount } }"
        )
    assert answer["data"] is None
    assert answer["errors"][0]["path"] == ["executions"]


async def test_a_variable_that_is_missing_leaves_no_data(shared: Live) -> None:
    async with ready(shared) as wire:
        answer = await wire.answer("1", "query ($id: ID!) { execution(id: $id) { id } }")
    assert answer["data"] is None
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_ids_may_be_any_text(shared: Live) -> None:
    ids = ["0", " ", "\N{SNOWMAN}", "x" * 10_000, '"quoted"', "null"]
    async with ready(shared) as wire:
        for id_ in ids:
            assert "data" in await wire.answer(id_, VERSION)


# --- what cannot be run is an error of its own operation ----------------------------------------


@pytest.mark.parametrize(
    "query, payload, code",
    [
        ("{ serverInfo {", {}, "GRAPHQL_PARSE_FAILED"),
        ("nonsense", {}, "GRAPHQL_PARSE_FAILED"),
        ("", {}, "BAD_REQUEST"),
        ("# only a comment", {}, "GRAPHQL_PARSE_FAILED"),
        ("{ unknown }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { unknown }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("fragment F on Query { serverInfo { version } }", {}, "GRAPHQL_VALIDATION_FAILED"),
        (TWO, {}, "GRAPHQL_VALIDATION_FAILED"),
        (TWO, {"operationName": "C"}, "GRAPHQL_VALIDATION_FAILED"),
        (VERSION, {"operationName": "C"}, "GRAPHQL_VALIDATION_FAILED"),
        (EVENTS, {"variables": {}}, "BAD_USER_INPUT"),
        (EVENTS, {"variables": {"id": "exec_none", "after": -1}}, "BAD_USER_INPUT"),
        (EVENTS, {"variables": {"id": "exec_none"}}, "NOT_FOUND"),
        ("{" + "serverInfo { version } " * 2_000 + "}", {}, "GRAPHQL_PARSE_FAILED"),
        (
            "{" + " ".join(f"a{i}: serverInfo {{ version }}" for i in range(40)) + "}",
            {},
            "LIMIT_EXCEEDED",
        ),
    ],
)
async def test_a_document_that_cannot_be_run_is_an_error(
    shared: Live, query: str, payload: dict[str, Any], code: str
) -> None:
    async with ready(shared) as wire:
        assert await code_of(wire, query, **payload) == code


async def test_a_bad_document_leaves_the_others_alone(shared: Live) -> None:
    run = await shared.started(ASKING)
    async with ready(shared) as wire:
        await wire.subscribe("good", EVENTS, variables={"id": run})
        await wire.subscribe("bad", "{ nonsense")
        assert [m["type"] for m in await wire.until_end("bad")] == ["error"]
        await shared.data(ABORT, id=run)
        messages = await wire.until_end("good")
    assert messages[-1]["type"] == "complete"
    assert messages[-2]["payload"]["data"]["executionEvents"]["__typename"] == "ExecutionAborted"


async def test_an_error_ends_its_operation_so_the_id_is_free(shared: Live) -> None:
    async with ready(shared) as wire:
        for _ in range(3):
            await wire.error("1", "{ nonsense")
            assert "data" in await wire.answer("1", VERSION)


# --- subscriptions ------------------------------------------------------------------------------


async def test_a_run_is_told_from_its_first_event_to_its_last(shared: Live) -> None:
    run = await shared.ended(STRAIGHT)
    async with ready(shared) as wire:
        await wire.subscribe("1", EVENTS, variables={"id": run})
        *items, end = await wire.until_end("1")
    assert end == {"id": "1", "type": "complete"}
    told = [item["payload"]["data"]["executionEvents"]["sequence"] for item in items]
    assert told == [str(number) for number in range(1, len(told) + 1)]


async def test_a_reader_that_is_ahead_of_the_log_is_told_to_start_anew(shared: Live) -> None:
    run = await shared.ended(STRAIGHT)
    async with ready(shared) as wire:
        await wire.subscribe("1", EVENTS, variables={"id": run, "after": "1000"})
        item, end = await wire.until_end("1")
    told = item["payload"]["data"]["executionEvents"]
    assert (told["__typename"], told["snapshot"]["id"]) == ("ResyncRequired", run)
    assert end["type"] == "complete"


async def test_an_id_that_is_in_use_closes_the_socket(shared: Live) -> None:
    run = await shared.started(ASKING)
    async with ready(shared) as wire:
        await wire.subscribe("twice", EVENTS, variables={"id": run})
        await wire.subscribe("twice", VERSION)
        assert await wire.closed() == (4409, "Subscriber for twice already exists")


async def test_a_long_id_in_use_is_cut_in_the_reason(shared: Live) -> None:
    async with ready(shared) as wire:
        await wire.subscribe("\N{SNOWMAN}" * 500, BARRIERS)
        await wire.subscribe("\N{SNOWMAN}" * 500, BARRIERS)
        code, reason = await wire.closed()
    assert code == 4409
    assert len(reason.encode()) <= 123


async def test_the_same_id_means_nothing_to_another_socket(shared: Live) -> None:
    async with ready(shared) as one, ready(shared) as other:
        await one.subscribe("1", BARRIERS)
        await other.subscribe("1", BARRIERS)
        await one.still_works()
        await other.still_works()


# --- complete -----------------------------------------------------------------------------------


async def test_whoever_completes_hears_no_more(shared: Live) -> None:
    run = await shared.started(ASKING)
    async with ready(shared) as wire:
        await wire.subscribe("1", EVENTS, variables={"id": run})
        await wire.receive()
        await wire.send({"id": "1", "type": "complete"})
        await shared.data(ABORT, id=run)
        await shared.follow(run)
        # Everything of "1" comes before the answer to "2", if there is anything.
        await wire.subscribe("2", VERSION)
        types = []
        while (message := await wire.receive()).get("id") != "2":
            types.append(message["type"])
    assert "complete" not in types


async def test_completing_stops_the_reading_at_once(shared: Live) -> None:
    run = await shared.started(ASKING)
    async with ready(shared) as wire:
        await wire.subscribe("1", EVENTS, variables={"id": run})
        await wire.receive()
        assert readers_of(shared, run) == 1
        await wire.send({"id": "1", "type": "complete"})
        await wire.still_works()
        assert readers_of(shared, run) == 0


async def test_leaving_stops_the_reading(shared: Live) -> None:
    run = await shared.started(ASKING)
    async with ready(shared) as wire:
        await wire.subscribe("1", EVENTS, variables={"id": run})
        await wire.receive()
    async with ready(shared) as other:
        async with asyncio.timeout(50):
            while readers_of(shared, run):
                await other.still_works()


async def test_an_id_is_free_as_soon_as_it_is_completed(shared: Live) -> None:
    run = await shared.started(ASKING)
    async with ready(shared) as wire:
        for number in range(50):
            await wire.subscribe("again", EVENTS, variables={"id": run})
            await wire.send({"id": "again", "type": "complete"})
            if number % 10 == 0:
                await wire.still_works()
        await wire.subscribe("again", VERSION)
        while (message := await wire.receive()) != {"id": "again", "type": "complete"}:
            assert message["type"] == "next"


async def test_what_was_completed_or_never_begun_may_be_completed(shared: Live) -> None:
    async with ready(shared) as wire:
        await wire.answer("1", VERSION)
        await wire.send({"id": "1", "type": "complete"})
        await wire.send({"id": "never", "type": "complete"})
        await wire.error("2", "{")
        await wire.send({"id": "2", "type": "complete"})
        await wire.still_works()


async def test_a_complete_before_the_init_is_no_fault(shared: Live) -> None:
    async with ready(shared) as wire:
        await wire.send({"id": "1", "type": "complete"})
        await wire.still_works()


# --- many ---------------------------------------------------------------------------------------


async def test_operations_run_side_by_side(shared: Live) -> None:
    runs = [await shared.started(ASKING) for _ in range(5)]
    async with ready(shared) as wire:
        for number, run in enumerate(runs):
            await wire.subscribe(f"events {number}", EVENTS, variables={"id": run})
            await wire.subscribe(f"query {number}", VERSION)
        waiting = {f"query {number}" for number in range(5)}
        while waiting:
            message = await wire.receive()
            if message["type"] == "complete":
                waiting.remove(message["id"])


async def test_a_socket_has_room_for_so_many_operations(shared: Live) -> None:
    most = shared.services.limits.socket_operations
    assert most == 100
    async with ready(shared) as wire:
        for number in range(most):
            await wire.subscribe(str(number), BARRIERS)
        refusal = await wire.error("one more", VERSION)
        assert refusal["extensions"]["code"] == "LIMIT_EXCEEDED"
        assert "100 operations" in refusal["message"]
        await wire.send({"id": "7", "type": "complete"})
        await wire.still_works()


async def test_a_server_has_room_for_so_many_subscriptions(base_dir: Path) -> None:
    async with (
        serving(base_dir, limits=ApiLimits(subscriptions=2)) as live,
        ready(live) as first,
        ready(live) as second,
    ):
        await first.subscribe("1", BARRIERS)
        await second.subscribe("1", BARRIERS)
        await second.still_works()
        refusal = await first.error("2", BARRIERS)
        assert refusal["extensions"]["code"] == "LIMIT_EXCEEDED"
        await second.send({"id": "1", "type": "complete"})
        await second.still_works()
        await first.subscribe("2", BARRIERS)
        await first.still_works()


async def test_an_operation_that_takes_too_long_is_given_up(base_dir: Path) -> None:
    async with (
        serving(base_dir, limits=ApiLimits(operation_seconds=0)) as live,
        ready(live) as wire,
    ):
        refusal = await wire.error("slow", '{ execution(id: "x") { id } }')
        assert refusal["extensions"]["code"] == "TIMEOUT"
        await wire.subscribe("1", BARRIERS)
        await wire.send({"type": "ping"})
        assert await wire.receive() == {"type": "pong"}


async def test_a_long_replay_lets_others_in_between(shared: Live) -> None:
    loop = light(
        "begin -> turn -> check",
        "'check[condfalse]' -> turn",
        "'check[condtrue]' -> end",
        begin="start",
        turn="transform",
        check="condition, expression: 'i >= 250', expose_index_as: i, max_iteration: 500",
        end="endpoint",
    )
    run = await shared.ended(loop, variables={"i": 0})
    async with ready(shared) as wire:
        await wire.subscribe("long", EVENTS, variables={"id": run})
        await wire.subscribe("short", VERSION)
        order: list[str] = []
        while len(order) < 2:
            message = await wire.receive()
            if message["type"] == "complete":
                order.append(message["id"])
    assert order == ["short", "long"]
