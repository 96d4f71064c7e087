"""`dipeo-server run` on a terminal (a pseudo-terminal): a table, and questions to a person."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.diagrams import APPROVAL, HELLO, QUESTIONS, SLOW, written
from tests.cli.processes import COMMAND, SECONDS_MAX, environment

WAIT_SECONDS_MAX = 20
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """The other end of a process's terminal."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self._place = 0
        self.seen = ""

    def until(self, text: str) -> None:
        """Wait for a text behind the last one that was waited for."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while (found := self.seen.find(text, self._place)) < 0:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {self.seen[self._place :]!r}"
            assert self._read(left), f"ended without {text!r}: {self.seen[self._place :]!r}"
        self._place = found + len(text)

    def types(self, text: str) -> None:
        """Type, as a person does."""
        os.write(self._descriptor, text.encode())

    def ended(self) -> int:
        """Read what is left; gives the exit code."""
        while self._read(SECONDS_MAX):
            pass
        return self.process.wait(SECONDS_MAX)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        assert ready, f"nothing for {seconds} s after {self.seen!r}"
        try:
            data = os.read(self._descriptor, 65_536)
        except OSError:  # Linux says so when the process has closed the terminal.
            return False
        self.seen += CONTROL.sub("", data.decode(errors="replace"))
        return bool(data)


@contextmanager
def on_a_terminal(*arguments: str | Path) -> Iterator[Terminal]:
    """A process whose standard streams are all the terminal."""
    ours, theirs = pty.openpty()
    command: Sequence[str] = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(
        command,
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            process.kill()
            os.close(ours)


def test_the_nodes_are_shown_as_they_run(server: str, base_dir: Path) -> None:
    with on_a_terminal("run", written(base_dir, HELLO), "--server", server) as terminal:
        assert terminal.ended() == 0
    assert re.search(r"✓\s+greet\s+code_job\s+completed\s+1", terminal.seen)
    assert "hello you" in terminal.seen
    assert "COMPLETED after" in terminal.seen


def test_a_person_is_asked_to_approve(server: str, base_dir: Path) -> None:
    with on_a_terminal("run", written(base_dir, APPROVAL), "--server", server) as terminal:
        terminal.until("eave it waiting: ")
        assert "gate: May it go on?" in terminal.seen
        terminal.types("what?\n")
        terminal.until("eave it waiting: ")
        terminal.types("y\n")
        assert terminal.ended() == 0
    assert re.search(r"✓\s+go\s", terminal.seen)


def test_a_person_who_rejects_is_asked_why(server: str, base_dir: Path) -> None:
    with on_a_terminal("run", written(base_dir, APPROVAL), "--server", server) as terminal:
        terminal.until("eave it waiting: ")
        terminal.types("no\n")
        terminal.until("Why not? ")
        terminal.types("too early\n")
        assert terminal.ended() == 0
    assert '"reason": "too early"' in terminal.seen


@pytest.mark.parametrize("keys", ["l\n", "\x04"])
def test_what_a_person_leaves_is_exit_code_4(server: str, base_dir: Path, keys: str) -> None:
    with on_a_terminal("run", written(base_dir, APPROVAL), "--server", server) as terminal:
        terminal.until("eave it waiting: ")
        terminal.types(keys)
        assert terminal.ended() == 4
    assert "Waiting for an approval at 'gate'" in terminal.seen


def test_leave_does_not_ask(server: str, base_dir: Path) -> None:
    file = written(base_dir, APPROVAL)
    with on_a_terminal("run", file, "--server", server, "--approve", "leave") as terminal:
        assert terminal.ended() == 4
    assert "eave it waiting" not in terminal.seen


def test_a_question_is_asked_once_for_each_visit(server: str, base_dir: Path) -> None:
    with on_a_terminal("run", written(base_dir, QUESTIONS), "--server", server) as terminal:
        terminal.until("ask: And now?")
        terminal.until("> ")
        terminal.types("go\n")
        terminal.until("ask #2: And now?")
        terminal.until("> ")
        terminal.types("stop\n")
        assert terminal.ended() == 0
    assert "stop" in terminal.seen.split("end:")[-1]


def test_ctrl_c_while_asked_aborts_the_run(server: str, base_dir: Path) -> None:
    with on_a_terminal("run", written(base_dir, APPROVAL), "--server", server) as terminal:
        terminal.until("eave it waiting: ")
        terminal.process.send_signal(2)
        assert terminal.ended() == 3
    assert "ABORTED" in terminal.seen


def test_ctrl_c_while_nodes_run_aborts_the_run(server: str, base_dir: Path) -> None:
    with on_a_terminal("run", written(base_dir, SLOW), "--server", server) as terminal:
        terminal.until("running")
        terminal.process.send_signal(2)
        assert terminal.ended() == 3
    assert "ABORTED" in terminal.seen
