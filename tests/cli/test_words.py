"""The small parts of the command line: values, durations, formats, lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dipeo_server.cli import documents
from dipeo_server.cli.assignments import Answers, value_of, variables
from dipeo_server.cli.client import endpoint
from dipeo_server.cli.deciding import Approval, Rejection, decision_of
from dipeo_server.cli.durations import in_words, seconds_of
from dipeo_server.cli.outcome import Unusable
from dipeo_server.cli.report import runs_of
from dipeo_server.cli.telling import told


@pytest.mark.parametrize(
    "text, value",
    [
        ("3", 3),
        ("3.5", 3.5),
        ("true", True),
        ("null", None),
        ('{"a": [1]}', {"a": [1]}),
        ('"3"', "3"),
        ("three", "three"),
        ("", ""),
        ("Infinity", "Infinity"),
        ("{a: 1}", "{a: 1}"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_value_is_json_where_it_parses(text: str, value: object) -> None:
    assert value_of(text) == value


def test_the_first_equals_sign_ends_the_name() -> None:
    assert variables(["a=b=c", "n= 1", "a=2"]) == {"a": 2, "n": 1}


@pytest.mark.parametrize("text", ["a", "=1", " =1", ""])
def test_an_assignment_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(Unusable, match="NAME=VALUE"):
        variables([text])


def test_answers_are_found_by_key_or_label_in_order() -> None:
    answers = Answers.parse(["ask=1", "Gate one=no", "ask=2"])
    found = [answers.find("ask", "Ask", occurrence) for occurrence in (1, 2, 3)]
    assert found == [[1], [2], [2]]
    assert answers.find("node_3", "Gate one", 1) == ["no"]
    assert answers.find("other", "Other", 1) == []


@pytest.mark.parametrize(
    "value, kind",
    [
        ("approve", Approval),
        ("Yes", Approval),
        (True, Approval),
        ("reject", Rejection),
        ("NO", Rejection),
        (False, Rejection),
    ],
)
def test_words_decide_an_approval(value: object, kind: type[Any]) -> None:
    assert isinstance(decision_of(value), kind)


@pytest.mark.parametrize("value", [1, 0, {"price": 3}, "with pleasure", None])
def test_any_other_value_approves_and_goes_along(value: object) -> None:
    decision = decision_of(value)
    assert isinstance(decision, Approval)
    assert decision.answer == value


@pytest.mark.parametrize(
    "duration, seconds",
    [
        ("PT0S", 0.0),
        ("PT1.25S", 1.25),
        ("PT2M3S", 123.0),
        ("P1DT1H", 90_000.0),
        ("-PT5S", -5.0),
        ("soon", None),
        (None, None),
    ],
)
def test_durations_become_seconds(duration: str | None, seconds: float | None) -> None:
    assert seconds_of(duration) == seconds


def test_durations_are_told_with_their_unit() -> None:
    assert [in_words(each) for each in (None, 0.0123, 1.5, 125.2)] == [
        "",
        "12 ms",
        "1.50 s",
        "2 min 5 s",
    ]


@pytest.mark.parametrize(
    "name, format_",
    [
        ("a.light.yaml", "LIGHT"),
        ("A.LIGHT.YML", "LIGHT"),
        ("a.readable.yaml", "READABLE"),
        ("a.native.json", "NATIVE"),
        ("a.json", "NATIVE"),
        ("a.yaml", None),
        ("light", None),
    ],
)
def test_the_suffix_tells_the_format(name: str, format_: str | None) -> None:
    assert documents.format_of(name) == format_


def test_the_path_of_a_file_is_relative_to_the_base_or_nothing(tmp_path: Path) -> None:
    inner = tmp_path / "base" / "deep"
    inner.mkdir(parents=True)
    inside, outside = inner / "a.light.yaml", tmp_path / "b.light.yaml"
    inside.write_text("\ufeffversion: light", encoding="utf-8")
    outside.write_text("version: light")
    found = documents.read(inside, tmp_path / "base")
    assert (found.path, found.name, found.content) == (
        "deep/a.light.yaml",
        "a.light.yaml",
        "version: light",
    )
    assert documents.read(outside, tmp_path / "base").path is None


@pytest.mark.parametrize(
    "url, found",
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/graphql"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/graphql"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/graphql"),
        ("https://example.org/api/graphql", "https://example.org/api/graphql"),
        ("http://[::1]:8000", "http://[::1]:8000/graphql"),
    ],
)
def test_a_server_is_named_by_any_of_its_urls(url: str, found: str) -> None:
    assert endpoint(url) == found


def test_runs_count_entered_visits_once() -> None:
    def run(occurrence: int, status: str, started_at: str | None = "2026-01-01") -> dict[str, Any]:
        return {"occurrence": occurrence, "status": status, "startedAt": started_at}

    runs = [
        run(1, "FAILED"),
        run(1, "COMPLETED"),
        run(2, "COMPLETED"),
        run(3, "MAXITER_REACHED"),
        run(4, "PENDING", None),
    ]
    assert runs_of({"runs": runs}) == 2


@pytest.mark.parametrize("status", ["STARTED", "RUNNING", "WAITING"])
def test_changes_that_other_events_tell_are_left_out(status: str) -> None:
    event = {"__typename": "ExecutionStatusChanged", "from": "RUNNING", "to": status}
    if status != "RUNNING":
        assert told(event) is None
    assert told({**event, "from": status, "changeReason": "abort"}) == "stopping     (abort)"


def test_an_event_of_a_newer_server_is_passed_over() -> None:
    assert told({"__typename": "SomethingNew", "sequence": "3"}) is None
