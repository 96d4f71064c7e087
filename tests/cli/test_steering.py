"""Steering a run at a server from the command line: each command does it, or says why not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.controlling import CLI, Control
from tests.cli.diagrams import GREETING, SLOW
from tests.cli.processes import dipeo, started

NOBODY = "http://127.0.0.1:9"


def held(control: Control, *options: str) -> str:
    return control.left(GREETING, "--pause", *options)


def output_of(events: list[dict[str, Any]], key: str, kind: str = "NodeCompleted") -> Any:
    (found,) = [each for each in events if (each["__typename"], each.get("nodeKey")) == (kind, key)]
    return found["output"]["body"]


def test_a_run_is_stepped_node_by_node(control: Control) -> None:
    run = held(control, "--var", "name=Ann")
    first = control("step", run)
    assert first.code == 0, first.err
    assert [line.split()[:2] for line in first.out.splitlines()] == [
        ["running", "(step)"],
        ["started", "start"],
        ["completed", "start"],
        ["paused", "(step)"],
        ["PAUSED", run],
        ["next:", "greet"],
    ]
    second = control("step", run, "--node", "greet", "--json")
    assert second.document["pauseCause"] == "step"
    assert second.document["ready"] == ["end"]
    assert "STEP" in second.document["availableActions"]
    last = control("step", run)
    assert last.out.splitlines()[-1] == f"COMPLETED  {run}"


def test_a_step_need_not_be_waited_for(control: Control) -> None:
    run = held(control, "--var", "name=Ann")
    done = control("step", run, "--no-wait", "--json")
    assert (done.code, done.document["id"]) == (0, run)


def test_what_is_resumed_with_variables_uses_them(control: Control) -> None:
    run = held(control)
    done = control("resume", run, "--var", "name=Ann", "--max-time", "1h")
    assert done.code == 0, done.err
    assert output_of(control.events(run), "greet") == "hello Ann"


def test_a_failed_node_is_retried_in_a_held_run(control: Control) -> None:
    run = held(control)
    control("step", run)
    failed = control("step", run)
    assert "failed       greet" in failed.out
    assert failed.out.splitlines()[-1].startswith("PAUSED")  # nothing else is ready
    assert control("retry", run, "greet").code == 0
    assert control("resume", run, "--var", "name=Ann").code == 0
    events = control.events(run)
    assert output_of(events, "greet") == "hello Ann"
    assert events[-1]["__typename"] == "ExecutionCompleted"


def test_a_node_is_skipped_with_what_depends_on_it(control: Control) -> None:
    run = held(control)
    control("step", run)
    done = control("skip", run, "greet", "--reason", "nobody is there")
    assert done.code == 0, done.err
    control("resume", run)
    skipped = [each for each in control.events(run) if each["__typename"] == "NodeSkipped"]
    assert [(each["nodeKey"], each["comment"]) for each in skipped] == [
        ("greet", "nobody is there"),
        ("end", None),
    ]


@pytest.mark.parametrize("text, value", [("moin", "moin"), ('{"a": [1]}', {"a": [1]}), ("3", 3)])
def test_a_node_is_given_its_output(control: Control, text: str, value: object) -> None:
    run = held(control)
    control("step", run)
    assert control("set-output", run, "greet", text).code == 0
    control("resume", run)
    assert output_of(control.events(run), "greet", "NodeOutputSet") == value


def test_breakpoints_are_set_listed_hit_and_cleared(control: Control) -> None:
    run = held(control, "--var", "name=Ann")
    wanted = ["greet=name == 'Bob'", "greet:after=len(output) > 3", "end"]
    done = control("breakpoints", run, *wanted, "--json")
    assert [each["when"] for each in done.document["breakpoints"]] == ["BEFORE", "AFTER", "BEFORE"]
    assert control("breakpoints", run).out.splitlines() == [
        "before greet, if name == 'Bob'",
        "after greet, if len(output) > 3",
        "before end",
    ]
    with started("events", run, "--follow", "--url", control.server) as following:
        control("resume", run)
        lines = iter(following.line, "")
        assert any("breakpoint   greet  (after)" in line for line in lines)
        assert any("paused       (breakpoint" in line for line in lines)
        assert control("breakpoints", run, "--clear").out == "no breakpoints\n"
        control("resume", run)
        rest = list(lines)
    assert not any("breakpoint " in line for line in rest)
    assert "ExecutionCompleted" in rest[-1]


def test_an_abort_waits_for_the_end_and_may_be_repeated(control: Control) -> None:
    with started("run", control.file(SLOW), "--json", "--server", control.server) as running:
        running.until("started      slow")
        run = control.newest()
        done = control("abort", run, "--reason", "enough", "--json")
        assert (done.code, done.document["status"]) == (0, "ABORTED")
        assert running.ended().code == 3
    again = control("abort", run)
    assert (again.code, again.out) == (0, f"ABORTED  {run}\n")
    late = control.refused("INVALID_STATE", "pause", run)
    assert late["current"] == "ABORTED"
    assert "Fork" in late["hint"]


def test_what_runs_is_interrupted_by_a_pause_that_is_urgent(control: Control) -> None:
    with started("run", control.file(SLOW), "--json", "--server", control.server) as running:
        running.until("started      slow")
        run = control.newest()
        done = control("pause", run, "--now", "--reason", "lunch")
        assert (done.code, done.out) == (0, f"PAUSED  {run}  (user: lunch)\n")
        left = running.ended()
    assert (left.code, left.document["status"]) == (4, "PAUSED")
    assert "interrupted  slow" in left.err
    assert control("abort", run).code == 0


def test_a_repeated_key_does_it_once(control: Control) -> None:
    run = held(control, "--var", "name=Ann")
    first, second = (control("step", run, "--key", "one") for _ in range(2))
    assert (first.code, second.code) == (0, 0), second.err
    assert "completed    start" in first.out
    assert second.out == f"PAUSED  {run}  (step)\nnext: greet\n"
    control.refused("IDEMPOTENCY_MISMATCH", "step", run, "--node", "greet", "--key", "one")


@pytest.mark.parametrize(
    "words",
    [
        ["skip", "ID", "gret"],
        ["retry", "ID", "gret"],
        ["set-output", "ID", "gret", "1"],
        ["breakpoints", "ID", "gret"],
        ["step", "ID", "--node", "gret"],
    ],
    ids=" ".join,
)
def test_the_nearest_node_is_named(control: Control, words: list[str]) -> None:
    run = held(control)
    done = control(*(run if word == "ID" else word for word in words))
    assert done.code == 1
    assert "Did you mean 'greet'?" in done.err


def test_a_refusal_names_what_can_be_done_instead(control: Control) -> None:
    run = held(control, "--var", "name=Ann")
    error = control.refused("INVALID_STATE", "retry", run, "greet")
    assert error["hint"]
    assert "RESUME" in error["allowed"]


@pytest.mark.parametrize(
    "words",
    [
        ["pause", "ID"],
        ["resume", "ID"],
        ["abort", "ID"],
        ["step", "ID"],
        ["breakpoints", "ID"],
        ["skip", "ID", "greet"],
        ["retry", "ID", "greet"],
        ["set-output", "ID", "greet", "1"],
        ["events", "ID"],
        ["events", "ID", "--follow"],
        ["logs", "ID"],
        ["logs", "ID", "--follow"],
        ["barriers", "ID"],
        ["barriers", "ID", "--follow"],
        ["approve", "ID", "gate"],
        ["approve", "ID"],
        ["reject", "ID", "--reason", "no"],
        ["decide", "ID", "gate", "--action", "approve"],
        ["decisions", "ID"],
        ["revoke", "ID"],
    ],
    ids=" ".join,
)
def test_what_there_is_not_is_exit_code_1(control: Control, words: list[str]) -> None:
    missing = ["exec_0_nothing" if word == "ID" else word for word in words]
    error = control.refused("NOT_FOUND", *missing)
    assert "exec_0_nothing" in error["message"]


def test_a_server_that_is_not_there_is_exit_code_1(cli: CLI) -> None:
    done = cli("pause", "exec_0_x", "--json", "--url", NOBODY)
    assert (done.code, done.document["error"]["code"]) == (1, "UNAVAILABLE")
    assert NOBODY in done.err


def test_the_server_is_named_by_the_environment_too(control: Control) -> None:
    done = dipeo("breakpoints", held(control), env={"DIPEO_URL": control.server})
    assert (done.code, done.out) == (0, "no breakpoints\n")


@pytest.mark.parametrize(
    "words",
    [
        ["pause"],
        ["resume", "exec_0_x", "--max-time", "soon"],
        ["resume", "exec_0_x", "--max-steps", "0"],
        ["resume", "exec_0_x", "--var", "name"],
        ["abort", "exec_0_x", "--grace", "-1s"],
        ["reject", "barrier_x"],
        ["decide", "barrier_x"],
        ["decide", "barrier_x", "--action", "perhaps"],
        ["decide", "barrier_x", "--action", "approve", "--occurrence", "2"],
        ["decide", "exec_0_x", "gate", "--action", "approve", "--expires-in", "1 fortnight"],
        ["set-output", "exec_0_x", "greet"],
        ["breakpoints", "exec_0_x", "greet", "--clear"],
        ["executions", "--status", "lost"],
        ["executions", "--url", "ftp://127.0.0.1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(cli: CLI, words: list[str]) -> None:
    named = [] if "--url" in words else ["--url", NOBODY]
    done = cli(*words, *named)
    assert (done.code, done.out) == (2, "")
    assert "Error" in done.err
