"""Every example does what its first lines say."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.processes import dipeo, environment

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNS = {
    "approval": {"topic": 1, "publish?": 1, "published": 1, "dropped": 0},
    "debate": {"optimist": 2, "pessimist": 3, "judge": 1, "verdict": 1},
    "loop": {"first number": 1, "halve": 6, "small enough": 6, "save": 1},
    "rounds": {"version": 3, "review": 3, "revise": 3, "published": 1, "dropped": 0},
    "pipeline": {"revenue": 1, "per item": 1, "summary": 1, "report": 1, "save": 1},
}


def test_every_example_is_known_here() -> None:
    names = {file.name.removesuffix(".light.yaml") for file in EXAMPLES.iterdir()}
    assert names == {*RUNS, "approve_ahead.py"}


@pytest.mark.parametrize("name", RUNS)
def test_an_example_runs_as_it_says(server: str, name: str) -> None:
    file = EXAMPLES / f"{name}.light.yaml"
    (command,) = re.findall(r"^# Run it: +(dipeo-server run .*)$", file.read_text(), re.MULTILINE)
    program, verb, path, *options = shlex.split(command)
    assert (program, verb, path) == ("dipeo-server", "run", f"examples/{file.name}")
    done = dipeo("run", file, *options, "--json", "--server", server)
    assert (done.code, done.document["status"]) == (0, "COMPLETED"), done.err
    assert {key: done.state(key)["runs"] for key in RUNS[name]} == RUNS[name]
    ran = [state for state in done.document["nodeStates"] if state["type"] == "ENDPOINT"]
    saved = [state["output"]["meta"]["saved_to"] for state in ran if state["output"]]
    assert saved == [f"files/results/{Path(saved[0]).name}"]


def test_a_rejected_announcement_is_dropped(server: str) -> None:
    answers = ["--answer", "topic=Sale", "--answer", "publish?=reject"]
    done = dipeo("run", EXAMPLES / "approval.light.yaml", *answers, "--json", "--server", server)
    assert done.code == 0
    assert done.state("dropped")["runs"] == 1
    assert done.state("published")["status"] == "SKIPPED"


def test_the_second_round_is_approved_ahead_and_the_third_rejected(server: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "approve_ahead.py", "--url", server],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=45,
        check=True,
    )
    *rounds, end = done.stdout.splitlines()
    assert [line.partition(",")[0] for line in rounds] == [
        "round 1: APPROVED",
        "round 2: APPROVED",
        "round 3: REJECTED",
    ]
    assert end.startswith("COMPLETED at dropped: exec_")
    kept = dipeo("events", end.rpartition(" ")[2], "--json", "--url", server)
    events = [json.loads(line) for line in kept.out.splitlines()]
    early = [each["change"] for each in events if each["__typename"] == "EarlyDecisionChanged"]
    assert early == ["recorded", "used"]


def test_the_example_program_imports_nothing_of_ours() -> None:
    assert "dipeo_server" not in (EXAMPLES / "approve_ahead.py").read_text()
