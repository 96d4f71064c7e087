"""Help that teaches, and comes quickly because it loads nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dipeo_server
from tests.cli.processes import dipeo, environment

COMMANDS = [
    "serve",
    "tokens",
    "export-permissions",
    "run",
    "validate",
    "render",
    "convert",
    "state",
    "diff",
    "executions",
    "events",
    "logs",
    "pause",
    "resume",
    "abort",
    "delete",
    "step",
    "breakpoints",
    "skip",
    "retry",
    "set-output",
    "barriers",
    "approve",
    "reject",
    "decide",
    "decisions",
    "revoke",
    "verify",
    "prune",
    "backup",
    "export-schema",
    "export-nodes",
]
HEAVY = {"httpx", "pydantic", "rich", "starlette", "strawberry", "structlog", "uvicorn"}


def test_the_version_is_that_of_the_package() -> None:
    done = dipeo("--version")
    assert (done.code, done.out) == (0, f"dipeo-server {dipeo_server.__version__}\n")


def test_help_lists_every_command_with_what_it_is_for() -> None:
    done = dipeo("--help")
    assert done.code == 0
    lines = done.out.splitlines()
    for command in COMMANDS:
        (line,) = [line for line in lines if line.startswith(f"  {command} ")]
        assert len(line.split()) > 4


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_examples(command: str) -> None:
    done = dipeo(command, "--help")
    assert done.code == 0
    assert "Example" in done.out
    assert f"dipeo-server {command} " in done.out


# typer itself needs pydantic for the options of a command.
@pytest.mark.parametrize(
    "arguments, allowed", [([], set()), (["run"], {"pydantic"}), (["decide"], {"pydantic"})]
)
def test_help_loads_nothing_heavy(arguments: list[str], allowed: set[str]) -> None:
    program = (
        "import contextlib, sys\n"
        "from dipeo_server.cli import main\n"
        f"sys.argv = {['dipeo-server', *arguments, '--help']}\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):\n"
        "    main()\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "Usage" in done.stderr
    assert HEAVY & set(done.stdout.split()) <= allowed


def test_no_command_shows_the_help() -> None:
    done = dipeo()
    assert done.code == 2
    assert "Commands:" in done.out + done.err
