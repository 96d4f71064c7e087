"""`dipeo-server run`: how it ends, and what it prints where."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.cli.controlling import CLI
from tests.cli.diagrams import (
    APPROVAL,
    FAILING,
    HELLO,
    INVALID,
    PARENT,
    QUESTIONS,
    SLOW,
    STUBBORN,
    TALKING,
    written,
)
from tests.cli.processes import dipeo, started

FIELDS = {
    "id",
    "status",
    "startedAt",
    "endedAt",
    "duration",
    "lastSequence",
    "error",
    "tokenUsage",
    "variables",
    "nodeStates",
    "problems",
}


def test_a_completed_run_is_one_json_object_and_exit_code_0(base_dir: Path) -> None:
    done = dipeo("run", written(base_dir, HELLO), "--json", "--base-dir", base_dir)
    assert done.code == 0
    assert set(done.document) == FIELDS
    assert done.document["status"] == "COMPLETED"
    assert done.document["error"] is None
    assert done.document["id"].startswith("exec_")
    assert isinstance(done.document["duration"], float)
    assert done.document["lastSequence"].isdecimal()
    assert set(done.document["tokenUsage"]) == {"input", "output", "cached", "total"}
    keys = [state["nodeKey"] for state in done.document["nodeStates"]]
    assert keys == ["start", "greet", "end"]
    assert done.state("greet")["runs"] == 1
    assert done.state("greet")["output"]["body"] == "hello you"
    assert done.state("greet")["output"]["isTruncated"] is False
    assert "completed    greet" in done.err


def test_a_failed_run_is_exit_code_1_and_says_where(base_dir: Path) -> None:
    done = dipeo("run", written(base_dir, FAILING), "--json", "--base-dir", base_dir)
    assert done.code == 1
    assert done.document["status"] == "FAILED"
    assert done.document["error"]["code"] == "CODE_ERROR"
    assert done.document["error"]["nodeKey"] == "work"
    assert "no luck" in done.document["error"]["message"]
    assert done.state("work")["status"] == "FAILED"
    assert done.state("work")["output"] is None
    assert "no luck" in done.err


def test_an_invalid_diagram_is_exit_code_2_with_its_problems(server: str, base_dir: Path) -> None:
    file = written(base_dir, INVALID)
    done = dipeo("run", file, "--json", "--server", server)
    assert done.code == 2
    assert done.document["id"] is None
    assert done.document["status"] is None
    assert done.document["error"]["code"] == "DIAGRAM_INVALID"
    codes = {problem["code"] for problem in done.document["problems"]}
    assert "UNKNOWN_NODE_TYPE" in codes
    assert f"{file}:4:" in done.err


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_an_unreadable_file_is_exit_code_2(base_dir: Path, what: str) -> None:
    file = base_dir if what == "folder" else base_dir / "none.light.yaml"
    done = dipeo("run", file, "--json")
    assert done.code == 2
    assert done.document["id"] is None
    assert done.document["error"]["code"] == "FILE_NOT_FOUND"
    assert done.document["problems"] == []


def test_a_file_that_is_no_text_is_an_invalid_diagram(base_dir: Path) -> None:
    file = base_dir / "it.light.yaml"
    file.write_bytes(b"version: \xff\xfe")
    done = dipeo("run", file, "--json")
    assert (done.code, done.document["error"]["code"]) == (2, "DIAGRAM_INVALID")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--var", "name"],
        ["--answer", "=yes"],
        ["--max-steps", "0"],
        ["--approve", "perhaps"],
        ["--error-strategy", "hope"],
        ["--max-time", "soon"],
        ["--break", "=x"],
        ["--base-dir", "/nonexistent"],
        ["--server", "http://127.0.0.1:1", "--store", "memory:"],
        ["--server", "ftp://127.0.0.1"],
        ["--unknown"],
    ],
)
def test_wrong_usage_is_exit_code_2(base_dir: Path, arguments: list[str]) -> None:
    done = dipeo("run", written(base_dir, HELLO), *arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Error" in done.err


def test_an_unreachable_server_is_exit_code_1(base_dir: Path) -> None:
    file = written(base_dir, HELLO)
    done = dipeo("run", file, "--json", "--server", "http://127.0.0.1:9")
    assert done.code == 1
    assert done.document["id"] is None
    assert done.document["error"]["code"] == "UNAVAILABLE"
    assert "http://127.0.0.1:9/graphql" in done.document["error"]["message"]


def test_variables_are_json_or_text(server: str, base_dir: Path) -> None:
    wanted = ["--var", "name=Ann", "--var", "n=3", "--var", 'l=["x"]', "--var", "t=NaN"]
    done = dipeo("run", written(base_dir, HELLO), "--json", "--server", server, *wanted)
    assert done.document["variables"] == {"name": "Ann", "n": 3, "l": ["x"], "t": "NaN"}
    assert done.state("greet")["output"]["body"] == "hello Ann"


def test_without_json_the_events_and_the_result_are_lines(server: str, base_dir: Path) -> None:
    done = dipeo("run", written(base_dir, HELLO), "--server", server)
    lines = done.out.splitlines()
    assert lines[0].startswith("run exec_")
    assert [line.split()[2] for line in lines[1:3]] == ["started", "completed"]
    assert "  hello you" in lines
    assert lines[-1].startswith("COMPLETED after")
    assert "\x1b" not in done.out
    assert done.err == ""


def test_quiet_says_nothing_where_all_is_well(server: str, base_dir: Path) -> None:
    done = dipeo("run", written(base_dir, HELLO), "--server", server, "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_limit_of_steps_pauses_and_is_exit_code_4(server: str, base_dir: Path) -> None:
    file = written(base_dir, HELLO)
    done = dipeo("run", file, "--json", "--server", server, "--max-steps", "1")
    assert done.code == 4
    assert done.document["status"] == "PAUSED"
    assert f"{done.document['id']} is paused" in done.err
    assert f"dipeo-server resume {done.document['id']} --max-steps 2 --url {server}" in done.err


@pytest.mark.parametrize(
    "options, cause, more",
    [
        (["--pause"], "start_paused", ""),
        (["--break", "greet"], "breakpoint", ""),
        (["--break", "greet:after=output == 'hello you'"], "breakpoint", ""),
        (["--max-tokens", "1"], "max_tokens", " --max-tokens "),
    ],
)
def test_a_run_is_held_where_it_is_said(
    cli: CLI, server: str, base_dir: Path, options: list[str], cause: str, more: str
) -> None:
    diagram = TALKING if "--max-tokens" in options else HELLO
    done = cli("run", written(base_dir, diagram), "--json", "--server", server, *options)
    assert (done.code, done.document["status"]) == (4, "PAUSED"), done.err
    assert f"{done.document['id']} is paused ({cause})." in done.err
    assert f"dipeo-server resume {done.document['id']}{more}" in done.err


def test_limits_that_are_not_reached_change_nothing(cli: CLI, server: str, base_dir: Path) -> None:
    file = written(base_dir, HELLO)
    done = cli("run", file, "--json", "--server", server, "--max-time", "10m", "--max-tokens", "1")
    assert (done.code, done.document["status"]) == (0, "COMPLETED"), done.err


def test_time_that_is_up_pauses_a_run(cli: CLI, server: str, base_dir: Path) -> None:
    file = written(base_dir, SLOW.replace("sleep 30", "sleep 1"))
    done = cli("run", file, "--json", "--server", server, "--max-time", "0.1s")
    assert (done.code, done.document["status"]) == (4, "PAUSED"), done.err
    assert "is paused (max_seconds)." in done.err
    assert "--max-time 0.2s" in done.err
    assert done.state("slow")["status"] == "COMPLETED"
    assert done.state("end")["status"] == "PENDING"


# --- people -------------------------------------------------------------------------------------


def test_a_barrier_without_decision_is_exit_code_4_at_once(server: str, base_dir: Path) -> None:
    file = written(base_dir, APPROVAL)
    done = dipeo("run", file, "--json", "--server", server)
    assert done.code == 4
    assert done.document["status"] == "WAITING"
    assert done.document["endedAt"] is None
    assert done.state("gate")["status"] == "WAITING"
    assert "Waiting for an approval at 'gate': May it go on?" in done.err
    assert "--approve auto" in done.err
    (barrier,) = re.findall(r"dipeo-server approve (barrier_\w+) --url (\S+)", done.err)
    assert barrier[1] == server
    assert f"dipeo-server reject {barrier[0]} --reason WHY --url {server}" in done.err


@pytest.mark.parametrize(
    "arguments, way",
    [
        (["--approve", "auto"], "go"),
        (["--answer", "gate=approve"], "go"),
        (["--answer", "gate=true"], "go"),
        (["--answer", "gate=No"], "halt"),
        (["--answer", "gate=reject", "--approve", "auto"], "halt"),
    ],
)
def test_barriers_are_decided_by_options(
    server: str, base_dir: Path, arguments: list[str], way: str
) -> None:
    file = written(base_dir, APPROVAL)
    done = dipeo("run", file, "--json", "--server", server, *arguments)
    assert done.code == 0
    ran = {key for key in ("go", "halt") if done.state(key)["status"] == "COMPLETED"}
    assert ran == {way}


def test_auto_never_answers_a_question(server: str, base_dir: Path) -> None:
    file = written(base_dir, QUESTIONS)
    done = dipeo("run", file, "--json", "--server", server, "--approve", "auto")
    assert done.code == 4
    assert "Waiting for an answer at 'ask': And now?" in done.err
    assert "--answer ask=VALUE" in done.err


def test_several_answers_are_for_the_visits_in_order(server: str, base_dir: Path) -> None:
    file = written(base_dir, QUESTIONS)
    answers = ["--answer", "ask=go", "--answer", "ask=stop"]
    done = dipeo("run", file, "--json", "--server", server, *answers)
    assert done.code == 0
    assert done.state("ask")["runs"] == 2
    assert done.state("ask")["output"]["body"] == "stop"


def test_the_last_answer_repeats(server: str, base_dir: Path) -> None:
    file = written(base_dir, QUESTIONS)
    done = dipeo("run", file, "--json", "--server", server, "--answer", "ask=go")
    assert done.code == 0
    assert done.state("ask")["runs"] == 3


def test_an_answer_that_does_not_fit_leaves_the_question_open(server: str, base_dir: Path) -> None:
    schema = "timeout: 3600, answer_schema: {type: integer}"
    file = written(base_dir, QUESTIONS.replace("timeout: 3600", schema))
    done = dipeo("run", file, "--json", "--server", server, "--answer", "ask=soon")
    assert done.code == 4
    assert done.err.startswith("run ")
    assert "\nask: " in done.err
    assert "Waiting for an answer at 'ask'" in done.err


def test_an_answer_for_an_unknown_node_is_noticed(server: str, base_dir: Path) -> None:
    file = written(base_dir, HELLO)
    done = dipeo("run", file, "--server", server, "--answer", "gret=yes")
    assert done.code == 0
    assert "'gret'" in done.err
    assert "greet" in done.err


def test_barriers_of_sub_diagrams_are_found(base_dir: Path) -> None:
    written(base_dir, APPROVAL, "child.light.yaml")
    file = written(base_dir, PARENT)
    store: list[str | Path] = ["--store", base_dir / "runs.db"]
    done = dipeo("run", file, "--json", "--base-dir", base_dir, *store)
    assert done.code == 4
    assert done.document["status"] == "RUNNING"
    assert "Waiting for an approval at 'gate'" in done.err
    done = dipeo("run", file, "--json", "--base-dir", base_dir, "--approve", "auto")
    assert (done.code, done.document["status"]) == (0, "COMPLETED")


# --- Ctrl-C -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_aborts_the_run_and_is_exit_code_3(
    base_dir: Path, number: signal.Signals
) -> None:
    file = written(base_dir, SLOW)
    with started("run", file, "--json", "--base-dir", base_dir) as running:
        running.until("started      slow")
        running.interrupt(number)
        done = running.ended()
    assert done.code == 3
    assert done.document["status"] == "ABORTED"
    assert done.state("slow")["status"] == "ABORTED"
    assert done.state("end")["status"] == "PENDING"


def test_a_second_interrupt_leaves_at_once(base_dir: Path) -> None:
    file = written(base_dir, STUBBORN)
    store: list[str | Path] = ["--store", base_dir / "runs.db"]
    with started("run", file, "--base-dir", base_dir, "--json", *store) as running:
        running.until("started      slow")
        running.interrupt()
        running.until("again leaves at once")
        running.interrupt()
        done = running.ended()
    assert done.code == 130
    assert done.out == ""
