"""Who asks: tokens over every transport, and what becomes of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from dipeo_server.api.context import ApiLimits
from dipeo_server.domains.access.roles import Role
from dipeo_server.domains.access.tokens import token_text
from tests.api.guarded import BY_TEST, Guarded, guarded
from tests.api.serving import ASKING, EVENTS, RUN, STRAIGHT, Socket

ME = "{ me { name role isApprover } }"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    """One server for the tests that leave nothing behind but tokens."""
    limits = ApiLimits(failed_authentications_per_minute=100_000)
    async with guarded(tmp_path_factory.mktemp("base"), limits=limits) as found:
        yield found


# --- HTTP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        '{"query": "{ me { name } }"}',
        '{"query": "{ __schema { queryType { name } } }"}',
        "nonsense",
    ],
)
async def test_nothing_is_answered_without_a_token(server: Guarded, body: str) -> None:
    headers = {"content-type": "application/json"}
    answer = await server.live.http.post(server.live.url, content=body, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert "data" not in answer.json()


async def test_a_token_tells_who_asks(server: Guarded) -> None:
    ann = await server.somebody("author", "ann", is_approver=True)
    assert (await ann.data(ME))["me"] == {"name": "ann", "role": "AUTHOR", "isApprover": True}


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
async def test_the_scheme_may_be_written_in_any_case(server: Guarded, scheme: str) -> None:
    text = (await server.token("viewer")).text
    answer = await server.live.http.post(
        server.live.url, json={"query": ME}, headers={"authorization": f"{scheme} {text}"}
    )
    assert answer.status_code == 200


async def test_a_token_that_is_not_valid_opens_nothing(server: Guarded) -> None:
    made = await server.token("admin")
    other = await server.token("admin")
    wrong_secret = made.text[:-1] + ("0" if made.text[-1] != "0" else "1")
    swapped = f"dip_{made.token.id}_{other.text.rpartition('_')[2]}"
    unknown = token_text("A" * 55)
    shown = [wrong_secret, swapped, unknown, "dip_", "x" * 10_000, f"{made.text} {made.text}"]
    for text in shown:
        assert (await replace(server, text=text).post(ME)).status_code == 401, text
    headers = {"authorization": f"Basic {made.text}"}
    answer = await server.live.http.post(server.live.url, json={"query": ME}, headers=headers)
    assert answer.status_code == 401


async def test_a_token_in_the_url_or_a_cookie_is_none(server: Guarded) -> None:
    text = (await server.token("admin")).text
    asked = {"query": ME, "authorization": f"Bearer {text}", "token": text}
    in_url = await server.live.http.get(server.live.url, params=asked)
    cookie = {"cookie": f"token={text}; authorization={text}"}
    in_cookie = await server.live.http.get(server.live.url, params={"query": ME}, headers=cookie)
    assert (in_url.status_code, in_cookie.status_code) == (401, 401)


async def test_a_revoked_token_is_refused_from_then_on(server: Guarded) -> None:
    made = await server.token("viewer")
    somebody = replace(server, text=made.text)
    assert (await somebody.post(ME)).status_code == 200
    await server.access.revoke(made.token.id, BY_TEST)
    assert (await somebody.post(ME)).status_code == 401


async def test_the_health_of_the_server_is_no_secret(server: Guarded) -> None:
    answer = await server.live.http.get(server.live.url.replace("/graphql", "/healthz"))
    assert answer.status_code == 200


async def test_an_event_stream_needs_a_token_too(server: Guarded) -> None:
    body = {"query": "subscription { barrierWaiting { id } }"}
    headers = {"accept": "text/event-stream"}
    answer = await server.live.http.post(server.live.url, json=body, headers=headers)
    assert answer.status_code == 401


# --- WebSocket ----------------------------------------------------------------------------------


async def closed(client: Socket) -> int:
    """The code that the server closes with."""
    with suppress(ConnectionClosed):
        while True:
            await client.receive()
    code = client.connection.close_code
    assert code is not None
    return code


@pytest.mark.parametrize(
    "payload", [{}, {"authorization": "Bearer dip_x"}, {"authorization": 7}, {"token": "x"}]
)
async def test_a_socket_that_does_not_say_who_it_is_is_closed(
    server: Guarded, payload: dict[str, object]
) -> None:
    async with server.socket(payload) as client:
        assert await closed(client) == 4401


async def test_a_socket_that_begins_without_an_introduction_is_closed(server: Guarded) -> None:
    async with server.live.raw_socket() as connection:
        client = Socket(connection)
        await client.subscribe(ME)
        assert await closed(client) == 4401


async def test_a_socket_may_say_who_it_is_in_its_first_message(server: Guarded) -> None:
    ann = await server.somebody("viewer", "ann")
    async with ann.socket() as client:
        assert await client.receive() == {"type": "connection_ack"}
        id_ = await client.subscribe(ME)
        assert (await client.next(id_))["name"] == "ann"


async def test_a_socket_may_say_who_it_is_in_its_header(server: Guarded) -> None:
    ann = await server.somebody("viewer", "ann")
    async with server.live.raw_socket(additional_headers=ann.headers) as connection:
        client = Socket(connection)
        await client.send({"type": "connection_init"})
        assert await client.receive() == {"type": "connection_ack"}


# --- what is recorded ---------------------------------------------------------------------------


async def test_the_actor_of_what_is_recorded_is_whoever_asked(base_dir: Path) -> None:
    async with guarded(base_dir) as server:
        ann = await server.somebody("author", "ann")
        bob = await server.somebody("viewer", "bob", is_approver=True)
        inline = {"source": {"inline": {"name": "x", "content": ASKING, "format": "LIGHT"}}}
        run = (await ann.data(RUN, input=inline))["runDiagram"]["execution"]["id"]
        async with bob.socket() as client:
            await client.receive()
            id_ = await client.subscribe(EVENTS, id=run)
            while (event := await client.next(id_))["__typename"] != "BarrierWaiting":
                pass
        await bob.data(
            "mutation($id: ID!) { approveBarrier(id: $id) { errors { message } } }",
            id=event["barrierId"],
        )
        found = await ann.data(
            "query($id: ID!) { execution(id: $id) { events { nodes { ... on ExecutionStarted "
            "{ actor } ... on BarrierResolved { decidedBy } } } } }",
            id=run,
        )
        told = [event for event in found["execution"]["events"]["nodes"] if event]
        assert {"actor": "ann"} in told
        assert {"decidedBy": "bob"} in told


async def test_keys_of_different_names_have_nothing_to_do_with_one_another(
    server: Guarded,
) -> None:
    runs = set()
    for name in ("ann", "bob"):
        who = await server.somebody("author", name)
        inline = {"source": {"inline": {"name": "x", "content": STRAIGHT, "format": "LIGHT"}}}
        for _ in range(2):
            payload = await who.data(RUN, input=inline, key="the same")
            runs.add((name, payload["runDiagram"]["execution"]["id"]))
    assert len({run for _, run in runs}) == 2
    assert len(runs) == 2


# --- when a token is over -----------------------------------------------------------------------


async def test_revoking_a_token_cuts_off_its_sockets_and_no_others(server: Guarded) -> None:
    ann, bob = await server.somebody("viewer", "ann"), await server.somebody("viewer", "bob")
    async with ann.socket() as first, bob.socket() as second:
        for client in (first, second):
            assert await client.receive() == {"type": "connection_ack"}
            await client.subscribe("subscription { barrierWaiting { id } }")
        await server.access.revoke((await ann.me()).id, BY_TEST)
        assert await closed(first) == 4401
        await second.send({"type": "ping"})
        assert await second.receive() == {"type": "pong"}


async def test_revoking_a_token_ends_its_event_streams(server: Guarded) -> None:
    ann = await server.somebody("viewer", "ann")
    body = {"query": "subscription { barrierWaiting { id } }"}
    headers = {"accept": "text/event-stream", **ann.headers}
    wish = server.live.http.stream("POST", server.live.url, json=body, headers=headers, timeout=30)
    async with wish as answer:
        assert answer.status_code == 200
        await server.access.revoke((await ann.me()).id, BY_TEST)
        with_end = [line async for line in answer.aiter_lines()]
    assert isinstance(with_end, list)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("query", ["{ me { name } }", "subscription { barrierWaiting { id } }"])
async def test_a_token_that_is_over_before_its_request_has_come_opens_nothing(
    server: Guarded, accept: str, query: str
) -> None:
    made = await server.token("viewer", "ann")
    body = json.dumps({"query": query}).encode()

    def is_used() -> bool:
        tokens = {each.id: each for each in server.access.all_tokens()}
        return tokens[made.token.id].last_used_at is not None

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:5]
        async with asyncio.timeout(20):
            while not is_used():  # noqa: ASYNC110 - the server tells nobody of it
                await asyncio.sleep(0.01)
        await server.access.revoke(made.token.id, BY_TEST)
        yield body[5:]

    headers = {"accept": accept, "authorization": f"Bearer {made.text}"}
    headers["content-type"] = "application/json"
    answer = await server.live.http.post(server.live.url, content=slowly(), headers=headers)
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


# --- too often ----------------------------------------------------------------------------------


async def test_wrong_tokens_are_refused_for_a_while_and_valid_ones_are_not(base_dir: Path) -> None:
    limits = ApiLimits(failed_authentications_per_minute=5)
    async with guarded(base_dir, limits=limits, monotonic=lambda: 0.0) as server:
        ann = await server.somebody("viewer", "ann")
        wrong = replace(server, text=token_text("A" * 55))
        answers = [await wrong.post(ME) for _ in range(7)]
        assert [each.status_code for each in answers] == [401] * 5 + [429] * 2
        refused = answers[-1]
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
        assert (await ann.post(ME)).status_code == 200
        assert (await server.post(ME)).status_code == 401
        async with wrong.socket() as client:
            assert await closed(client) in {4401, 4403}


async def test_who_changes_too_much_at_once_has_to_wait_and_nobody_else(base_dir: Path) -> None:
    limits = ApiLimits(mutations_per_second=3, starts_per_second=2)
    at = [0.0]  # Time goes on where the test says so.
    async with guarded(base_dir, limits=limits, monotonic=lambda: at[0]) as server:
        ann, bob = await server.somebody("author", "ann"), await server.somebody("author", "bob")
        pause = 'pauseExecution(id: "exec_0_x") { errors { code } }'
        four = "mutation { " + " ".join(f"p{n}: {pause}" for n in range(4)) + " }"
        assert await ann.code(four) == "RATE_LIMITED"
        answers = [await ann.post(f"mutation {{ {pause} }}") for _ in range(5)]
        assert [each.status_code for each in answers] == [200] * 3 + [429] * 2
        refused = answers[-1].json()["errors"][0]
        assert refused["extensions"]["code"] == "RATE_LIMITED"
        assert refused["extensions"]["retryAfter"] == int(answers[-1].headers["retry-after"]) == 1
        assert "'ann' asks too often: at most 3 mutations a second" in refused["message"]
        assert (await bob.post(f"mutation {{ {pause} }}")).status_code == 200
        assert (await ann.post(ME)).status_code == 200
        at[0] += 1.0
        inline = {"source": {"inline": {"name": "x", "content": STRAIGHT, "format": "LIGHT"}}}
        starts = [await ann.code(RUN, input=inline) for _ in range(3)]
        assert starts == [None, None, "RATE_LIMITED"]
        async with ann.socket() as client:
            assert await client.receive() == {"type": "connection_ack"}
            await client.subscribe(RUN, input=inline)
            message = await client.receive()
            assert message["type"] == "error"
            assert message["payload"][0]["extensions"]["code"] == "RATE_LIMITED"


# --- roles --------------------------------------------------------------------------------------


async def test_a_token_is_never_in_what_the_server_keeps_or_tells(base_dir: Path) -> None:
    file = base_dir / "runs.db"
    async with guarded(base_dir, store=f"sqlite:{file}") as server:
        admin = await server.somebody("admin", is_approver=True)
        made = await admin.data(
            'mutation { createToken(input: {name: "ci", role: OPERATOR}) { text token { id } } }'
        )
        text = made["createToken"]["text"]
        assert (await replace(server, text=text).post(ME)).status_code == 200
        listed = str(await admin.data("{ tokens { id name role } audit { nodes { operation } } }"))
    kept = b"".join(path.read_bytes() for path in file.parent.glob("runs.db*") if path.is_file())
    secret = text.rpartition("_")[2]
    assert made["createToken"]["token"]["id"] in listed
    assert secret not in listed
    assert secret.encode() not in kept
    assert made["createToken"]["token"]["id"].encode() in kept


async def test_a_key_makes_one_token(server: Guarded) -> None:
    admin = await server.somebody("admin", "root")
    make = """mutation($role: Role!) { createToken(input: {name: "ci", role: $role},
        idempotencyKey: "once") { text token { id } errors { code } } }"""
    first = (await admin.data(make, role="VIEWER"))["createToken"]
    again = (await admin.data(make, role="VIEWER"))["createToken"]
    assert first["token"] == again["token"]
    assert (first["text"] is None, again["text"]) == (False, None)
    other = (await admin.data(make, role="ADMIN"))["createToken"]
    assert other["errors"] == [{"code": "IDEMPOTENCY_MISMATCH"}]


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_makes_a_token_is_as_long_as_any_other(server: Guarded, key: str) -> None:
    admin = await server.somebody("admin", "root")
    make = """mutation($key: String!) { createToken(input: {name: "ci", role: VIEWER},
        idempotencyKey: $key) { text errors { code field } } }"""
    assert (await admin.data(make, key=key))["createToken"] == {
        "text": None,
        "errors": [{"code": "INVALID", "field": ["idempotencyKey"]}],
    }


@pytest.mark.parametrize("name", ["", " ann", "a" * 81, "a\nb", "Anonymous"])
async def test_a_token_has_a_name_that_can_be_told(server: Guarded, name: str) -> None:
    admin = await server.somebody(Role.ADMIN)
    made = await admin.data(
        "mutation($name: String!) { createToken(input: {name: $name, role: VIEWER}) "
        "{ token { id } errors { code field } } }",
        name=name,
    )
    payload = made["createToken"]
    assert payload["token"] is None
    assert payload["errors"] == [{"code": "INVALID", "field": ["input", "name"]}]


async def test_a_token_that_is_not_there_cannot_be_revoked(server: Guarded) -> None:
    admin = await server.somebody("admin")
    made = await admin.data('mutation { revokeToken(id: "x") { errors { code } } }')
    assert made["revokeToken"]["errors"] == [{"code": "NOT_FOUND"}]
