"""Deciding barriers of runs at a server: what waits, and what does not wait yet."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.cli.controlling import Control
from tests.cli.diagrams import APPROVAL, QUESTIONS
from tests.cli.processes import dipeo, started

ROUNDS = (Path(__file__).parents[2] / "examples" / "rounds.light.yaml").read_text()


def ran(events: list[dict[str, Any]]) -> list[str]:
    return [each["nodeKey"] for each in events if each["__typename"] == "NodeCompleted"]


def statuses(events: list[dict[str, Any]]) -> list[str]:
    return [each["status"] for each in events if each["__typename"] == "BarrierResolved"]


def test_what_waits_is_listed_with_what_is_asked(control: Control) -> None:
    run = control.left(APPROVAL)
    (barrier,) = control("barriers", run, "--json").document["barriers"]
    assert (barrier["nodeKey"], barrier["occurrence"], barrier["status"]) == ("gate", 1, "WAITING")
    assert barrier["prompt"] == "May it go on?"
    assert barrier["execution"] == {"id": run}
    assert barrier["id"] in [
        each["id"] for each in control("barriers", "--json").document["barriers"]
    ]
    first, second, third = control("barriers", run).out.splitlines()
    assert first == f"{barrier['id']}  gate #1"
    assert re.fullmatch(f"  in {run}, since .*, REJECT at .*", second)
    assert third == "  May it go on?"


def test_a_barrier_is_approved_by_its_id_once(control: Control) -> None:
    run = control.left(APPROVAL)
    (barrier,) = control("barriers", run, "--json").document["barriers"]
    done = control("approve", barrier["id"], "--comment", "fine")
    assert (done.code, done.out) == (0, "APPROVED  gate #1  (fine)\n")
    assert "go" in ran(control.events(run))
    late = control.refused("ALREADY_DECIDED", "reject", barrier["id"], "--reason", "late")
    assert (late["winner"]["status"], late["winner"]["reason"]) == ("APPROVED", "fine")


def test_a_barrier_is_rejected_by_its_run_and_node(control: Control) -> None:
    run = control.left(APPROVAL)
    done = control("reject", run, "gate", "--reason", "too dear", "--json")
    assert done.code == 0, done.err
    assert done.document["barrier"]["status"] == "REJECTED"
    assert done.document["execution"]["id"] == run
    assert ran(control.events(run))[-1] == "halt"
    control.refused("ALREADY_DECIDED", "approve", run, "gate")


def test_a_question_is_answered(control: Control) -> None:
    run = control.left(QUESTIONS)
    assert control("approve", run, "ask", "--answer", "stop").code == 0
    answers = [
        each["answer"] for each in control.events(run) if each["__typename"] == "BarrierResolved"
    ]
    assert answers == ["stop"]


def test_nothing_is_approved_where_nothing_waits(control: Control) -> None:
    run = control.left(APPROVAL)
    error = control.refused("NOT_FOUND", "approve", run, "go")
    assert "No barrier waits at 'go'" in error["message"]
    assert "decide" in error["hint"]
    control.refused("NOT_FOUND", "approve", run, "gate", "--occurrence", "2")
    assert control("abort", run).code == 0


def test_the_directions_of_a_run_left_waiting_work_as_they_are(control: Control) -> None:
    file = str(control.file(APPROVAL))
    left = dipeo("run", file, "--json", "--server", control.server)
    assert left.code == 4
    (told,) = re.findall(r"in this run: +dipeo-server (approve .*)", left.err)
    done = dipeo(*shlex.split(told))
    assert (done.code, done.out) == (0, "APPROVED  gate #1\n"), done.err


def test_a_round_is_approved_before_it_is_reached(control: Control) -> None:
    run = control.left(ROUNDS)
    ahead = ["--occurrence", "2", "--action", "approve", "--expires-in", "1h"]
    done = control("decide", run, "review", *ahead)
    assert done.code == 0, done.err
    assert done.out.startswith("ahead of time  APPROVE at review, visit 2, 1 use left, until ")
    (early,) = control("decisions", run, "--json").document["earlyDecisions"]
    assert (early["occurrence"], early["action"]) == (2, "APPROVE")
    assert control("approve", run, "review").code == 0
    (waiting,) = control("barriers", run, "--json").document["barriers"]
    assert waiting["occurrence"] == 3
    assert control("decisions", run).out == "no decisions ahead of time\n"
    assert control("reject", run, "review", "--reason", "enough").code == 0
    assert statuses(control.events(run)) == ["APPROVED", "APPROVED", "REJECTED"]


def test_every_visit_is_decided_but_not_oftener_than_allowed(control: Control) -> None:
    run = control.left(ROUNDS)
    done = control("decide", run, "review", "--action", "approve", "--max-uses", "2", "--json")
    assert done.code == 0, done.err
    (waiting,) = control("barriers", run, "--json").document["barriers"]
    assert waiting["occurrence"] == 3
    assert control("abort", run).code == 0
    assert statuses(control.events(run)) == ["APPROVED", "APPROVED", "CANCELLED"]


def test_a_decision_is_revoked_before_it_is_used(control: Control) -> None:
    run = control.left(ROUNDS)
    ahead = ["--occurrence", "2", "--action", "reject", "--reason", "stop there", "--json"]
    early = control("decide", run, "review", *ahead).document["earlyDecision"]
    assert control("revoke", early["id"]).out == f"revoked  {early['id']}\n"
    assert control("decisions", run).out == "no decisions ahead of time\n"
    control.refused("INVALID_STATE", "revoke", early["id"])
    assert control("abort", run).code == 0


def test_a_barrier_is_passed_with_other_variables(control: Control) -> None:
    run = control.left(APPROVAL)
    done = control("decide", run, "gate", "--action", "modify", "--var", "amount=80")
    assert done.code == 0, done.err
    put = {
        each["key"]: each["value"]
        for each in control.events(run)
        if each["__typename"] == "StateChanged"
    }
    assert put["amount"] == 80


def test_a_barrier_is_left_by_another_edge(control: Control) -> None:
    run = control.left(APPROVAL)
    (barrier,) = control("barriers", run, "--json").document["barriers"]
    error = control.refused("INVALID", "decide", barrier["id"], "--action", "reroute", "--to", "x")
    assert "'x'" in error["message"]
    done = control("decide", barrier["id"], "--action", "reroute", "--to", "halt", "--json")
    assert (done.code, done.document["barrier"]["status"]) == (0, "REROUTED"), done.err
    assert ran(control.events(run))[-1] == "halt"


@pytest.mark.parametrize("whole", [[], ["--json"]], ids=["lines", "json"])
def test_barriers_are_told_as_they_come(control: Control, whole: list[str]) -> None:
    run = control.left(ROUNDS)
    with started("barriers", run, "--follow", "--url", control.server, *whole) as following:
        first = following.line()
        control("approve", run, "review")
        lines = iter(following.line, "")
        second = next(line for line in lines if "review #2" in line or whole)
        control("abort", run)  # With the run there is nothing left to follow.
        done = following.ended()
    assert done.code == 0, done.err
    assert done.err == ""
    if whole:
        found = [json.loads(line)["occurrence"] for line in (first, second)]
        assert found == [1, 2]
    else:
        assert "review #1" in first
