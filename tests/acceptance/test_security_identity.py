"""Attacks on who may do what, by number, against real servers (S1 to S6, S11, S25 to S27)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import websockets
from graphql import GraphQLObjectType, build_schema, get_named_type, is_leaf_type
from websockets.typing import Subprotocol

from dipeo_server.api.schema import print_schema_sdl
from dipeo_server.node_types import built_in_node_types
from tests.api.guarded import Guarded, guarded
from tests.api.serving import ASKING, EVENTS, RUN
from tests.cli.processes import dipeo

ME = "{ me { name } }"
INLINE = {"source": {"inline": {"name": "x", "content": ASKING, "format": "LIGHT"}}}
APPROVE = "mutation($id: ID!) { approveBarrier(id: $id) { errors { code } } }"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    async with guarded(tmp_path_factory.mktemp("base")) as found:
        yield found


def test_s1_a_server_that_others_reach_does_not_start_without_authentication(
    base_dir: Path,
) -> None:
    done = dipeo("serve", "--auth", "none", "--host", "0.0.0.0", "--port", "0", cwd=base_dir)
    assert (done.code, done.out) == (78, "")
    assert "anybody who reaches this address could run diagrams" in done.err
    assert "--auth token" in done.err


def operations() -> list[tuple[str, str]]:
    """Every root field of the schema, as a document that asks nothing but that."""
    schema = build_schema(print_schema_sdl(built_in_node_types().specs))
    found = []
    for kind in ("query", "mutation", "subscription"):
        root = schema.type_map[kind.title()]
        assert isinstance(root, GraphQLObjectType)
        for name, field in root.fields.items():
            inner = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
            found.append((kind, f"{kind} {{ {name}{inner} }}"))
    return found


@pytest.mark.asyncio(loop_scope="module")
async def test_s2_no_operation_is_answered_without_a_token(server: Guarded) -> None:
    wrong = {"authorization": f"Bearer dip_{'A' * 12}_{'B' * 43}"}
    for index, (kind, document) in enumerate(operations()):
        # A wrong token is the same as none, as long as there are not too many of them.
        shown = wrong if index == 0 else {}
        accept = "text/event-stream" if kind == "subscription" else "application/json"
        answer = await server.live.http.post(
            server.live.url, json={"query": document}, headers={"accept": accept, **shown}
        )
        assert answer.status_code == 401, document
        assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    async with server.live.raw_socket() as connection:
        await connection.send('{"type": "connection_init"}')
        await connection.wait_closed()
        assert connection.close_code == 4401


@pytest.mark.asyncio(loop_scope="module")
async def test_s3_a_foreign_page_opens_no_socket(server: Guarded) -> None:
    for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with server.live.raw_socket(origin=origin):
                pass
        assert refused.value.response.status_code == 403


@pytest.mark.asyncio(loop_scope="module")
async def test_s4_a_name_that_was_rebound_to_us_is_not_answered(server: Guarded) -> None:
    viewer = await server.somebody("viewer")
    headers = {**viewer.headers, "host": "evil.example:8000"}
    answer = await server.live.http.post(server.live.url, json={"query": ME}, headers=headers)
    assert answer.status_code == 421
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(
            server.live.socket_url.replace("127.0.0.1", "evil.example"),
            host="127.0.0.1",
            subprotocols=[Subprotocol("graphql-transport-ws")],
            additional_headers=viewer.headers,
        ):
            pass
    assert refused.value.response.status_code == 421


@pytest.mark.asyncio(loop_scope="module")
async def test_s5_what_a_form_of_a_page_can_send_changes_nothing(server: Guarded) -> None:
    admin = await server.somebody("admin")
    mutation = 'mutation { createToken(input: {name: "evil", role: ADMIN}) { text } }'
    http, url = server.live.http, server.live.url
    sent: list[tuple[dict[str, Any], int]] = [
        ({"content": mutation, "headers": {"content-type": "text/plain"}}, 415),
        ({"data": {"query": mutation}}, 415),
        ({"files": {"query": (None, mutation)}}, 415),
    ]
    for options, status in sent:
        headers = {**admin.headers, **options.pop("headers", {})}
        answer = await http.post(url, headers=headers, **options)
        assert answer.status_code == status
    got = await http.get(url, params={"query": mutation}, headers=admin.headers)
    assert got.status_code == 405
    assert all(token.name != "evil" for token in server.access.all_tokens())


@pytest.mark.asyncio(loop_scope="module")
async def test_s6_the_old_protocol_of_sockets_is_not_spoken(server: Guarded) -> None:
    async with websockets.connect(
        server.live.socket_url, subprotocols=[Subprotocol("graphql-ws")]
    ) as connection:
        assert connection.subprotocol is None
        start = '{"type": "start", "id": "1", "payload": {"query": "{ tokens { id } }"}}'
        try:
            await connection.send(start)
            async with asyncio.timeout(30):
                heard = [message async for message in connection]
        except websockets.ConnectionClosed:
            heard = []
        assert not any("data" in str(message) for message in heard)
        assert connection.close_code is not None


@pytest.mark.asyncio(loop_scope="module")
async def test_s11_who_is_not_known_learns_nothing_of_the_schema(server: Guarded) -> None:
    for document in ("{ __schema { types { name } } }", "{ tokns { id } }", "{", "{ me { nam } }"):
        answer = await server.post(document)
        assert answer.status_code == 401
        assert not re.search("token_id|tokens|Query|Did you mean", answer.text), answer.text


@pytest.mark.asyncio(loop_scope="module")
async def test_s25_ids_cannot_be_guessed(server: Guarded) -> None:
    author = await server.somebody("author")
    runs = set()
    for _ in range(8):
        payload = (await author.data(RUN, input=INLINE))["runDiagram"]
        runs.add(payload["execution"]["id"].rpartition("_")[2])
    assert len(runs) == 8
    assert all(len(run) == 26 for run in runs)  # 128 bits in base 32
    # Chance in every place: no two ids share more than some of their first characters.
    assert max(len(set(place)) for place in zip(*runs, strict=True)) > 3


@pytest.mark.asyncio(loop_scope="module")
async def test_s26_names_and_reasons_cannot_write_lines_of_a_log(server: Guarded) -> None:
    admin = await server.somebody("admin")
    create = "mutation($name: String!) { createToken(input: {name: $name, role: VIEWER}) { text } }"
    for name in ("a\nb", "a\x1b[2Jb", "a\u2028b", "a\x00b"):
        made = await admin.data(create, name=name)
        assert made["createToken"]["text"] is None


async def test_s27_a_decision_holds_for_its_barrier_alone_and_once(base_dir: Path) -> None:
    async with guarded(base_dir, starters_approve=False) as server:
        ann = await server.somebody("author", "ann", is_approver=True)
        bob = await server.somebody("viewer", "bob", is_approver=True)
        barriers = []
        for _ in range(2):
            run = (await ann.data(RUN, input=INLINE))["runDiagram"]["execution"]["id"]
            async with bob.socket() as client:
                await client.receive()
                id_ = await client.subscribe(EVENTS, id=run)
                while (event := await client.next(id_))["__typename"] != "BarrierWaiting":
                    pass
            barriers.append(event["barrierId"])
        assert await ann.code(APPROVE, id=barriers[0]) == "FORBIDDEN"
        assert (await bob.data(APPROVE, id=barriers[0]))["approveBarrier"]["errors"] == []
        again = await bob.data(APPROVE, id=barriers[0])
        assert again["approveBarrier"]["errors"] == [{"code": "ALREADY_DECIDED"}]
        waiting = await bob.data("{ waitingBarriers { id } }")
        assert waiting["waitingBarriers"] == [{"id": barriers[1]}]
