"""Looking at runs of a server: lists, events and printed lines."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

from dipeo_server.cli import decisions, event_fields, operations, steering
from dipeo_server.cli.event_fields import FIELDS
from dipeo_server.cli.remote import Change
from tests.cli.controlling import Control
from tests.cli.diagrams import APPROVAL, GREETING, HELLO
from tests.cli.processes import COMMAND, environment, started

SCHEMA = Path(__file__).parents[2] / "schema.graphql"
API = build_schema(SCHEMA.read_text())
PLACES = (operations, event_fields, steering, decisions)
CONSTANTS = [value for place in PLACES for name, value in vars(place).items() if name.isupper()]
DOCUMENTS = sorted(
    {
        text.strip()
        for text in CONSTANTS
        if isinstance(text, str) and re.match(r"\s*(query|mutation|subscription)\b", text)
    }
)
CHANGES = [value for value in CONSTANTS if isinstance(value, Change)]
COMMON = {"sequence", "executionId", "timestamp", "traceId"}
PRINTING = HELLO.replace("'result =", "'print(1); print(2); result =")


def test_every_event_is_told_whole() -> None:
    types = re.findall(
        r"^type (\w+) implements ExecutionEvent \{\n(.*?)^\}",
        re.sub(r'"""(?:.|\n)*?"""', "", SCHEMA.read_text()),
        re.MULTILINE | re.DOTALL,
    )
    known = {kind: set(re.findall(r"^  (\w+):", body, re.MULTILINE)) for kind, body in types}
    told = {kind: set(fields.split()) for kind, fields in FIELDS.items()}
    wanted = {kind: fields - COMMON for kind, fields in known.items()}
    assert told == wanted, "dipeo_server/cli/event_fields.py lacks what schema.graphql has"


@pytest.mark.parametrize("document", DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_what_is_asked_fits_the_schema(document: str) -> None:
    assert validate(API, parse(document)) == []


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_what_is_changed_fits_the_schema(change: Change) -> None:
    assert validate(API, parse(change.document(change.types))) == []


def test_runs_are_listed_newest_first_and_by_status(control: Control) -> None:
    waiting = control.left(APPROVAL)
    paused = control.left(GREETING, "--pause")
    both = control("executions", "--status", "waiting,paused", "--json", "--limit", "2").document
    assert [each["id"] for each in both["executions"]] == [paused, waiting]
    assert both["totalCount"] >= 2
    (line,) = control("executions", "--active", "--limit", "1").out.splitlines()[:1]
    assert line.split()[:2] == [paused, "PAUSED"]
    assert all(control("abort", run).code == 0 for run in (waiting, paused))


def test_stored_events_come_in_order_from_any_place(control: Control) -> None:
    run = control.left(GREETING, "--pause", "--var", "name=Ann")
    control("resume", run)
    events = control.events(run)
    assert [each["sequence"] for each in events] == [str(n + 1) for n in range(len(events))]
    assert all("_odd" not in name for each in events for name in each)
    stored = control("events", run, "--json", "--after", "2")
    assert [json.loads(line) for line in stored.out.splitlines()] == events[2:]
    lines = control("events", run).out.splitlines()
    assert len(lines) == len(events)
    assert re.fullmatch(r" +2  [\d:.]+  paused +\(start_paused\)", lines[1])


def test_printed_lines_are_told_by_node(control: Control) -> None:
    with started("run", control.file(PRINTING), "--server", control.server, "--log") as running:
        done = running.ended()
    assert done.code == 0, done.err
    assert done.err.splitlines() == ["greet | 1", "greet | 2"]
    run = control.newest()
    for more in ([], ["--follow"], ["--node", "greet"]):
        told = control("logs", run, *more)
        assert (told.code, told.out) == (0, "greet | 1\ngreet | 2\n"), told.err
    first, second = control("logs", run, "--json").out.splitlines()
    assert (json.loads(first)["text"], json.loads(second)["stream"]) == ("1", "stdout")
    assert control("logs", run, "--node", "end").out == ""


def test_a_reader_may_leave_early(control: Control) -> None:
    run = control.left(APPROVAL)
    with subprocess.Popen(
        [*COMMAND, "events", run, "--follow", "--url", control.server],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "ExecutionStarted" in process.stdout.readline()
        process.stdout.close()
        control("abort", run)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
