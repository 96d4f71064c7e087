"""Requests that are nearly right, by chance: each is answered, none makes the server fail."""

import copy
import heapq
import json
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp

from dipeo_server.api.http import create_routes
from tests.api.asgi import Asking, Reply
from tests.api.serving import EVENTS, RUN, STRAIGHT, Live, serving
from tests.proofs.calibration import slowness

SEED = 8412
SECONDS_MAX = 0.05
ROUNDS = 5
SLOWEST = 20
GROWTH_BYTES_MAX = 4 * 1024 * 1024
STATUSES = {200, 400, 403, 405, 406, 408, 413, 415, 421, 429}

DOCUMENTS = [
    "{ serverInfo { version limits } }",
    "query A($id: ID!) { execution(id: $id) { id status nodeStates { nodeKey status } } }",
    "query A { nodeTypes { type } } query B { serverInfo { version } }",
    "{ executions(first: 2) { edges { node { ...R } } } } fragment R on ExecutionState { id }",
    '{ node(id: "x") { __typename ... on Diagram { name } } }',
    "{ __schema { types { name fields { name } } } }",
    'mutation { abortExecution(id: "x") { errors { code message } } }',
    "subscription ($i: ID) { barrierWaiting(executionId: $i) { id } }",
    "subscription { executionsChanged { id } }",
    EVENTS,
    RUN,
]
VARIABLES: list[dict[str, Any]] = [
    {},
    {"id": "exec_0_x"},
    {"id": "x", "after": "3", "nodeKeys": ["a"]},
    {"input": {"source": {"inline": {"name": "x", "content": STRAIGHT, "format": "LIGHT"}}}},
]
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63,
    1.5,
    "",
    "x",
    "\x00\u2028\ufeff",
    "é" * 50,
    [],
    {},
    [[[[[]]]]],
    {"version": 1, "sha256Hash": "0" * 64},
    {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}},
    {"__proto__": {}, "": None},
]
PIECES = [
    b"",
    b"null",
    b"{",
    b"}",
    b'"',
    b"\\ud800",
    b"\xff",
    b"1e999",
    b"NaN",
    b"\x00",
    b"[" * 2_000,
]
WORDS = [
    "{",
    "}",
    "(",
    ")",
    "$id",
    "...",
    "on",
    "@skip(if: true)",
    "__typename",
    '"""',
    "#",
    "a:",
    "x",
]
MEDIA_TYPES = [
    b"application/json",
    b"application/json",
    b"application/json; charset=utf-8",
    b"text/plain",
    b"",
    b"\xff",
]
ACCEPTS = [
    b"application/json",
    b"application/graphql-response+json",
    b"text/event-stream",
    b"*/*",
]
ODD_ACCEPTS = [b"a;q=,", b"\xff;q=\xff", b"text/html", b"*/*;q=0", b""]
NAMES = ["query", "variables", "operationName", "extensions", "documentId"]


def value_of(chance: random.Random) -> Any:
    return copy.deepcopy(chance.choice(VALUES))


def request_of(chance: random.Random) -> dict[str, Any]:
    """A request that is right as often as not."""
    document = chance.choice(DOCUMENTS)
    if chance.random() < 0.4:
        document = with_words_changed(document, chance)
    request: dict[str, Any] = {
        "query": document,
        "variables": copy.deepcopy(chance.choice(VARIABLES)),
    }
    while chance.random() < 0.4:
        request[chance.choice(NAMES)] = value_of(chance)
    while chance.random() < 0.3:
        changed_within(request, chance)
    return request


def with_words_changed(document: str, chance: random.Random) -> str:
    words = document.split(" ")
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(words))
        match chance.randrange(3):
            case 0:
                words[at] = chance.choice(WORDS)
            case 1:
                words[at:at] = words[at : at + chance.randint(1, 4)] * chance.randint(1, 3)
            case _:
                del words[at : at + chance.randint(1, 3)]
        words = words or ["x"]
    return " ".join(words)


def changed_within(value: dict[str, Any], chance: random.Random) -> None:
    """Replace something somewhere below."""
    name = chance.choice([*value, "more"])
    inner = value.get(name)
    if isinstance(inner, dict) and inner:
        changed_within(inner, chance)
    else:
        value[name] = value_of(chance)


def body_of(chance: random.Random) -> bytes:
    request: Any = request_of(chance)
    if chance.random() < 0.05:
        request = chance.choice([[request], [request, request], value_of(chance)])
    body = bytearray(json.dumps(request, ensure_ascii=chance.random() < 0.5).encode())
    while chance.random() < 0.25:
        at = chance.randrange(len(body) + 1)
        body[at : at + chance.choice([0, 0, 1, 9])] = chance.choice(PIECES)
    if chance.random() < 0.05:
        del body[chance.randrange(len(body) + 1) :]
    return bytes(body)


def asking_of(chance: random.Random) -> Asking:
    headers = {b"content-type": b"application/json", b"accept": chance.choice(ACCEPTS)}
    if chance.random() < 0.03:
        headers[b"accept"] = chance.choice(ODD_ACCEPTS)
    if chance.random() < 0.05:
        headers[b"content-type"] = chance.choice(MEDIA_TYPES)
    if chance.random() < 0.05:
        headers[chance.choice([b"content-encoding", b"last-event-id", b"origin", b"host"])] = (
            chance.choice([b"gzip", b"7", b"-1", b"9" * 30, b"http://evil.example", b"[", b"\xff"])
        )
    if chance.random() < 0.02:
        headers[b"content-length"] = chance.choice([b"-1", b"x", b"9" * 40, b"\xb2", b"1_0", b""])
    if chance.random() < 0.15:
        text = body_of(chance)
        start = chance.choice(
            [b"query=", b"extensions=", b"variables=", b"", b"query=%7Ba%7D&variables="]
        )
        return Asking("GET", query_string=start + text.replace(b" ", b"+"), headers=headers)
    method = "POST" if chance.random() < 0.98 else chance.choice(["PUT", "HEAD", "x"])
    return Asking(method, headers=headers, body=body_of(chance))


def assert_answered(reply: Reply, told: str) -> None:
    """What holds of every reply, whatever was asked."""
    assert reply.status in STATUSES, f"{told}: {reply.status} {reply.body!r}"
    assert b'"INTERNAL"' not in reply.body, f"{told}: {reply.body!r}"
    if reply.is_stream:
        assert reply.status == 200, told
    else:
        assert reply.is_complete, told
        answer = json.loads(reply.body)
        assert isinstance(answer, dict), told
        assert answer.keys() <= {"data", "errors"}, told
        for error in answer.get("errors", []):
            assert error["extensions"]["code"], told


def asked(number: int) -> Asking:
    """The request of that number, always the same."""
    return asking_of(random.Random(f"{SEED}/{number}"))


async def fuzz(app: ASGIApp, numbers: Iterable[int]) -> tuple[dict[int, int], list[int]]:
    """Ask all of these; gives how often each status came back, and which were the slowest."""
    statuses: dict[int, int] = {}
    slowest: list[tuple[float, int]] = []
    for number in numbers:
        asking = asked(number)
        told = f"request {number}: {asking.method} {asking.query_string!r} {asking.body!r}"
        began = time.perf_counter()
        reply = await asking.of(app)
        found = (time.perf_counter() - began, number)
        (heapq.heappush if len(slowest) < SLOWEST else heapq.heappushpop)(slowest, found)
        assert_answered(reply, told)
        statuses[reply.status] = statuses.get(reply.status, 0) + 1
    return statuses, [number for _, number in slowest]


async def median_seconds(app: ASGIApp, number: int) -> float:
    """What a request takes, whatever else the machine may do now and then."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await asked(number).of(app)
        rounds.append(time.perf_counter() - began)
    return statistics.median(rounds)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.fixture
def app(live: Live) -> ASGIApp:
    """The application, without a socket before it."""
    return Starlette(routes=create_routes(live.services))


@pytest.mark.timeout(240)
async def test_no_request_makes_the_server_fail(app: ASGIApp) -> None:
    statuses, _ = await fuzz(app, range(1_000))
    assert {200, 400, 405, 406, 415} <= statuses.keys()


@pytest.fixture
async def stored(base_dir: Path, tmp_path: Path) -> AsyncIterator[ASGIApp]:
    """The same with its runs on disk: in memory they would be what grows."""
    async with serving(base_dir, store=f"sqlite:{tmp_path / 'runs.db'}") as live:
        yield Starlette(routes=create_routes(live.services))


@pytest.mark.prove
@pytest.mark.timeout(1_200)
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="there is no /proc here")
async def test_of_many_requests_none_makes_it_fail_or_slow_or_large(stored: ASGIApp) -> None:
    statuses, slowest = await fuzz(stored, range(100_000))
    before = resident_bytes()  # What is kept of documents has reached its bounds.
    await fuzz(stored, range(100_000, 160_000))
    growth = resident_bytes() - before
    # Each by what the machine is like at its time.
    medians = {each: await median_seconds(stored, each) / slowness() for each in slowest}
    worst = max(medians, key=lambda number: medians[number])
    print(statuses, f"{growth:,} bytes more; request {worst}: {1e3 * medians[worst]:.1f} ms")
    assert medians[worst] < SECONDS_MAX, f"request {worst}: {asked(worst)}"
    assert growth < GROWTH_BYTES_MAX


def test_the_same_seed_gives_the_same_requests() -> None:
    first: Callable[[], Asking] = lambda: asking_of(random.Random("x"))  # noqa: E731 - twice the same
    assert first() == first()
