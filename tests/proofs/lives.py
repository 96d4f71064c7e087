"""A server that is killed again and again under load, and what its clients were told."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import WebSocketException

from tests.cli.processes import environment
from tests.proofs.listener import Hearsay, Listener

DIAGRAM = """
version: light
nodes:
  - {label: start, type: start}
  - {label: a, type: traced}
  - {label: b, type: traced}
  - {label: h, type: traced}
  - {label: e, type: effect}
  - {label: c, type: condition, condition_type: custom, expression: "turn >= 3"}
  - {label: x, type: traced}
  - {label: y, type: traced}
  - {label: z, type: traced}
  - {label: pause, type: delay, seconds: 0.03}
  - {label: gate, type: barrier, prompt: go on?}
  - {label: mark, type: careful}
  - {label: last, type: traced}
  - {label: end, type: endpoint}
connections:
  - {from: start, to: a}
  - {from: start, to: b}
  - {from: a, to: h, label: left}
  - {from: b, to: h, label: right}
  - {from: h, to: e}
  - {from: e, to: c, content_type: object}
  - {from: "c[condfalse]", to: h}
  - {from: "c[condtrue]", to: pause}
  - {from: pause, to: gate}
  - {from: a, to: x}
  - {from: x, to: y}
  - {from: y, to: z}
  - {from: z, to: mark, label: beside}
  - {from: "gate[approved]", to: mark, label: decision}
  - {from: mark, to: last}
  - {from: last, to: end}
"""
RUN = """mutation($input: RunDiagramInput!, $key: String) {
  runDiagram(input: $input, idempotencyKey: $key) {
    execution { id lastSequence } errors { message } } }"""
APPROVE = """mutation($id: ID!, $key: String) {
  approveBarrier(id: $id, idempotencyKey: $key) {
    barrier { status } execution { id lastSequence } errors { message code } } }"""
ABORT = """mutation($id: ID!) {
  abortExecution(id: $id) { execution { id lastSequence } errors { message code } } }"""
WAITING = "{ waitingBarriers(first: 100) { id waitingSince } }"
ANSWERS_MAX = 16
"""After so many answers at most a life is killed."""
FOLLOWED = 20
"""So many runs of former lives are followed on."""
STATUSES = "{ executions(first: 100, filter: {isActive: true}) { totalCount nodes { id status } } }"


@dataclass
class Told:
    """What the server acknowledged: last sequence per execution, aborts, keys, and events."""

    sequences: dict[str, int] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)
    hearsay: Hearsay = field(default_factory=Hearsay)
    aborted: set[str] = field(default_factory=set)
    unanswered: list[str] = field(default_factory=list)
    answers: int = 0

    def saw(self, execution: dict[str, Any]) -> None:
        """An answer named the execution and how far its log went."""
        sequence = int(execution["lastSequence"])
        known = self.sequences.get(execution["id"], 0)
        self.sequences[execution["id"]] = max(known, sequence)


def wanted(key: str) -> dict[str, Any]:
    """The run under a key: half of them STRICT, a quarter with large bodies."""
    chance = random.Random(key)
    durability = chance.choice(["ADAPTIVE", "STRICT"])
    source = {"inline": {"content": DIAGRAM, "format": "LIGHT", "name": key}}
    variables = {"is_large": chance.random() < 0.25, "is_strict": durability == "STRICT"}
    return {"source": source, "variables": variables, "durability": durability}


class Kennel:
    """Starts lives of one server over one store."""

    def __init__(self, folder: Path, port: int, settings: Mapping[str, str]) -> None:
        self.store = folder / "store.db"
        self.trace = folder / "trace.txt"
        script = Path(__file__).with_name("kennel.py")
        self._alive: int | None = None
        base = folder / "base"
        base.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, str(script), *map(str, (self.store, base, self.trace, port))],
            cwd=Path(__file__).parents[2],
            env=environment(PYTHONPATH=".", **settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def begin(self) -> tuple[int, str]:
        """A new life: its process id and GraphQL endpoint."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("live\n")
        self._process.stdin.flush()
        while not (line := self._process.stdout.readline()).startswith("live "):
            assert line, "the kennel is gone"
        _, pid, url = line.split()
        self._alive = int(pid)
        return self._alive, f"{url}/graphql"

    def kill(self, pid: int) -> None:
        """End the life without a warning, and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)
        self._alive = None
        assert self._process.stdout is not None
        while (line := self._process.stdout.readline()) != "dead\n":
            assert line, "the kennel is gone"

    def close(self) -> None:
        """Start nothing any more, and leave nothing alive."""
        if self._alive is not None:
            os.kill(self._alive, signal.SIGKILL)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()


@contextmanager
def kennel(folder: Path, port: int = 0, **settings: str) -> Iterator[Kennel]:
    """A kennel as long as the block lasts; effects are told to that port.

    `settings` are variables of its environment.
    """
    found = Kennel(folder, port, settings)
    try:
        yield found
    finally:
        found.close()


@dataclass(frozen=True)
class Troubles:
    """Whom all lives of a server have to do with."""

    told: Told
    rng: random.Random
    http: httpx.AsyncClient


class Client:
    """Everything the tests ask of a life; a life that dies simply does not answer."""

    def __init__(self, url: str, told: Told, http: httpx.AsyncClient) -> None:
        self._url = url
        self._told = told
        self._http = http

    async def ask(self, query: str, **variables: Any) -> Any:
        """The `data` of an answer."""
        body = {"query": query, "variables": variables}
        answer = (await self._http.post(self._url, json=body)).json()
        assert "errors" not in answer, answer
        self._told.answers += 1
        return answer["data"]

    async def start(self, key: str) -> None:
        """Start a run under an idempotency key; the key is kept until it is answered."""
        self._told.unanswered.append(key)
        payload = (await self.ask(RUN, input=wanted(key), key=key))["runDiagram"]
        assert payload["errors"] == []
        execution = payload["execution"]
        known = self._told.started.setdefault(key, execution["id"])
        assert known == execution["id"], "one key, two executions"
        self._told.saw(execution)
        while key in self._told.unanswered:
            self._told.unanswered.remove(key)

    async def approve(self) -> None:
        """Approve everything that waits."""
        for barrier in (await self.ask(WAITING))["waitingBarriers"]:
            # After a second crash the same node asks once more: that is another question.
            key = f"yes {barrier['id']} {barrier['waitingSince']}"
            answer = await self.ask(APPROVE, id=barrier["id"], key=key)
            payload = answer["approveBarrier"]
            if not payload["errors"]:
                self._told.saw(payload["execution"])

    async def abort(self, execution_id: str) -> None:
        """Abort a run, if it has not ended."""
        payload = (await self.ask(ABORT, id=execution_id))["abortExecution"]
        if not payload["errors"]:
            self._told.aborted.add(execution_id)
            self._told.saw(payload["execution"])

    async def active(self) -> int:
        """How many runs have not ended."""
        return int((await self.ask(STATUSES))["executions"]["totalCount"])


async def trouble(url: str, troubles: Troubles, life: int) -> None:
    """Load: new runs, repeated keys, approvals, followers and a few aborts, until the life ends."""
    told, rng = troubles.told, troubles.rng
    client = Client(url, told, troubles.http)
    async with Listener.at(url, told.hearsay) as listener:
        followed = sorted(told.hearsay.events.keys() - told.hearsay.ended)
        for execution_id in rng.sample(followed, min(len(followed), FOLLOWED)):
            await listener.follow(execution_id)
        for key in list(dict.fromkeys(told.unanswered)):
            await client.start(key)
        for number in range(1_000):
            key = f"{life}.{number}"
            await client.start(key)
            if rng.random() < 0.4:
                await listener.follow(told.started[key])
            await client.approve()
            if rng.random() < 0.1:
                await client.abort(told.started[key])
            await asyncio.sleep(0.01)


async def one_life(home: Kennel, troubles: Troubles, life: int) -> None:
    """Begin a life, trouble it, and kill it a random moment behind a random answer."""
    pid, url = await asyncio.to_thread(home.begin)
    rng = troubles.rng
    answers, moment = troubles.told.answers + rng.randint(0, ANSWERS_MAX), rng.uniform(0, 0.05)
    task = asyncio.create_task(trouble(url, troubles, life))
    while troubles.told.answers < answers and not task.done():
        await asyncio.wait([task], timeout=0.002)
    await asyncio.sleep(moment)
    await asyncio.to_thread(home.kill, pid)
    with suppress(httpx.HTTPError, WebSocketException, OSError):
        await task


async def last_life(home: Kennel, troubles: Troubles, seconds: float) -> None:
    """A life that is left in peace until every run has ended, and every follower knows."""
    pid, url = await asyncio.to_thread(home.begin)
    deadline = time.monotonic() + seconds
    told = troubles.told
    client = Client(url, told, troubles.http)
    async with Listener.at(url, told.hearsay) as listener:
        for key in list(dict.fromkeys(told.unanswered)):
            await client.start(key)
        while left := await client.active():
            assert time.monotonic() < deadline, f"{left} runs did not end"
            await client.approve()
            await asyncio.sleep(0.05)
        for execution_id in sorted(told.hearsay.events.keys() - told.hearsay.ended):
            await listener.follow(execution_id)
            while execution_id not in told.hearsay.ended:
                assert time.monotonic() < deadline, f"{execution_id} does not complete"
                await asyncio.sleep(0.01)
    await asyncio.to_thread(home.kill, pid)
