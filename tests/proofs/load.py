"""A mixed load on one server, each piece of it a client that knows what must come of it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.proofs.loads import (
    AGENTS,
    APPROVAL,
    BATCH,
    BROKEN,
    CODE,
    LARGE,
    LARGE_FILES,
    LOOP,
    SLOW,
    SLOW_LOOP,
    WAITS,
)

RUN = """mutation($input: RunDiagramInput!, $key: String) {
  runDiagram(input: $input, idempotencyKey: $key) {
    execution { id } errors { code message } } }"""
APPROVE = "mutation($id: ID!) { approveBarrier(id: $id) { errors { code } } }"
ABORT = 'mutation($id: ID!) { abortExecution(id: $id, reason: "soak") { errors { code } } }'
CREATE = """mutation($input: DiagramInput!) {
  createDiagram(input: $input) { diagram { id } errors { message } } }"""
UPDATE = """mutation($id: ID!, $from: Int!, $input: DiagramInput!) {
  updateDiagram(id: $id, expectedRevision: $from, input: $input) {
    revision { number } errors { message } } }"""
ARCHIVE = "mutation($id: ID!) { archiveDiagram(id: $id) { diagram { id } errors { message } } }"
STATE = """query($id: ID!) { execution(id: $id) {
  status lastSequence barriers { id status } } }"""
LISTS = """{ serverInfo { version storageProblem }
  executions(first: 20) { totalCount nodes { id status duration diagram { name } } }
  waitingBarriers(first: 20) { id nodeKey prompt } diagrams(first: 10) { nodes { id name } } }"""
DETAILS = """query($id: ID!) { execution(id: $id) {
  status variables nodeStates { nodeKey status } nodeOutputs { producedBy sizeBytes }
  timeline { nodeKey occurrence attempt } metrics { nodeRuns criticalPath }
  events(first: 50) { nodes { __typename } } logs(first: 50) { nodes { text } }
  render(format: MERMAID) } }"""
FOLLOW = """subscription($id: ID!, $after: Sequence) {
  executionEvents(executionId: $id, after: $after) {
    __typename ... on ExecutionEvent { sequence } } }"""
WATCH = "subscription($id: ID!) { diagramChanged(diagramId: $id) { head { number } } }"
WAITING_MAX = 40
IDLE_SECONDS = 24
"""Longer than a server keeps a run in memory that waits for a person."""


@dataclass
class Load:
    """One server's clients, and what they know."""

    url: str
    http: httpx.AsyncClient
    rng: random.Random
    expected: dict[str, str] = field(default_factory=dict)
    waiting: set[asyncio.Task[None]] = field(default_factory=set)
    done: dict[str, int] = field(default_factory=dict)

    async def ask(self, query: str, **variables: Any) -> Any:
        """The `data` of an answer."""
        body = {"query": query, "variables": variables}
        answer = (await self.http.post(self.url, json=body)).json()
        assert "errors" not in answer, answer
        return answer["data"]

    async def run(self, content: str, ends: str, **variables: Any) -> str:
        """Start a run that must end so."""
        source = {"inline": {"name": "soak", "content": content, "format": "LIGHT"}}
        return await self._started(source, ends, variables)

    async def run_stored(self, diagram_id: str) -> str:
        """Run the head of a stored diagram."""
        return await self._started({"diagramId": diagram_id}, "COMPLETED", {"i": 0})

    async def _started(self, source: Any, ends: str, variables: dict[str, Any]) -> str:
        durability = self.rng.choice(["ADAPTIVE", "STRICT"])
        wanted = {"source": source, "variables": variables, "durability": durability}
        key = f"{self.rng.getrandbits(64):x}" if self.rng.random() < 0.5 else None
        payload = (await self.ask(RUN, input=wanted, key=key))["runDiagram"]
        assert payload["errors"] == [], payload
        identity = str(payload["execution"]["id"])
        self.expected[identity] = ends
        return identity

    async def barrier(self, execution_id: str) -> str | None:
        """The barrier that a run waits at, once it does; None where the run has ended."""
        while True:
            execution = (await self.ask(STATE, id=execution_id))["execution"]
            for barrier in execution["barriers"]:
                return str(barrier["id"])
            if execution["status"] in {"COMPLETED", "FAILED", "ABORTED"}:
                return None
            await asyncio.sleep(0.05)

    async def subscribe(self, query: str, **variables: Any) -> ClientConnection:
        """A socket with one subscription."""
        socket = await connect(
            self.url.replace("http", "ws", 1),
            subprotocols=[Subprotocol("graphql-transport-ws")],
            max_queue=None,
        )
        await socket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        payload = {"query": query, "variables": variables}
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        return socket

    def later(self, work: Awaitable[None]) -> None:
        """Let something go on beside the rest of the load."""
        task = asyncio.ensure_future(work)
        self.waiting.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            self.waiting.discard(task)  # A task that failed stays, and `settled` raises it.

    async def settled(self) -> None:
        """Wait for everything that goes on. Raises what went wrong in it."""
        await asyncio.gather(*self.waiting)


async def loop(load: Load) -> None:
    await load.run(LOOP, "COMPLETED", i=0)


async def broken(load: Load) -> None:
    await load.run(BROKEN, "FAILED")


async def code(load: Load) -> None:
    await load.run(CODE, "COMPLETED", n=load.rng.randint(1, 50))


async def large(load: Load) -> None:
    await load.run(LARGE, "COMPLETED", n=load.rng.randrange(LARGE_FILES))


async def batch(load: Load) -> None:
    await load.run(BATCH, "COMPLETED", items=[1, 2, 3])


async def agents(load: Load) -> None:
    await load.run(AGENTS, "COMPLETED")


async def approved(load: Load) -> None:
    identity = await load.run(APPROVAL, "COMPLETED")
    found = await load.barrier(identity)
    assert found is not None
    assert (await load.ask(APPROVE, id=found))["approveBarrier"]["errors"] == []


async def unapproved(load: Load) -> None:
    """Nobody answers: its own timer ends it, long after the run has left the memory."""
    if len(load.waiting) < WAITING_MAX:
        await load.run(APPROVAL, "COMPLETED", seconds=IDLE_SECONDS)
        load.later(asyncio.sleep(IDLE_SECONDS))


async def forgotten(load: Load) -> None:
    """Somebody comes back to a run that has left the memory: to abort it, or to approve it."""
    if len(load.waiting) < WAITING_MAX:
        ends = load.rng.choice(["COMPLETED", "ABORTED"])
        load.later(_come_back(load, await load.run(WAITS, ends), ends))


async def _come_back(load: Load, identity: str, ends: str) -> None:
    found = await load.barrier(identity)
    await asyncio.sleep(IDLE_SECONDS)
    query = APPROVE if ends == "COMPLETED" else ABORT
    answer = await load.ask(query, id=found if ends == "COMPLETED" else identity)
    assert next(iter(answer.values()))["errors"] == []


async def aborted(load: Load) -> None:
    content = load.rng.choice([SLOW, SLOW_LOOP])
    identity = await load.run(content, "ABORTED", i=-1_000_000)
    await asyncio.sleep(load.rng.uniform(0, 0.2))
    assert (await load.ask(ABORT, id=identity))["abortExecution"]["errors"] == []


async def followed(load: Load) -> None:
    """Cut a subscription again and again; every event must be told once."""
    identity = await load.run(SLOW_LOOP, "COMPLETED", i=0)
    seen: list[int] = []
    is_complete = False
    while not is_complete:
        variables = {"after": str(seen[-1])} if seen else {}
        socket = await load.subscribe(FOLLOW, id=identity, **variables)
        count = load.rng.randint(1, 40)
        while count and not is_complete:
            message = json.loads(await socket.recv())
            is_complete = message["type"] == "complete"
            if not is_complete:
                seen.append(int(message["payload"]["data"]["executionEvents"]["sequence"]))
            count -= 1
        if load.rng.random() < 0.5:
            socket.transport.abort()
            await socket.wait_closed()
        else:
            await socket.close()
    last = (await load.ask(STATE, id=identity))["execution"]["lastSequence"]
    assert seen == list(range(1, int(last) + 1))


async def queried(load: Load) -> None:
    found = (await load.ask(LISTS))["executions"]["nodes"]
    for each in load.rng.sample(found, min(3, len(found))):
        await load.ask(DETAILS, id=each["id"])


async def edited(load: Load) -> None:
    """A diagram is kept, watched, changed, run and put away."""

    def text(turn: int) -> dict[str, str]:
        return {"name": f"soak {turn}", "content": f"{LOOP}# {turn}\n", "format": "LIGHT"}

    created = (await load.ask(CREATE, input=text(0)))["createDiagram"]
    identity = created["diagram"]["id"]
    socket = await load.subscribe(WATCH, id=identity)
    for turn in (1, 2):
        changed = await load.ask(UPDATE, id=identity, input=text(turn), **{"from": turn})
        assert changed["updateDiagram"]["errors"] == []
    await load.run_stored(identity)
    assert (await load.ask(ARCHIVE, id=identity))["archiveDiagram"]["errors"] == []
    with suppress(ConnectionClosed):
        while json.loads(await socket.recv())["type"] != "complete":
            pass
    await socket.close()


Piece = Callable[[Load], Awaitable[None]]
WEIGHTS: dict[Piece, int] = {
    loop: 8,
    broken: 4,
    code: 2,
    large: 4,
    batch: 2,
    agents: 4,
    approved: 4,
    unapproved: 2,
    forgotten: 2,
    aborted: 3,
    followed: 2,
    queried: 6,
    edited: 4,
}


async def client(load: Load, until: Callable[[], bool]) -> None:
    """One client after another, as long as it is not over."""
    pieces, weights = list(WEIGHTS), list(WEIGHTS.values())
    while not until():
        (piece,) = load.rng.choices(pieces, weights)
        await piece(load)
        load.done[piece.__name__] = load.done.get(piece.__name__, 0) + 1
        await asyncio.sleep(load.rng.uniform(0, 0.1))


async def fill(load: Load) -> None:
    """Fill what the server keeps up to a limit: large bodies, views of runs, templates, sockets."""
    for number in range(LARGE_FILES):
        await load.run(LARGE, "COMPLETED", n=number)
        await asyncio.sleep(0.01)
    for piece in WEIGHTS:
        await piece(load)


def write_files(base_dir: Path) -> None:
    """Make the folder with what `LARGE` reads: more in all than a server keeps in memory."""
    base_dir.mkdir()
    for number in range(LARGE_FILES):
        (base_dir / f"large-{number}.txt").write_text(f"{number} " * (1024 * 1024 // 4))
