"""Behind the acknowledgement of a pause nothing starts: not in the log, and not in fact.

A run goes round in a loop with nodes side by side and a sub-diagram, while others take the places
in which nodes run. Nodes write down when they were entered, by a clock that all processes share.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.proofs.callers import HttpCaller
from tests.proofs.lives import Kennel, kennel
from tests.proofs.stored_log import StoredLog

ROUNDS, ROUNDS_MANY = 10, 200
PLACES = 2
"""Nodes that run at once, over all runs."""
RIVALS = 3
"""Runs that take places from the one that is paused."""
QUIET_SECONDS = 0.15
"""How long a paused run is watched."""
SECONDS_MAX = 60
CHILD = """
    version: light
    nodes:
    - {label: start, type: start}
    - {label: one, type: noted}
    - {label: two, type: quick}
    - {label: three, type: noted}
    - {label: end, type: endpoint}
    connections:
    - {from: start, to: one}
    - {from: one, to: two}
    - {from: two, to: three}
    - {from: three, to: end}
"""
LOOP = f"""
version: light
nodes:
- {{label: start, type: start}}
- {{label: h, type: quick, max_iteration: 100}}
- {{label: a, type: noted, max_iteration: 100}}
- {{label: b, type: noted, max_iteration: 100}}
- {{label: d, type: quick, max_iteration: 100}}
- label: below
  type: sub_diagram
  max_iteration: 100
  diagram_format: light
  diagram_data: |{CHILD}
- {{label: c, type: condition, expression: "i >= 5", expose_index_as: i, max_iteration: 100}}
- {{label: end, type: endpoint}}
connections:
- {{from: start, to: h}}
- {{from: h, to: a}}
- {{from: h, to: b}}
- {{from: h, to: below}}
- {{from: a, to: d}}
- {{from: b, to: c}}
- {{from: d, to: c}}
- {{from: below, to: c}}
- {{from: "c[condfalse]", to: h}}
- {{from: "c[condtrue]", to: end}}
"""
RUN = """mutation($input: RunDiagramInput!) {
  runDiagram(input: $input) { execution { id } errors { message } } }"""
PAUSE = """mutation($id: ID!, $mode: PauseMode) { pauseExecution(id: $id, mode: $mode) {
  execution { status lastSequence } errors { code } } }"""
RESUME = """mutation($id: ID!) { resumeExecution(id: $id) {
  execution { status lastSequence } errors { code } } }"""
STATE = "query($id: ID!) { execution(id: $id) { status lastSequence } }"
ENDS = {"COMPLETED", "FAILED", "ABORTED"}
BEGINNINGS = "SELECT payload FROM events WHERE kind = 'execution_started'"
EVENTS = (
    "SELECT e.seq, e.kind, e.payload FROM events AS e "
    "JOIN executions AS x ON x.position = e.execution WHERE x.id = ? ORDER BY e.seq"
)


@dataclass(frozen=True)
class Hold:
    """A pause that was acknowledged: up to which sequence, and when; and when it was over."""

    sequence: int
    begun: float
    ended: float


class Course:
    """Where rounds take place: lives of a server, and what they leave behind."""

    def __init__(self, home: Kennel, rng: random.Random, http: httpx.AsyncClient) -> None:
        self._home = home
        self._rng = rng
        self._http = http
        self._log = StoredLog(home.store)
        self._read = 0
        self._pid, self._url = home.begin()
        self.counts: Counter[str] = Counter()

    async def round(self, number: int) -> None:
        """Pause a run once or twice on its way, and see that it rests and then ends."""
        durability = self._rng.choice(["ADAPTIVE", "STRICT"])
        execution, *rivals = [await self._run(durability) for _ in range(1 + RIVALS)]
        holds = []
        for turn in range(2):
            await asyncio.sleep(self._rng.uniform(0, 0.25))
            mode = self._rng.choice(["DRAIN", "NOW"])
            kills = number % 3 == 2 and turn == 0
            hold = await self._hold(execution, mode, kills=kills)
            if hold is None:
                break
            holds.append(hold)
            self.counts[mode] += 1
        for each in (execution, *rivals):
            assert await self._ended(each) == "COMPLETED"
        entries = list(self._entries())
        family = self._family(execution)
        for hold in holds:
            late = [e for e in entries if e["execution"] in family and is_in(hold, e["at"])]
            assert late == [], f"entered behind the acknowledgement: {late}"
            self.counts["others meanwhile"] += sum(is_in(hold, e["at"]) for e in entries)
        for each in family:
            assert list(started_while_paused(self._events(each))) == []
        started = [seq for seq, kind, _ in self._events(execution) if kind == "node_started"]
        for hold in holds:
            assert not [
                seq for seq in started if hold.sequence < seq <= self._resumed(execution, hold)
            ]

    async def _hold(self, execution: str, mode: str, *, kills: bool) -> Hold | None:
        """Pause, look for a while, resume; None if the run had ended before."""
        paused = await self._ask(PAUSE, id=execution, mode=mode)
        begun = time.monotonic()
        if paused["errors"]:
            assert (await self._ask(STATE, id=execution))["status"] == "COMPLETED"
            return None
        sequence = int(paused["execution"]["lastSequence"])
        if paused["execution"]["status"] == "COMPLETED":  # It drained into its end.
            return None
        assert paused["execution"]["status"] == "PAUSED"
        self._check_family(execution)
        if kills:
            self.counts["kills"] += 1
            await asyncio.sleep(self._rng.uniform(0, QUIET_SECONDS))
            await asyncio.to_thread(self._home.kill, self._pid)
            self._pid, self._url = await asyncio.to_thread(self._home.begin)
        await asyncio.sleep(QUIET_SECONDS)
        ended = time.monotonic()
        resumed = await self._ask(RESUME, id=execution)
        if resumed["errors"]:
            assert (await self._ask(STATE, id=execution))["status"] == "COMPLETED"
        return Hold(sequence, begun, ended)

    def _check_family(self, execution: str) -> None:
        """Whatever the run has started rests as well, or has ended."""
        for each in self._family(execution):
            kinds = [kind for _, kind, _ in self._events(each)]
            changes = [json.loads(p) for _, k, p in self._events(each) if k == STATUS]
            has_ended = kinds[-1].removeprefix("execution_").upper() in ENDS
            assert has_ended or changes[-1]["after"] == "PAUSED", each

    def _resumed(self, execution: str, hold: Hold) -> int:
        """Where in the log a pause was over."""
        for seq, kind, payload in self._events(execution):
            if seq > hold.sequence and kind == STATUS and json.loads(payload)["before"] == "PAUSED":
                return seq
        return 10**9

    def _family(self, execution: str) -> set[str]:
        """The run and those that it has started."""
        found = {execution}
        for (payload,) in self._log.fetch(BEGINNINGS):
            begun = json.loads(payload)
            if begun["parent_id"] == execution:
                found.add(begun["execution_id"])
        return found

    def _events(self, execution: str) -> list[tuple[int, str, bytes]]:
        return self._log.fetch(EVENTS, execution)

    def _entries(self) -> Iterator[dict[str, Any]]:
        """What nodes have written since somebody looked last."""
        data = self._home.trace.read_bytes()
        for line in data[self._read :].splitlines():
            yield json.loads(line)
        self._read = len(data)

    async def _run(self, durability: str) -> str:
        source = {"inline": {"content": LOOP, "format": "LIGHT", "name": "pause"}}
        wanted = {"source": source, "variables": {"i": 0}, "durability": durability}
        started = await self._ask(RUN, input=wanted)
        assert started["errors"] == [], started
        return str(started["execution"]["id"])

    async def _ended(self, execution: str) -> str:
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                status = (await self._ask(STATE, id=execution))["status"]
                if status in ENDS:
                    return str(status)
                await asyncio.sleep(0.02)

    async def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        found = await HttpCaller(self._url, self._http).ask(query, **variables)
        assert found is not None, "the server is gone"
        return found


STATUS = "execution_status_changed"


def is_in(hold: Hold, moment: float) -> bool:
    """Was that behind the acknowledgement of a pause, and before anybody ended it?"""
    return hold.begun < moment < hold.ended


def started_while_paused(events: list[tuple[int, str, bytes]]) -> Iterator[int]:
    """Where in a log nodes start although the run is paused."""
    is_paused = False
    for seq, kind, payload in events:
        if kind == STATUS:
            is_paused = json.loads(payload)["after"] == "PAUSED"
        elif kind == "node_started" and is_paused:
            yield seq


async def hold_runs(folder: Path, seed: int, rounds: int) -> Counter[str]:
    """So many rounds, the server killed in every third."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        with kennel(folder, DIPEO_NODES_MAX=str(PLACES)) as home:
            course = Course(home, random.Random(seed), http)
            for number in range(rounds):
                await course.round(number)
    print(dict(course.counts))
    return course.counts


@pytest.mark.timeout(180)
async def test_behind_the_acknowledgement_of_a_pause_nothing_starts(tmp_path: Path) -> None:
    counts = await hold_runs(tmp_path, 1, ROUNDS)
    assert counts["DRAIN"]
    assert counts["NOW"]
    assert counts["kills"]
    assert counts["others meanwhile"], "the other runs stood still as well"


@pytest.mark.prove
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", range(100, 104))
async def test_in_two_hundred_rounds_nothing_starts_while_paused(tmp_path: Path, seed: int) -> None:
    counts = await hold_runs(tmp_path, seed, ROUNDS_MANY // 4)
    assert counts["kills"] >= ROUNDS_MANY // 16
