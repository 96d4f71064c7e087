"""Known secrets are taken out of texts and values, however they are written."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dipeo_server.domains.execution.failure import Failure
from dipeo_server.domains.execution.output import NodeOutput, WaitUntil
from dipeo_server.runtime.redaction import SHORTEST, Redactor

VALUES = st.text(min_size=SHORTEST, max_size=40).filter(lambda text: len(text.strip()) >= SHORTEST)


def knowing(value: str) -> Redactor:
    redactor = Redactor()
    redactor.learn("it", value)
    return redactor


@given(VALUES, st.text(max_size=5), st.text(max_size=5))
@example('pa"ss\\wörd/+&<x>', "a", "b")
@example("c6f1 é\u2028\x7f", "", "")
def test_no_usual_way_to_write_a_secret_is_left(value: str, before: str, after: str) -> None:
    redactor = knowing(value)
    whole = f"{before}{value}{after}"
    for written in (
        whole,
        json.dumps(whole),
        json.dumps(whole, ensure_ascii=False),
        json.dumps(json.dumps(whole)),
        repr(value),
        quote(whole.encode("utf-8", "surrogatepass")),
        quote(whole.encode("utf-8", "surrogatepass"), safe=""),
        quote_plus(whole.encode("utf-8", "surrogatepass")),
        whole.encode("utf-8", "surrogatepass").hex(),
    ):
        shown = redactor.text(written)
        assert "[secret it]" in shown
        assert value not in shown


@given(st.binary(max_size=7), VALUES, st.binary(max_size=7))
def test_a_secret_is_found_at_any_place_of_what_is_in_base64(
    before: bytes, value: str, after: bytes
) -> None:
    redactor = knowing(value)
    data = before + value.encode("utf-8", "surrogatepass") + after
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(data).decode()
        shown = redactor.text(f"x {encoded} y")
        assert "[secret it]" in shown
        left = shown.partition("[secret it]")
        known = len(left[0]) + len(left[2]) - len("x  y")
        # Of the secret's own characters at most two shine through, and of those only some bits.
        assert known <= (len(before) * 8 + 5) // 6 + (len(after) * 8 + 5) // 6 + 4


def test_each_line_of_a_secret_with_several_is_one() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
    redactor = knowing(key)
    shown = [redactor.text(line) for line in key.splitlines()]
    assert shown == ["[secret it]"] * 4


def test_what_is_too_short_is_left_and_all_else_as_it_was() -> None:
    redactor = knowing("short")
    value = {"a": ["short", 1, None]}
    assert redactor.json(value) is value
    assert redactor.text("short") == "short"


def test_values_are_searched_with_their_keys_and_numbers() -> None:
    redactor = knowing("12345678")
    value = {"12345678": [1, 12345678, -1.5, None, True, {"deep": "x12345678"}], "same": "same"}
    shown = "[secret it]"
    assert redactor.json(value) == {
        shown: [1, shown, -1.5, None, True, {"deep": f"x{shown}"}],
        "same": "same",
    }


def test_the_longer_of_two_secrets_goes_first() -> None:
    redactor = Redactor()
    redactor.learn("short", "password")
    redactor.learn("long", "password-of-ann")
    assert redactor.text("password-of-ann password") == "[secret long] [secret short]"


def test_results_and_failures_are_searched_whole() -> None:
    redactor = knowing("opensesame")
    output = NodeOutput({"default": ["opensesame"]}, {"note": "opensesame!"})
    waiting = redactor.parts(WaitUntil(1.0, output))
    assert waiting == WaitUntil(
        1.0, NodeOutput({"default": ["[secret it]"]}, {"note": "[secret it]!"})
    )
    failures = (Failure("E", "opensesame", "a"), Failure("E", "other", "a"))
    shown = redactor.parts(_Several(failures))
    assert [each.message for each in shown.all] == ["[secret it]", "other"]
    assert shown.all[1] is failures[1]
    clean = NodeOutput({"default": "clean"})
    assert redactor.parts(clean) is clean


@dataclass(frozen=True, slots=True)
class _Several:
    all: tuple[Failure, ...]


@pytest.mark.parametrize("value", ["pa ss'w\"ord$x", "tab\there é"])
def test_forms_of_other_programs_are_known(value: str) -> None:
    redactor = knowing(value)
    encoded = subprocess.run(
        ["base64", "-w0"], input=value.encode(), capture_output=True, check=True
    )
    assert "[secret it]" in redactor.text(encoded.stdout.decode())
    assert "[secret it]" in redactor.text(urlencode({"q": value}))
    assert "[secret it]" in redactor.text(f"Bearer {value}")
    assert "[secret it]" in redactor.text(shlex.quote(value)) or "'" in value


def test_values_that_are_no_plain_json_are_searched_too() -> None:
    redactor = knowing("open-sesame")
    assert redactor.json({1: "open-sesame", "half": "\udc00"}) == {
        1: "[secret it]",
        "half": "\udc00",
    }
    failure = Failure("E", "open-sesame \udc00", "a")
    assert redactor.parts(failure).message == "[secret it] \udc00"
