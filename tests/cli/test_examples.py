"""Every example does what its first lines say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.processes import dipeo

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNS = {
    "approval": {"topic": 1, "publish?": 1, "published": 1, "dropped": 0},
    "debate": {"optimist": 2, "pessimist": 3, "judge": 1, "verdict": 1},
    "loop": {"first number": 1, "halve": 6, "small enough": 6, "save": 1},
    "pipeline": {"revenue": 1, "per item": 1, "summary": 1, "report": 1, "save": 1},
}


def test_every_example_is_known_here() -> None:
    names = {file.name.partition(".")[0] for file in EXAMPLES.iterdir()}
    assert names == set(RUNS)


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
