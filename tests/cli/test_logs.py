"""Logs: a JSON object a line, or lines for people; no secrets, and nothing moves a cursor."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.cli.processes import Done, environment, started

LOGGING = """
import logging, sys, structlog
from dipeo_server.cli.logs import log_to_stderr
log_to_stderr(form={form!r}, clean=lambda text: text.replace("s3cret-value", "[secret KEY]"))
log = structlog.get_logger("mine")
structlog.contextvars.bind_contextvars(execution_id="exec_0_a", request_id="r1")
log.info("told", text="red \\x1b[31m\\nforged line \\u202e", number=3, of={{"key": "s3cret-value"}})
log.info("asked", header="Bearer dip_ab12_0123456789abcdef")
try:
    raise ValueError("s3cret-value \\x1b[2J")
except ValueError:
    log.exception("failed")
logging.getLogger("library").warning("from a %s: s3cret-value", "library")
"""


def logged(form: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING.format(form=form)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == ""
    assert "s3cret" not in done.stderr
    assert "0123456789abcdef" not in done.stderr
    return done.stderr


def entries(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_is_one_object_a_line() -> None:
    told, asked, failed, library = entries(logged("json"))
    assert (told["event"], told["level"], told["number"]) == ("told", "info", 3)
    assert told["timestamp"].endswith("Z")
    assert (told["execution_id"], told["request_id"]) == ("exec_0_a", "r1")
    assert told["text"] == "red \x1b[31m\nforged line \u202e"
    assert "[secret KEY]" in told["of"]
    assert asked["header"] == "Bearer dip_…"
    assert "ValueError: [secret KEY]" in failed["exception"]
    assert (library["event"], library["logger"]) == ("from a library: [secret KEY]", "library")


def test_lines_for_people_control_no_terminal() -> None:
    text = logged("console")
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[31m" in text
    assert not any(line.startswith("forged") for line in text.splitlines())
    assert "Traceback" in text
    assert "ValueError: [secret KEY] \\x1b[2J" in text


def served_with(base_dir: Path, *options: str, **env: str) -> Done:
    """What is left of a server that was asked something and told to stop."""
    arguments = ("serve", "--port", "0", "--store", "memory:", "--auth", "none", *options)
    with started(*arguments, "--base-dir", base_dir, env=env) as server:
        url = server.line().removeprefix("ready ")
        answer = httpx.post(url, json={"query": "{ serverInfo { version } }"}, trust_env=False)
        assert answer.status_code == 200
        server.interrupt(signal.SIGTERM)
        return server.ended()


def test_a_server_says_what_it_stands_on(base_dir: Path) -> None:
    done = served_with(base_dir, "--log-format", "json")
    assert done.code == 0
    assert entries(done.err)[0]["event"] == "server_started"


def test_the_form_of_the_logs_can_come_from_the_environment(base_dir: Path) -> None:
    done = served_with(base_dir, DIPEO_LOG_FORMAT="console")
    assert done.code == 0
    assert "server_started" in done.err
    assert not done.err.startswith("{")
