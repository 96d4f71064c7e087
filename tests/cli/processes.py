"""Real processes of the command line: run to the end, or started and read line by line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS_MAX = 45
COMMAND = (sys.executable, "-m", "dipeo_server")


@dataclass(frozen=True)
class Done:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON object on standard output."""
        assert self.out.count("\n") == 1, f"not one line: {self.out!r}\n{self.err}"
        return json.loads(self.out)

    def state(self, key: str) -> dict[str, Any]:
        """The entry of one node."""
        (found,) = [state for state in self.document["nodeStates"] if state["nodeKey"] == key]
        assert isinstance(found, dict)
        return found


def environment(**more: str) -> dict[str, str]:
    """Nothing of the machine's own settings, and no colours."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("DIPEO_")}
    return {**outer, "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "100", **more}


def dipeo(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Done:
    """Run `dipeo-server` to its end, with nothing on standard input."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


class Running:
    """A process that runs; `line` waits for its next line on standard output."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> str:
        """The next line of standard output, without its end; empty at the end of it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def until(self, text: str) -> None:
        """Read standard error up to a line with that text."""
        assert self.process.stderr is not None
        seen = []
        for line in self.process.stderr:
            seen.append(line)
            if text in line:
                return
        raise AssertionError(f"no line with {text!r} in {''.join(seen)!r}")

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ended(self) -> Done:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=SECONDS_MAX)
        return Done(self.process.returncode, out, err)


@contextmanager
def started(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """`dipeo-server` as long as the block lasts; it is killed at the end of the block.

    A server asks for tokens only if that is said.
    """
    if arguments[0] == "serve" and "--auth" not in arguments:
        arguments = (*arguments, "--auth", "none")
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


@contextmanager
def served(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """A server on a free port, as long as the block lasts; gives its GraphQL endpoint."""
    with started("serve", "--port", "0", *arguments, env=env) as server:
        ready, _, url = server.line().partition(" ")
        assert ready == "ready", server.ended().err
        yield url
        server.interrupt(signal.SIGTERM)
        done = server.ended()
        assert done.code == 0, done.err
