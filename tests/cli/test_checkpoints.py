"""`checkpoints` lists those of a run, and takes one."""

from __future__ import annotations

from tests.cli.controlling import Control
from tests.cli.diagrams import GREETING


def test_checkpoints_are_listed_and_taken(control: Control) -> None:
    """004-46, 004-50."""
    run = control.left(GREETING, "--pause")
    done = control("checkpoints", run)
    assert (done.code, done.out) == (0, "There are no checkpoints.\n"), done.err
    taken = control("checkpoints", run, "--save", "--json").document["checkpoint"]
    assert taken["trigger"] == "ON_REQUEST"
    assert control("resume", run).code == 0
    control.events(run)
    listed = control("checkpoints", run, "--json").document["checkpoints"]
    assert [each["trigger"] for each in listed][0::2] == ["EXECUTION_COMPLETED", "ON_REQUEST"]
    assert listed[-1] == taken
    lines = control("checkpoints", run).out.splitlines()
    assert len(lines) == len(listed)
    assert "next: __complete__" in lines[0]


def test_what_is_refused_is_told(control: Control) -> None:
    assert control.refused("NOT_FOUND", "checkpoints", "exec_0_none")["code"] == "NOT_FOUND"
    control.refused("NOT_FOUND", "checkpoints", "exec_0_none", "--save")


def test_checkpoints_are_deleted(control: Control) -> None:
    """004-50"""
    run = control.left(GREETING, "--pause")
    control("checkpoints", run, "--save")
    assert control("resume", run).code == 0
    control.events(run)
    count = len(control("checkpoints", run, "--json").document["checkpoints"])
    done = control("checkpoints", run, "--prune", "--keep", "1")
    assert (done.code, done.out) == (0, f"deleted {count - 1}\n"), done.err
    left = control("checkpoints", run, "--json").document["checkpoints"]
    assert [each["trigger"] for each in left] == ["EXECUTION_COMPLETED"]
    assert control("checkpoints", run, "--prune", "--json").document["deletedCount"] == 1
    assert control("checkpoints", run).out == "There are no checkpoints.\n"
    assert control("checkpoints", run, "--keep", "1").code == 2
    assert control("checkpoints", run, "--prune", "--save").code == 2
