"""Looking back from the command line: `state`, `diff`, and `render --run`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipeo_server.cli.differences import differences, parting
from tests.cli.controlling import CLI, Control
from tests.cli.diagrams import FAILING, GREETING, HELLO
from tests.cli.processes import Done
from tests.drawing import needs_dot, objects

NESTED = """\
version: light
nodes:
- {label: start, type: start}
- {label: inside, type: sub_diagram, diagram_data: {version: light,
    nodes: [{label: in, type: start}, {label: deep, type: endpoint}],
    connections: [{from: in, to: deep}]}}
- {label: end, type: endpoint}
connections:
- {from: start, to: inside}
- {from: inside, to: end}
"""
NOBODY = "http://127.0.0.1:9"


def ran(control: Control, diagram: str, *options: str) -> str:
    """The id of a run that has ended."""
    control("run", str(control.file(diagram)), "--quiet", *options)
    return control.newest()


def test_a_run_is_told_as_it_stands(control: Control) -> None:
    run = ran(control, HELLO, "--var", "name=Ann")
    lines = control("state", run).out.splitlines()
    assert lines[0].startswith(f"COMPLETED  {run}  behind event ")
    assert lines[1:4] == [
        "  ✓ COMPLETED       start",
        "  ✓ COMPLETED       greet",
        "  ✓ COMPLETED       end",
    ]
    assert '  name = "Ann"' in lines
    assert '  greet = "hello Ann"' in lines


def test_000_07_a_run_is_told_as_it_stood_behind_an_event(control: Control) -> None:
    run = ran(control, HELLO)
    first = control("state", run, "--at", "1", "--json").document
    assert (first["status"], first["lastSequence"]) == ("STARTED", "1")
    assert {each["status"] for each in first["nodeStates"]} == {"PENDING"}
    last = control("state", run, "--json").document
    again = control("state", run, "--at", last["lastSequence"], "--json").document
    assert last.pop("availableActions") != again.pop("availableActions")
    assert again == last


def test_000_w2_an_event_that_is_not_there_is_refused_with_the_range(control: Control) -> None:
    run = ran(control, HELLO)
    error = control.refused("INVALID", "state", run, "--at", "999")
    assert "999" in error["message"]
    assert "events 1 to" in error["message"]
    assert control.refused("NOT_FOUND", "state", "exec_0_nothing")


def test_two_runs_that_came_to_the_same_are_exit_code_0(control: Control) -> None:
    a, b = ran(control, HELLO), ran(control, HELLO)
    done = control("diff", a, b)
    assert (done.code, done.out) == (0, "the same outcome\ntheir logs tell the same\n")


def test_two_runs_that_differ_are_exit_code_1_and_told_how(control: Control) -> None:
    a = ran(control, HELLO, "--var", "name=Ann")
    b = ran(control, HELLO, "--var", "name=Bob")
    done = control("diff", a, b)
    assert done.code == 1
    assert done.out.splitlines() == [
        'variable name: "Ann" → "Bob"',
        'output start: {"name":"Ann"} → {"name":"Bob"}',
        'output greet: "hello Ann" → "hello Bob"',
        'output end: "hello Ann" → "hello Bob"',
        "they part at event 1: ExecutionStarted | ExecutionStarted",
    ]
    told = control("diff", a, b, "--json").document
    assert (told["same"], told["partAt"]) == (False, "1")
    assert told["differences"][0] == {
        "kind": "variable",
        "key": "name",
        "a": "Ann",
        "b": "Bob",
        "missing": None,
    }


def test_statuses_and_errors_differ_too(control: Control) -> None:
    a, b = ran(control, HELLO), ran(control, FAILING)
    kinds = [
        (each["kind"], each["key"], each["missing"])
        for each in control("diff", a, b, "--json").document["differences"]
    ]
    assert kinds[:2] == [("status", None, None), ("error", None, None)]
    assert ("node", "greet", "b") in kinds
    assert ("node", "work", "a") in kinds


def test_runs_that_cannot_be_compared_are_exit_code_2(control: Control, cli: CLI) -> None:
    done = control("diff", ran(control, HELLO), "exec_0_nothing", "--json")
    assert (done.code, done.document["error"]["code"]) == (2, "NOT_FOUND")
    assert cli("diff", "a", "b", "--url", NOBODY).code == 2
    assert cli("diff", "a").code == 2


def test_values_are_compared_as_json() -> None:
    def run(value: object) -> dict[str, object]:
        return {"status": "RUNNING", "error": None, "variables": {"x": value}, "nodeStates": []}

    assert not differences(run([1, {"a": None}]), run([1, {"a": None}]))
    for one, other in ((1, True), (1, 1.0), ([1], [1, 2]), ({"a": 1}, {"b": 1}), ("1", 1)):
        assert len(differences(run(one), run(other))) == 1
    (missing,) = differences({**run(1), "variables": {}}, run(None))
    assert missing.missing == "a"


def test_logs_part_where_they_tell_something_else() -> None:
    one = [{"__typename": "NodeStarted", "nodeKey": "a", "timestamp": "1", "spanId": "x"}]
    same = [{"__typename": "NodeStarted", "nodeKey": "a", "timestamp": "2", "spanId": "y"}]
    assert parting(one, same) is None
    assert parting(one, []) == 1
    assert parting(one, [*same, *same]) == 2
    assert parting(one, [{**same[0], "nodeKey": "b"}]) == 1


@needs_dot
def test_a_run_is_drawn_as_it_stood(control: Control, tmp_path: Path) -> None:
    run = ran(control, HELLO)
    nodes, _ = objects(control("render", "--run", run).out)
    assert "✓ COMPLETED" in nodes[0]["label"]
    nodes, _ = objects(control("render", "--run", run, "--at", "1", "--to", "dot").out)
    assert "○ PENDING" in nodes[0]["label"]
    file = tmp_path / "run.png"
    assert control("render", "--run", run, "--output", str(file)).code == 0
    assert file.read_bytes().startswith(b"\x89PNG")
    graph = control("render", "--run", run, "--graph", "--to", "mermaid").out
    assert "✓ greet completed" in graph


def test_000_05_a_run_is_drawn_with_its_sub_diagrams(control: Control) -> None:
    done = control("run", str(control.file(NESTED)), "--quiet", "--json")
    run = done.document["id"]
    graph = control("render", "--run", run, "--sub-diagrams", "--to", "mermaid").out
    assert "↳ inside" in graph
    assert "✓ deep completed" in graph
    assert "deep" not in control("render", "--run", run, "--graph", "--to", "mermaid").out


@pytest.mark.parametrize(
    "words",
    [
        ["render"],
        ["render", "it.yaml", "--run", "exec_0_x"],
        ["render", "it.yaml", "--at", "3"],
        ["render", "it.yaml", "--graph"],
        ["render", "it.yaml", "--sub-diagrams"],
        ["state", "exec_0_x", "--at", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(cli: CLI, words: list[str]) -> None:
    done: Done = cli(*words, "--url", NOBODY)
    assert (done.code, done.out) == (2, "")
    assert "Error" in done.err


def test_a_paused_run_is_told_before_and_behind_a_step(control: Control) -> None:
    run = control.left(GREETING, "--pause", "--var", "name=Ann")
    before = control("state", run, "--json").document
    control("step", run)
    at = before["lastSequence"]
    assert (
        control("state", run, "--at", at, "--json").document["nodeStates"] == before["nodeStates"]
    )
    assert control("state", run, "--json").document["nodeStates"] != before["nodeStates"]


def test_000_11_a_fork_parts_from_its_origin_behind_the_event_it_left_at(control: Control) -> None:
    run = ran(control, HELLO, "--var", "name=Ann")
    fork = control("fork", run, "--at", "4", "--var", "name=Bob", "--json").document["id"]
    control.events(fork)
    told = control("diff", run, fork, "--json").document
    assert told["partAt"] == "5"
    assert ("variable", "name") in [(each["kind"], each["key"]) for each in told["differences"]]
    assert (
        control("state", fork, "--at", "4").out.splitlines()[1:]
        == (control("state", run, "--at", "4").out.splitlines()[1:])
    )
