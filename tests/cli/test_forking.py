"""`fork` lets another run go on from where one was, and says which."""

from __future__ import annotations

from typing import Any

from tests.cli.controlling import Control
from tests.cli.diagrams import GREETING


def ended(control: Control, *options: str) -> str:
    run = control.left(GREETING, "--pause", *options)
    assert control("resume", run).code == 0
    control.events(run)
    return run


def output(control: Control, run: str, key: str = "greet") -> Any:
    found = [
        each
        for each in control.events(run)
        if each.get("nodeKey") == key and each["__typename"] in {"NodeCompleted", "NodeOutputSet"}
    ]
    return found[-1]["output"]["body"]


def start_of(control: Control, run: str, key: str) -> int:
    (found,) = [
        int(each["sequence"])
        for each in control.events(run)
        if (each["__typename"], each.get("nodeKey")) == ("NodeStarted", key)
    ]
    return found


def test_a_fork_goes_on_with_other_variables(control: Control) -> None:
    """000-11."""
    run = ended(control, "--var", "name=Ann")
    at = start_of(control, run, "greet")
    done = control("fork", run, "--at", str(at), "--var", "name=Bob", "--json")
    assert done.code == 0, done.err
    fork = done.document["id"]
    assert (done.document["parent"], done.document["forkedAt"]) == ({"id": run}, str(at))
    assert output(control, fork) == "hello Bob"
    assert output(control, run) == "hello Ann"


def test_a_fork_may_have_other_results_by_key_or_label(control: Control) -> None:
    run = ended(control, "--var", "name=Ann")
    at = start_of(control, run, "greet")
    done = control("fork", run, "--at", str(at), "--output", 'greet={"text": "hi"}')
    assert done.code == 0, done.err
    fork = done.out.split()[1]
    assert done.out.endswith(f"(from {at} of {run})\n")
    assert output(control, fork) == {"text": "hi"}


def test_a_fork_may_be_held(control: Control) -> None:
    run = ended(control, "--var", "name=Ann")
    done = control("fork", run, "--at", "3", "--pause", "--json")
    assert done.document["status"] == "PAUSED"
    assert control("step", done.document["id"]).code == 0


def test_one_key_makes_one_fork(control: Control) -> None:
    run = ended(control, "--var", "name=Ann")
    made = [
        control("fork", run, "--at", "4", "--key", "once", "--json").document["id"]
        for _ in range(2)
    ]
    assert made[0] == made[1]


def test_what_cannot_be_forked_is_said_with_what_can(control: Control) -> None:
    run = ended(control, "--var", "name=Ann")
    error = control.refused("INVALID", "fork", run, "--at", "99")
    assert "can be forked at 1 to" in error["message"]
    error = control.refused("INVALID", "fork", run, "--at", "3", "--output", "gret=1")
    assert "greet" in error["hint"]
    assert control("fork", run).code == 2
    assert control("fork", run, "--at", "3", "--output", "greet").code == 2
