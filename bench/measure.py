"""Interleaved rounds: every contestant once a round, each time in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.environments import ROOT, Unavailable, python_of
from bench.field import Contestant
from bench.shapes import workload

RUN_SECONDS_MAX: Final = 300
QUIET: Final = {"LANGSMITH_TRACING": "false", "HAMILTON_TELEMETRY_ENABLED": "false"}


@dataclass(slots=True)
class Figures:
    """What one contestant needed for one workload, over the rounds: seconds, KiB at most."""

    node_runs: int
    seconds: list[float] = field(default_factory=list)
    kib: int = 0

    @property
    def best(self) -> float:
        """The fewest seconds: what the others on this machine disturbed least."""
        return min(self.seconds)

    @property
    def middle(self) -> float:
        """The median of the seconds."""
        return median(self.seconds)

    def add(self, seen: Mapping[str, Any]) -> None:
        """Take in one round."""
        self.seconds.append(float(seen["seconds"]))
        self.kib = max(self.kib, int(seen["kib"]))


class Results:
    """All figures by (contestant, workload), and why some are missing."""

    def __init__(self) -> None:
        self.figures: dict[tuple[str, str], Figures] = {}
        self.skipped: dict[str, str] = {}

    def of(self, contestant: Contestant, name: str) -> Figures | None:
        """The figures, or None where it was skipped."""
        found = self.figures.get((contestant.name, name))
        return found if found is not None and found.seconds else None


def compare(
    contestants: Iterable[Contestant], names: Iterable[str], rounds: int, size: int
) -> Results:
    """Measure everybody on every workload; who cannot take part is noted with the reason."""
    results = Results()
    present = [(each, python) for each in contestants if (python := _python(each, results))]
    for number in range(rounds):
        for name in names:
            for contestant, python in present:
                if name in contestant.workloads:
                    print(f"round {number + 1}: {name}, {contestant.name}", file=sys.stderr)
                    _once(contestant, python, (name, size), results)
    return results


def _python(contestant: Contestant, results: Results) -> Path | None:
    if contestant.peer is None:
        return Path(sys.executable)
    try:
        return python_of(contestant.peer)
    except Unavailable as error:
        results.skipped[contestant.name] = f"cannot be installed: {error}"
        return None


def _once(contestant: Contestant, python: Path, work: tuple[str, int], results: Results) -> None:
    name, size = work
    key = (contestant.name, name)
    if f"{contestant.name}, {name}" in results.skipped:
        return
    figures = results.figures.setdefault(key, Figures(workload(name, size).node_runs))
    try:
        figures.add(child(python, "bench.child", contestant.module, contestant.mode, name, size))
    except ChildFailed as error:
        results.skipped[f"{contestant.name}, {name}"] = str(error)


class ChildFailed(Exception):
    """A measuring process ended without a figure; the message is its last line."""


def child(python: Path, module: str, *arguments: object) -> dict[str, Any]:
    """What a process of a module's prints as its last line, JSON. Raises ChildFailed."""
    command = [str(python), "-m", module, *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **QUIET},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ChildFailed(f"took more than {RUN_SECONDS_MAX} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise ChildFailed(lines[-1])
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
