"""A server on a full disk: changes are refused, reading goes on, runs go on once there is space."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.processes import dipeo, served
from tests.storage.disks import small_disk

WAITS = """\
version: light
nodes:
- {label: start, type: start}
- {label: gate, type: barrier, prompt: May it go on?, timeout: 3600}
- {label: go, type: endpoint}
connections:
- {from: start, to: gate}
- {from: "gate[approved]", to: go, content_type: object}
"""
SLOW = """\
version: light
nodes:
- {label: start, type: start}
- label: file
  type: code_job
  code: |
    import os, time
    while not os.path.exists(globals["until"]):
        time.sleep(0.01)
    result = 1
- {label: more, type: code_job, code: result = default + 1}
- {label: end, type: endpoint}
connections:
- {from: start, to: file}
- {from: file, to: more, content_type: generic}
- {from: more, to: end, content_type: generic}
"""
RUN = """mutation($content: String!, $variables: JSON) {
  runDiagram(input: {source: {inline: {name: "x", content: $content}}, variables: $variables}) {
    execution { id } errors { code message hint } } }"""
STATE = "query($id: ID!) { execution(id: $id) { status lastSequence barriers { id } } }"
APPROVE = "mutation($id: ID!) { approveBarrier(id: $id) { errors { code } } }"
PROBLEM = "{ serverInfo { storageProblem } }"
SECONDS_MAX = 30


class Client:
    """Asks a server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, query: str, **variables: Any) -> Any:
        """What the one field of the operation gives."""
        body = {"query": query, "variables": variables}
        answer = httpx.post(self._url, json=body, trust_env=False, timeout=SECONDS_MAX).json()
        assert "errors" not in answer, answer
        (value,) = answer["data"].values()
        return value

    def start(self, content: str, **variables: Any) -> str:
        payload = self.ask(RUN, content=content, variables=variables)
        assert payload["errors"] == []
        return str(payload["execution"]["id"])

    def until(self, query: str, expected: Any, *path: str, **variables: Any) -> None:
        """Ask again until a field of the answer is what is expected."""
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            value = self.ask(query, **variables)
            for name in path:
                value = value[name]
            if value == expected:
                return
            assert time.monotonic() < deadline, f"{value} and not {expected}"
            time.sleep(0.02)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", size="4m") as folder:
        yield folder


def fill(disk: Path) -> Path:
    """Take all the space there is; the file that has it."""
    path = disk / "taken"
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return path


def test_a_full_disk_stops_changes_and_nothing_else(disk: Path, tmp_path: Path) -> None:
    store, until = disk / "runs.db", tmp_path / "base" / "until"
    until.parent.mkdir()
    with served("--store", store, "--base-dir", until.parent) as url:
        client = Client(url)
        waiting = client.start(WAITS)
        running = client.start(SLOW, until=str(until))
        client.until(STATE, "WAITING", "status", id=waiting)
        client.until(STATE, "RUNNING", "status", id=running)
        assert client.ask(PROBLEM) == {"storageProblem": None}
        taken = fill(disk)

        refused = client.ask(RUN, content=WAITS, variables={"large": "x" * 100_000})
        assert refused["execution"] is None
        (error,) = refused["errors"]
        assert error == {
            "code": "STORAGE_FULL",
            "message": "The disk that holds the store is full.",
            "hint": "Free some space on the disk that holds the store.",
        }
        assert client.ask(PROBLEM) == {"storageProblem": "STORAGE_FULL"}
        until.write_text("")  # What runs ends, and cannot tell: that is kept, and not lost.
        state = client.ask(STATE, id=waiting)
        assert state["status"] == "WAITING"
        (barrier,) = state["barriers"]
        listed = client.ask("{ executions { nodes { id status } } }")["nodes"]
        assert [each["id"] for each in listed] == [running, waiting]
        assert dipeo("verify", "--store", store).code == 0

        taken.unlink()
        client.until(PROBLEM, None, "storageProblem")
        client.until(STATE, "COMPLETED", "status", id=running)
        assert client.ask(APPROVE, id=barrier["id"])["errors"] == []
        client.until(STATE, "COMPLETED", "status", id=waiting)
        assert client.start(WAITS)
    assert dipeo("verify", "--store", store).code == 0
