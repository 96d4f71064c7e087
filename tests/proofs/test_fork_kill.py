"""Forks of a server that is killed again and again: each that it told of comes to its end."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.processes import dipeo, started

LOOP = """
version: light
nodes:
  - {label: start, type: start}
  - {label: h, type: transform}
  - {label: sub, type: sub_diagram, props: {diagram_data: {version: light,
      nodes: [{label: s, type: start}, {label: nap, type: delay, props: {seconds: 0.05}},
              {label: e, type: endpoint}],
      connections: [{from: s, to: nap}, {from: nap, to: e}]}}}
  - {label: pause, type: delay, seconds: 0.01}
  - {label: c, type: condition, condition_type: custom, expression: "i >= 10", expose_index_as: i}
  - {label: end, type: endpoint}
connections:
  - {from: start, to: h}
  - {from: start, to: sub}
  - {from: h, to: pause}
  - {from: pause, to: c}
  - {from: "c[condfalse]", to: h}
  - {from: "c[condtrue]", to: end}
  - {from: sub, to: end}
"""
RUN = """mutation($input: RunDiagramInput!) {
  runDiagram(input: $input) { execution { id } errors { message } } }"""
FORK = """mutation($id: ID!, $at: Sequence!, $key: String) {
  forkExecution(id: $id, atSequence: $at, idempotencyKey: $key) {
    execution { id lastSequence } errors { code message } } }"""
ALL = """query($after: String) { executions(first: 100, after: $after) {
  nodes { id status isActive lastSequence forkedAt parent { id } error { message } }
  pageInfo { hasNextPage endCursor } } }"""


class Server:
    """A client of one life of the server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(timeout=20, trust_env=False)

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = self.http.post(self.url, json={"query": query, "variables": variables}).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def fork(self, run: str, at: int, key: str) -> str | None:
        """The id of a fork; None where it cannot be forked there."""
        payload = self.ask(FORK, id=run, at=str(at), key=key)["forkExecution"]
        assert {each["code"] for each in payload["errors"]} <= {"INVALID"}, payload
        return payload["execution"] and str(payload["execution"]["id"])

    def all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after, is_more = None, True
        while is_more:
            page = self.ask(ALL, after=after)["executions"]
            found += page["nodes"]
            after, is_more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
        return found


@contextmanager
def life(folder: Path) -> Iterator[Server]:
    """One life of the server: it is killed at the end of the block."""
    store = folder / "store.db"
    with started("serve", "--port", "0", "--store", store, "--base-dir", folder) as process:
        ready, _, url = process.line().partition(" ")
        assert ready == "ready", process.ended().err
        server = Server(url)
        try:
            yield server
        finally:
            server.http.close()
            process.process.kill()
            process.process.wait()


def survive(folder: Path, seed: int, kills: int) -> None:
    chance, forks = random.Random(seed), dict[str, str]()
    with life(folder) as server:
        wish = {"source": {"inline": {"name": "loop", "content": LOOP}}, "variables": {"i": 0}}
        payload = server.ask(RUN, input=wish)["runDiagram"]
        assert payload["errors"] == []
        runs = [str(payload["execution"]["id"])]
    for number in range(kills):
        with life(folder) as server:
            for key, fork in chance.sample(sorted(forks.items()), min(2, len(forks))):
                assert server.fork(*at_of(key), key) == fork
            for each in range(chance.randint(1, 4)):
                run = chance.choice(runs)
                last = next(int(r["lastSequence"]) for r in server.all() if r["id"] == run)
                key = f"{run} {chance.randint(1, last)} {number}.{each}"
                made = server.fork(*at_of(key), key)
                if made is not None:
                    forks[key] = made
                    runs.append(made)
    with life(folder) as server:
        while any(each["isActive"] for each in server.all()):
            time.sleep(0.05)
        rows = {each["id"]: each for each in server.all()}
    for key, fork in forks.items():
        origin, at = at_of(key)
        assert (rows[fork]["parent"], rows[fork]["forkedAt"]) == ({"id": origin}, str(at))
    odd = [rows[run] for run in runs if rows[run]["status"] != "COMPLETED"]
    assert not odd, "\n".join(map(str, odd))
    assert {each["status"] for each in rows.values()} <= {"COMPLETED", "ABORTED"}
    verified = dipeo("verify", "--store", folder / "store.db")
    assert verified.code == 0, verified.out
    print(f"{len(forks)} forks and {len(rows)} runs behind {kills} kills")


def at_of(key: str) -> tuple[str, int]:
    run, at, _ = key.split()
    return run, int(at)


@pytest.mark.timeout(120)
def test_forks_outlive_a_killed_server(tmp_path: Path) -> None:
    """004-W2: all that a fork is made of is durable."""
    survive(tmp_path, 1, 2)


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2, 5))
def test_forks_outlive_a_server_that_is_killed_often(tmp_path: Path, seed: int) -> None:
    """004-W2."""
    survive(tmp_path, seed, 25)
