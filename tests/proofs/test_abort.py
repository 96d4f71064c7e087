"""An abort ends a run as aborted: no decision, no stubborn process and no load changes that."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.processes import served
from tests.proofs.calibration import slowness
from tests.proofs.callers import Caller, HttpCaller, SocketCaller
from tests.proofs.stored_log import StoredLog

RACES = 100
ABORT_SECONDS_MAX = 3.0
"""From the acknowledgement to the end; the grace before a process is killed is two of them."""
ABORTS_MANY = 120
POLL_SECONDS = 0.02
SECONDS_MAX = 40

GATE = """
version: light
nodes:
  - {label: start, type: start}
  - {label: gate, type: barrier, prompt: go on?}
  - {label: wait, type: delay, seconds: 60}
  - {label: end, type: endpoint}
connections:
  - {from: start, to: gate}
  - {from: "gate[approved]", to: wait}
  - {from: wait, to: end}
"""
STUBBORN = """
version: light
nodes:
  - {label: start, type: start}
  - label: job
    type: code_job
    language: bash
    timeout: 300
    code: |
      trap '' TERM INT HUP
      ( trap '' TERM INT HUP; sleep MARK & sleep MARK; sleep MARK ) &
      setsid bash -c "trap '' TERM INT HUP; sleep MARK; sleep MARK" &
      while true; do sleep MARK; done
  - {label: end, type: endpoint}
connections:
  - {from: start, to: job}
  - {from: job, to: end}
"""
PROCESSES = 4
"""So many sleep at the same time in a stubborn job."""
SLOW = """
version: light
nodes:
  - {label: start, type: start}
  - {label: wait, type: delay, seconds: 60}
  - {label: gate, type: barrier, prompt: go on?}
  - {label: job, type: code_job, language: bash, code: "sleep 60"}
  - {label: end, type: endpoint}
connections:
  - {from: start, to: wait}
  - {from: start, to: gate}
  - {from: start, to: job}
  - {from: wait, to: end}
  - {from: gate, to: end}
  - {from: job, to: end}
"""
RUN = """mutation($input: RunDiagramInput!) {
  runDiagram(input: $input) { execution { id } errors { message } } }"""
ABORT = """mutation($id: ID!) {
  abortExecution(id: $id, reason: "enough") { execution { status } errors { code } } }"""
APPROVE = """mutation($id: ID!) {
  approveBarrier(id: $id, comment: "me") {
    barrier { status } errors { code ... on AlreadyDecided { winner { status } } } } }"""
STATE = """query($id: ID!) { execution(id: $id) {
  status nodeStates { nodeKey status } barriers { id status } } }"""
ENDS = {"COMPLETED", "FAILED", "ABORTED"}


@dataclass
class Server:
    """A real server, two ways to reach it, and the log that it writes."""

    callers: Sequence[Caller]
    log: StoredLog

    async def ask(self, query: str, number: int = 0, **variables: Any) -> dict[str, Any]:
        """Ask it."""
        found = await self.callers[number].ask(query, **variables)
        assert found is not None, "the server is gone"
        return found

    async def run(self, text: str) -> str:
        """Start a run."""
        source = {"inline": {"content": text, "format": "LIGHT", "name": "abort"}}
        started = await self.ask(RUN, input={"source": source})
        assert started["errors"] == [], started
        return str(started["execution"]["id"])

    async def state(self, execution: str) -> dict[str, Any]:
        """How a run stands."""
        return await self.ask(STATE, id=execution)

    async def barrier(self, execution: str) -> str:
        """What a run waits at, once it does."""
        while True:
            if found := (await self.state(execution))["barriers"]:
                return str(found[0]["id"])
            await asyncio.sleep(POLL_SECONDS)

    async def ended(self, execution: str) -> str:
        """How a run ended, once it has."""
        while True:
            if (status := (await self.state(execution))["status"]) in ENDS:
                return str(status)
            await asyncio.sleep(POLL_SECONDS)

    async def abort(self, execution: str) -> float:
        """Abort a run; how long it took from the acknowledgement to its end, in seconds."""
        answer = await self.ask(ABORT, id=execution)
        acknowledged = time.monotonic()
        assert answer["errors"] == []
        assert await self.ended(execution) == "ABORTED"
        return time.monotonic() - acknowledged


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[Server]:
    """A server as long as the block lasts."""
    store = folder / "store.db"
    with served("--store", f"sqlite:{store}", "--base-dir", str(folder)) as url:
        async with (
            httpx.AsyncClient(timeout=30, trust_env=False) as http,
            SocketCaller.at(url) as socket,
            asyncio.timeout(900),
        ):
            yield Server((HttpCaller(url, http), socket), StoredLog(store))


def processes(mark: str) -> list[str]:
    """The process ids of those that sleep for that long."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if folder.name.isdigit() and words[:2] == [b"sleep", mark.encode()]:
            found.append(folder.name)
    return found


async def until(mark: str, count: int) -> None:
    """Wait until so many processes sleep. Raises TimeoutError."""
    async with asyncio.timeout(SECONDS_MAX):
        while len(processes(mark)) != count:  # noqa: ASYNC110 - the kernel tells nobody.
            await asyncio.sleep(POLL_SECONDS)


@pytest.mark.timeout(120)
async def test_an_abort_at_a_barrier_is_never_an_approval(tmp_path: Path) -> None:
    rng, told = random.Random(7), Counter[str]()
    async with server(tmp_path) as there:
        for _ in range(RACES):
            execution = await there.run(GATE)
            barrier = await there.barrier(execution)
            first, second = rng.sample([0, 1], 2)

            async def late(query: str, number: int, identity: str) -> dict[str, Any]:
                await asyncio.sleep(rng.uniform(0, 0.004))
                return await there.ask(query, number, id=identity)

            aborted, approved = await asyncio.gather(
                late(ABORT, first, execution), late(APPROVE, second, barrier)
            )
            assert aborted["errors"] == []
            assert await there.ended(execution) == "ABORTED"
            told[judged(there, execution, approved, await there.state(execution))] += 1
    print(dict(told))
    assert told.total() == RACES


def judged(there: Server, execution: str, approved: dict[str, Any], state: dict[str, Any]) -> str:
    """Which came first, where everybody was told the same. Raises AssertionError."""
    (barrier,) = state["barriers"]
    nodes = {each["nodeKey"]: each["status"] for each in state["nodeStates"]}
    events = [each.kind for each in there.log.of(execution)]
    assert events.count("barrier_resolved") == 1
    assert events[-1] == "execution_aborted"
    if approved["errors"]:
        (error,) = approved["errors"]
        assert error["code"] == "INVALID_STATE" or error["winner"]["status"] == "CANCELLED"
        assert barrier["status"] == "CANCELLED"
        assert nodes == {
            "start": "COMPLETED",
            "gate": "ABORTED",
            "wait": "PENDING",
            "end": "PENDING",
        }
        return "abort"
    assert approved["barrier"]["status"] == barrier["status"] == "APPROVED"
    assert nodes["end"] == "PENDING"
    return "approval"


@pytest.mark.timeout(120)
async def test_an_abort_leaves_no_process_behind_and_takes_three_seconds_at_most(
    tmp_path: Path,
) -> None:
    taken = []
    async with server(tmp_path) as there:
        for number in range(5):
            mark = f"9{random.randrange(10**9):09}{number}"
            execution = await there.run(STUBBORN.replace("MARK", mark))
            await until(mark, PROCESSES)
            factor = slowness()
            taken.append(await there.abort(execution) / factor)
            assert processes(mark) == []
    print(taken)
    assert statistics.median(taken) <= ABORT_SECONDS_MAX


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_of_many_aborts_ninety_nine_in_a_hundred_end_within_three_seconds(
    tmp_path: Path,
) -> None:
    marks = [f"8{random.randrange(10**9):09}{number}" for number in range(ABORTS_MANY)]
    taken: list[float] = []
    async with server(tmp_path) as there:
        for begin in range(0, ABORTS_MANY, 4):
            group = marks[begin : begin + 4]
            stubborn = [await there.run(STUBBORN.replace("MARK", mark)) for mark in group[:2]]
            others = [await there.run(SLOW) for _ in group[2:]]
            for mark in group[:2]:
                await until(mark, PROCESSES)
            for execution in others:
                await there.barrier(execution)
            taken += await asyncio.gather(*map(there.abort, [*stubborn, *others]))
            for mark in group:
                assert processes(mark) == []
    percentile = statistics.quantiles(taken, n=100)[98]
    print(f"{len(taken)} aborts, median {statistics.median(taken):.2f} s, p99 {percentile:.2f} s")
    assert percentile <= ABORT_SECONDS_MAX * slowness()
