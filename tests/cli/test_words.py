"""The small parts of the command line: values, durations, formats, lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dipeo_server.cli import documents
from dipeo_server.cli.assignments import Answers, value_of, variables
from dipeo_server.cli.breakpoints import breakpoint_of
from dipeo_server.cli.client import endpoint
from dipeo_server.cli.deciding import Approval, Rejection, decision_of
from dipeo_server.cli.directions import Place, directions
from dipeo_server.cli.durations import in_words, iso_of, seconds_of
from dipeo_server.cli.log_text import LogText
from dipeo_server.cli.outcome import Unusable
from dipeo_server.cli.report import runs_of
from dipeo_server.cli.standing import Pause, Standing
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


@pytest.mark.parametrize(
    "text, iso",
    [
        ("90s", "PT90S"),
        ("1.5s", "PT1.5S"),
        ("1h30m", "PT5400S"),
        ("2D", "PT172800S"),
        ("pt1h", "PT1H"),
        ("P1DT2H", "P1DT2H"),
        ("0s", "PT0S"),
    ],
)
def test_durations_are_typed_shortly_or_as_iso(text: str, iso: str) -> None:
    assert iso_of(text, "--grace") == iso


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "-PT5S", "PT", "P", "1 h", "9" * 12 + "s", "1e3s"]
)
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Unusable, match="--grace"):
        iso_of(text, "--grace")


@pytest.mark.parametrize(
    "text, node, when, condition",
    [
        ("pay", "pay", "BEFORE", None),
        ("pay:after", "pay", "AFTER", None),
        ("pay:before=x == 1", "pay", "BEFORE", "x == 1"),
        ("pay:after=output", "pay", "AFTER", "output"),
        ("step: one", "step: one", "BEFORE", None),
        ("a=b", "a", "BEFORE", "b"),
        ("x=y:after", "x=y", "AFTER", None),
        ("x=y=z > 1", "x=y", "BEFORE", "z > 1"),
        ("go:after", "go:after", "BEFORE", None),
        ("go:after:after", "go:after", "AFTER", None),
    ],
)
def test_a_breakpoint_is_a_node_a_side_and_a_condition(
    text: str, node: str, when: str, condition: str | None
) -> None:
    found = breakpoint_of(text, "--break", ["x=y", "go:after", "go", "pay"])
    assert found == {"nodeKey": node, "when": when, "condition": condition}


@pytest.mark.parametrize("text", ["", "=x", ":after", "pay=", "pay:after= "])
def test_a_breakpoint_without_a_node_or_a_condition_is_refused(text: str) -> None:
    with pytest.raises(Unusable, match="NODE"):
        breakpoint_of(text, "--break")


@pytest.mark.parametrize(
    "cause, more",
    [
        ("max_steps", " --max-steps 20"),
        ("max_tokens", " --max-tokens 180"),
        ("max_seconds", " --max-time 5s"),
        ("user", ""),
        (None, ""),
    ],
)
def test_what_a_limit_paused_goes_on_with_a_larger_one(cause: str | None, more: str) -> None:
    pause = Pause("exec_0_a", cause, 10, 50, 2.5, tokens=90)
    place = Place("it.yaml", "127.0.0.1:8000", None, ".")
    told_lines = list(directions(Standing(is_held=True, paused=(pause,)), place))
    assert f"  in this run:   dipeo-server resume exec_0_a{more}" in told_lines


def test_a_run_that_is_not_kept_gets_no_directions() -> None:
    pause = Pause("exec_0_a", "user", 10, None, None, tokens=0)
    place = Place("it.yaml", None, "memory:", ".")
    assert list(directions(Standing(is_held=True, paused=(pause,)), place)) == [
        "exec_0_a is paused (user)."
    ]


@pytest.mark.parametrize(
    "event, line",
    [
        (
            {
                "__typename": "NodeOutputSet",
                "nodeKey": "a",
                "visit": 2,
                "why": "by_user",
                "actor": "ann",
            },
            "given        a #2  (by ann, by_user)",
        ),
        (
            {"__typename": "NodeSkipped", "nodeKey": "a", "why": "by_user", "comment": "too dear"},
            "skipped      a  (by_user, too dear)",
        ),
        (
            {
                "__typename": "EarlyDecisionChanged",
                "nodeKey": "a",
                "decidedVisit": None,
                "change": "used",
            },
            "decision     a  used, for every visit",
        ),
        (
            {"__typename": "LimitRaised", "maxSteps": 9, "maxTokens": 5, "maxTime": "PT90S"},
            "limits       9 steps, 5 tokens, 1 min 30 s of running",
        ),
        (
            {
                "__typename": "BranchCompleted",
                "nodeKey": "p",
                "branch": "b",
                "isSuccess": False,
                "duration": "PT1S",
            },
            "branch       p  b failed after 1.00 s",
        ),
        ({"__typename": "BreakpointsChanged", "breakpoints": []}, "breakpoints  none"),
        (
            {
                "__typename": "ExecutionStatusChanged",
                "from": "RUNNING",
                "to": "PAUSED",
                "cause": "user",
                "changeReason": "lunch",
            },
            "paused       (user: lunch)",
        ),
    ],
)
def test_what_people_did_to_a_run_is_told(event: dict[str, Any], line: str) -> None:
    assert told(event) == line


def test_lines_of_nodes_name_the_visit_and_the_stream() -> None:
    assert written([("a", 2, "stderr", "oh"), ("a", 1, "stdout", "yes")]) == (
        "a #2 (stderr) | oh\na | yes\n"
    )


def test_what_models_say_runs_on_until_somebody_else_speaks() -> None:
    said = [
        ("a", 1, "tokens", "Good "),
        ("a", 1, "tokens", "morning\nall"),
        ("b", 1, "tokens", "No"),
    ]
    assert written([*said, ("c", 1, "stdout", "x"), ("b", 1, "tokens", "!")]) == (
        "a | Good morning\na | all\nb | No\nc | x\nb | !\n"
    )


def written(lines: list[tuple[str, int, str, str]]) -> str:
    """What is written for (node, visit, stream, text)."""
    text = LogText()
    names = ("nodeKey", "occurrence", "stream", "text")
    records = [{**dict(zip(names, line, strict=True)), "attempt": 1} for line in lines]
    return "".join(text.of(record) for record in records) + text.end()
