"""Commands at one server, as the tests of control use them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from tests.cli.diagrams import written
from tests.cli.processes import Done

CLI: TypeAlias = Callable[..., Done]


class Control:
    """`control("pause", run)` runs a command at the server."""

    def __init__(self, cli: CLI, server: str, base_dir: Path) -> None:
        self._cli = cli
        self.server = server
        self._base_dir = base_dir

    def __call__(self, *arguments: str) -> Done:
        return self._cli(*arguments, "--url", self.server)

    def file(self, diagram: str) -> Path:
        """The diagram in a file."""
        return written(self._base_dir, diagram)

    def left(self, diagram: str, *options: str) -> str:
        """The id of a run that was left waiting or paused."""
        file = self.file(diagram)
        done = self._cli("run", file, "--json", "--quiet", "--server", self.server, *options)
        assert done.code == 4, done.err
        return str(done.document["id"])

    def newest(self) -> str:
        """The id of the run that was started last."""
        (run,) = self("executions", "--json", "--limit", "1").document["executions"]
        return str(run["id"])

    def events(self, execution_id: str) -> list[dict[str, Any]]:
        """All events of a run; waits for its end."""
        done = self("events", execution_id, "--follow", "--json")
        assert done.code == 0, done.err
        return [json.loads(line) for line in done.out.splitlines()]

    def refused(self, code: str, *arguments: str) -> dict[str, Any]:
        """The error of a command that is refused, which is told to people and to programs."""
        done = self(*arguments, "--json")
        assert done.code == 1
        error = done.document["error"]
        assert error["code"] == code
        assert f"Error: {error['message']}\n" in done.err
        if error["hint"]:
            assert f"Hint:  {error['hint']}\n" in done.err
        assert isinstance(error, dict)
        return error
