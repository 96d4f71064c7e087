"""A hundred decisions race for one barrier, with its deadline and kills: one wins, all are told.

They come over HTTP and over a socket, some of them twice under one key. What counts is the log:
whoever was answered must have been told what it says, and whoever was not asks again.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.proofs.callers import UNREACHABLE, Answer, Caller, HttpCaller, SocketCaller
from tests.proofs.lives import Kennel, kennel
from tests.proofs.stored_log import StoredLog

RACERS = 100
ROUNDS, ROUNDS_MANY = 20, 1_000
DEADLINE_SECONDS = 0.4
"""How long a barrier waits before it decides by itself."""
GATE = """
version: light
nodes:
  - {{label: start, type: start}}
  - {{label: gate, type: barrier, prompt: go on?, timeout: {seconds}, default_action: {default}}}
  - {{label: last, type: barrier, prompt: and now?}}
  - {{label: end, type: endpoint}}
connections:
  - {{from: start, to: gate}}
  - {{from: "gate[{port}]", to: {behind}}}
  - {{from: last, to: end}}
"""
RUN = """mutation($input: RunDiagramInput!) {
  runDiagram(input: $input) { execution { id } errors { message } } }"""
BARRIERS = "query($id: ID!) { execution(id: $id) { barriers { id nodeKey expiresAt } } }"
ANSWER = """{ barrier { status reason }
  errors { code ... on AlreadyDecided { winner { status reason } } } }"""
APPROVE = f"""mutation($id: ID!, $why: String, $key: String) {{
  approveBarrier(id: $id, comment: $why, idempotencyKey: $key) {ANSWER} }}"""
REJECT = f"""mutation($id: ID!, $why: String!, $key: String) {{
  rejectBarrier(id: $id, reason: $why, idempotencyKey: $key) {ANSWER} }}"""
SKIP = f"""mutation($id: ID!, $why: String, $key: String) {{
  decideBarrier(target: {{barrierId: $id}}, action: SKIP, reason: $why, idempotencyKey: $key)
  {ANSWER} }}"""
ACTIONS = {"APPROVED": APPROVE, "REJECTED": REJECT, "SKIPPED": SKIP}
RESOLVED = (
    "SELECT e.payload FROM events AS e JOIN executions AS x ON x.position = e.execution "
    "WHERE x.id = ? AND e.kind = 'barrier_resolved' ORDER BY e.seq"
)


@dataclass(frozen=True)
class Racer:
    """Somebody who wants a barrier decided; its reason is its name, its key may be used twice."""

    name: str
    status: str
    key: str | None
    delay: float

    @property
    def outcome(self) -> tuple[str, str]:
        """How the barrier ends if it wins."""
        return self.status, self.name

    async def ask(self, caller: Caller, barrier: str) -> Answer:
        """Decide."""
        query = ACTIONS[self.status]
        return await caller.ask(
            query, id=barrier, why=self.name, key=self.key and f"{barrier} {self.key}"
        )


@dataclass
class Race:
    """One barrier, and what everybody was told of it."""

    execution: str
    barrier: str
    expires_at: datetime
    told: list[tuple[Racer, dict[str, Any]]] = field(default_factory=list)
    unanswered: list[Racer] = field(default_factory=list)

    def take(self, racer: Racer, answer: Answer) -> None:
        """Remember an answer, or that there was none."""
        if answer is None:
            self.unanswered.append(racer)
        else:
            self.told.append((racer, answer))

    def judge(self, winner: tuple[str, str]) -> None:
        """Hold what everybody was told against the log. Raises AssertionError."""
        for racer, answer in self.told:
            if answer["errors"]:
                (error,) = answer["errors"]
                assert error["code"] == "ALREADY_DECIDED", (racer, error)
                known = error["winner"]
                # Without a key nobody knows that it was the same one who asks again.
                is_unknown = racer.key is None and racer in self.unanswered
                assert racer.outcome != winner or is_unknown, (racer, error)
            else:
                known = answer["barrier"]
                assert racer.outcome == winner, f"{racer} was told that it won, not {winner}"
            assert (known["status"], known["reason"]) == winner, (racer, known)


def racers(rng: random.Random) -> list[Racer]:
    """A hundred decisions; a fifth of them are others sent again under the same key."""
    found: list[Racer] = []
    for number in range(RACERS):
        if found and rng.random() < 0.2:
            again = rng.choice([each for each in found if each.key])
            found.append(Racer(again.name, again.status, again.key, rng.uniform(0, 0.05)))
            continue
        name = f"racer {number}"
        key = name if number == 0 or rng.random() < 0.7 else None
        status = rng.choice(sorted(ACTIONS))
        found.append(Racer(name, status, key, rng.uniform(0, 0.05)))
    return found


class Track:
    """Where rounds take place: lives of a server, and two ways to reach it."""

    def __init__(self, home: Kennel, rng: random.Random, http: httpx.AsyncClient) -> None:
        self._home = home
        self._rng = rng
        self._http = http
        self._log = StoredLog(home.store)
        self._pid, self._url = home.begin()
        self.counts: Counter[str] = Counter()

    async def round(self, number: int) -> None:
        """One race, and perhaps the end of a life in it."""
        rng = self._rng
        kills = number % 4 == 3
        async with self._callers() as callers:
            race = await self._begin(callers[0])
            begins = rng.uniform(-0.05, 0.01)
            tasks = [
                asyncio.create_task(self._run(race, racer, begins, rng.choice(callers)))
                for racer in racers(rng)
            ]
            if kills:
                await self._until(race, rng.uniform(-0.02, 0.08))
                await asyncio.to_thread(self._home.kill, self._pid)
            await asyncio.gather(*tasks)
        if kills:
            self._pid, self._url = await asyncio.to_thread(self._home.begin)
        await self._settle(race)

    @asynccontextmanager
    async def _callers(self) -> AsyncIterator[Sequence[Caller]]:
        with suppress(*UNREACHABLE):  # A socket of a killed server closes as it can.
            async with SocketCaller.at(self._url) as socket:
                yield HttpCaller(self._url, self._http), socket

    async def _begin(self, caller: Caller) -> Race:
        """Start a run, and wait until its barrier does."""
        rng = self._rng
        # With an edge for it a rejection goes on to another barrier, without one it is the end.
        port = rng.choice(["approved", "rejected", "skipped"])
        text = GATE.format(
            seconds=DEADLINE_SECONDS,
            default=rng.choice(["approve", "reject", "skip"]),
            port=port,
            behind=rng.choice(["last", "end"]),
        )
        source = {"inline": {"content": text, "format": "LIGHT", "name": "race"}}
        started = await caller.ask(RUN, input={"source": source})
        assert started is not None
        assert started["errors"] == [], started
        execution = str(started["execution"]["id"])
        while True:
            seen = await caller.ask(BARRIERS, id=execution)
            assert seen is not None
            for barrier in seen["barriers"]:
                if barrier["nodeKey"] == "gate":
                    expires_at = datetime.fromisoformat(barrier["expiresAt"])
                    return Race(execution, str(barrier["id"]), expires_at)

    async def _until(self, race: Race, seconds: float) -> None:
        """Wait until so many seconds behind the deadline."""
        left = (race.expires_at - datetime.now(UTC)).total_seconds() + seconds
        await asyncio.sleep(max(0.0, left))

    async def _run(self, race: Race, racer: Racer, begins: float, caller: Caller) -> None:
        await self._until(race, begins + racer.delay)
        race.take(racer, await racer.ask(caller, race.barrier))

    async def _settle(self, race: Race) -> None:
        """Whoever was not answered asks again; then all is held against the log."""
        caller = HttpCaller(self._url, self._http)
        await self._until(race, 0)
        self.counts["unanswered"] += len(race.unanswered)
        for racer in [*race.unanswered]:
            answer = await racer.ask(caller, race.barrier)
            assert answer is not None
            race.told.append((racer, answer))
        winner = self._winner(race)
        race.judge(winner)
        self.counts[winner[0]] += 1
        self.counts["answers"] += len(race.told)
        self.counts["successes"] += sum(not told["errors"] for _, told in race.told)

    def _winner(self, race: Race) -> tuple[str, str]:
        """How the log says that the barrier ended: once."""
        payloads = [json.loads(row[0]) for row in self._log.fetch(RESOLVED, race.execution)]
        found = [each for each in payloads if each["node_run"]["node"] == "gate"]
        assert len(found) == 1, found
        return found[0]["status"], found[0]["reason"]


async def hold_races(folder: Path, seed: int, rounds: int) -> Counter[str]:
    """So many races, the server killed in every fourth."""
    limits = httpx.Limits(max_connections=8)
    async with httpx.AsyncClient(timeout=30, trust_env=False, limits=limits) as http:
        with kennel(folder) as home:
            track = Track(home, random.Random(seed), http)
            for number in range(rounds):
                await track.round(number)
    print(dict(track.counts))
    return track.counts


@pytest.mark.timeout(180)
async def test_one_of_a_hundred_decisions_wins_and_everybody_is_told(tmp_path: Path) -> None:
    counts = await hold_races(tmp_path, 1, ROUNDS)
    assert counts["answers"] == ROUNDS * RACERS
    assert counts["unanswered"], "no kill kept anybody from an answer"


@pytest.mark.prove
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(100, 104))
async def test_of_a_thousand_races_each_has_one_winner(tmp_path: Path, seed: int) -> None:
    counts = await hold_races(tmp_path, seed, ROUNDS_MANY // 4)
    assert counts["TIMED_OUT"], "no deadline was in time"
    assert counts["APPROVED"]
    assert counts["REJECTED"]
    assert counts["SKIPPED"]
